"""What ``ttc verifiers test`` and ``fit`` share: a loaded model and its verifiers; and a report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ttc_cli import crash
from ttc_cli.answers import Comparer
from ttc_cli.bench.solutions import SolutionSampler
from ttc_cli.bench.verifier_trials import Separation
from ttc_cli.commands import _flags as flags
from ttc_cli.engines.base import Engine
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.models import files
from ttc_cli.models.files import Model
from ttc_cli.output import Output
from ttc_cli.prompts import Chat
from ttc_cli.settings.config import load_config
from ttc_cli.signals import run_aside
from ttc_cli.solving import choosing, verifier_models
from ttc_cli.solving.loading import load_models
from ttc_cli.solving.request import label_model
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import Verifier, VerifierContext
from ttc_cli.views import words


@dataclass(frozen=True, slots=True)
class LoadedVerifiers:
    """A loaded model and the verifiers made for it."""

    model: Model
    label: str
    engine: Engine
    chat: Chat
    verifiers: tuple[Verifier, ...]

    def make_sampler(
        self, comparer: Comparer, samples: int, asked: flags.Samples
    ) -> SolutionSampler:
        """What draws ``samples`` solutions of a question, as the flags ask."""
        sampling = choosing.choose_sampling(self.model, asked.temperature)
        return SolutionSampler(
            self.engine, self.chat, comparer, samples, sampling, asked.max_tokens, asked.seed
        )


@contextlib.contextmanager
def load_verifiers(
    wanted: Sequence[str], name: str | None, machine: flags.Machine, out: Output
) -> Iterator[LoadedVerifiers]:
    """Load the model called ``name``, and what the verifiers ``wanted`` need beside it.

    All is closed when the context ends.
    """
    config = load_config()
    settings = Settings(
        threads=config.get("threads", machine.threads),
        gpu_layers=config.get("gpu_layers", machine.gpu_layers),
        certainty=registry.wants_certainty(wanted),
    )
    confirm = None if machine.yes else choosing.decline
    model = choosing.choose_model(config.get("model", name))
    words, others = verifier_models.choose_verifier_models(wanted, settings)
    verifier_models.warn_of(others, out.warn)
    sandbox = verifier_models.find_sandbox(wanted, out.warn)
    model = choosing.obtain_model(model, confirm)
    obtained = [replace(each, model=choosing.obtain_model(each.model, confirm)) for each in others]
    label = label_model(model)
    out.status(f"loading {label} …")
    with (
        crash.watched(),
        contextlib.closing(run_aside(lambda: load_models(model, settings, obtained))) as loaded,
    ):
        engine = loaded.engine
        chat = Chat(engine.info, model.entry.template_arguments)
        context = VerifierContext(
            chat,
            load=loaded.verifying.__getitem__,
            engine=engine,
            fingerprint=lambda: files.read_hash(model),
            sandbox=sandbox,
        )
        yield LoadedVerifiers(model, label, engine, chat, registry.build(words, context))


def describe(found: Separation) -> dict[str, Any]:
    """One trial as ``--json`` prints it."""
    trial = found.trial
    return {
        "verifier": trial.verifier,
        "on": trial.on,
        "part": trial.part,
        "solutions": len(trial.ratings),
        "scored": found.scored,
        "questions": found.questions,
        "compared": found.compared,
        "auc": found.auc,
        "auc_interval": found.auc_interval,
        "auc_within": found.auc_within,
        "auc_within_interval": None if found.low is None else [found.low, found.high],
        "mean_right": found.mean_right,
        "mean_wrong": found.mean_wrong,
        "ece": found.ece,
        "reliability": [
            {"low": b.low, "high": b.high, "count": b.count, "mean": b.mean, "right": b.share}
            for b in found.table
        ],
        "read_tokens": trial.read,
        "written_tokens": trial.written,
        "trusted": found.trusted,
        "failure": trial.failure,
    }


def print_report(found: Sequence[Separation]) -> None:
    """The table, and below it for each verifier how its scores relate to what was right."""
    head = ("VERIFIER", "ON", "SCORED", "RIGHT", "AUC", "WITHIN A QUESTION", "MEAN RIGHT/WRONG",
            "ECE", "TOKENS A SCORE", "VERDICT")  # fmt: skip
    Output().table([head, *map(_report, found)])
    for each in (each for each in found if each.scored):
        bins = (
            f"{b.low:.1f}-{b.high:.1f}: {b.share:.0%} of {b.count}" for b in each.table if b.count
        )
        name = f"{each.trial.verifier}, {each.trial.on} {each.trial.part}"
        Output().answer(f"{name}: right at score {'; '.join(bins)}")


def _report(found: Separation) -> tuple[str, ...]:
    trial = found.trial
    interval = (
        "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}] n={found.compared}"
    )
    return (
        trial.verifier,
        f"{trial.on} {trial.part}",
        f"{found.scored}/{len(trial.ratings)}",
        str(sum(rating.right for rating in trial.ratings)),
        words.decimal(found.auc),
        f"{words.decimal(found.auc_within)}{interval}",
        f"{words.decimal(found.mean_right)}/{words.decimal(found.mean_wrong)}",
        words.decimal(found.ece),
        f"{(trial.read + trial.written) / max(1, len(trial.ratings)):.0f}",
        {True: "trusted", False: "refused", None: "too few"}[found.trusted],
    )
