"""What ``ttc verifiers test`` and ``fit`` run: a loaded model, its verifiers, the trials."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli import crash
from ttc_cli.commands._tables import print_table, word_number
from ttc_cli.errors import UsageError
from ttc_cli.output import Output
from ttc_cli.signals import run_aside

if TYPE_CHECKING:
    from ttc_cli.bench.datasets import Question
    from ttc_cli.bench.verifier_trials import Separation, Trial
    from ttc_cli.engines.base import Engine
    from ttc_cli.models.files import Model
    from ttc_cli.types import Sampling
    from ttc_cli.verifiers.base import Verifier, VerifierContext
    from ttc_cli.verifiers.probe import Example


@dataclass(slots=True)
class Setting:
    """A loaded model, and the verifiers made for it."""

    model: Model
    label: str
    engine: Engine
    means: VerifierContext
    verifiers: tuple[Verifier, ...]
    fingerprint: Callable[[], str]

    @staticmethod
    @contextlib.contextmanager
    def make(
        wanted: Sequence[str],
        name: str | None,
        *,
        yes: bool,
        threads: int | None,
        gpu_layers: int | None,
        out: Output,
    ) -> Iterator[Setting]:
        """Load what ``wanted`` need beside the model called ``name``; all is closed at the end."""
        from ttc_cli.engines.llamacpp import Settings
        from ttc_cli.models.files import read_hash
        from ttc_cli.prompts import Chat
        from ttc_cli.settings.config import load_config
        from ttc_cli.solving import choosing as planning
        from ttc_cli.solving import solver as thinking
        from ttc_cli.solving import verifier_models
        from ttc_cli.verifiers import registry
        from ttc_cli.verifiers.base import VerifierContext

        config = load_config()
        settings = Settings(
            threads=config.get("threads", threads),
            gpu_layers=config.get("gpu_layers", gpu_layers),
            certainty=registry.wants_certainty(wanted),
        )
        model = planning.choose_model(config.get("model", name))
        choice = verifier_models.choose_verifier_models(wanted, settings)
        verifier_models.warn_of(choice.models, out.warn)
        sandbox = verifier_models.find_sandbox(wanted, out.warn)
        path = planning.obtain_model(model, yes=yes, ask=None)
        others = []
        for each in choice.models:
            own = planning.obtain_model(each.model, yes=yes, ask=None)
            others.append(replace(each, model=replace(each.model, path=own)))
        label = planning.label_model(model)
        out.status(f"loading {label} …")
        with contextlib.ExitStack() as stack:
            stack.enter_context(crash.watched())
            engine, verifying = run_aside(
                lambda: verifier_models.open_engines(
                    path, settings, label, others, thinking.open_engine
                )
            )
            for loaded in dict.fromkeys((engine, *verifying.values())):
                stack.callback(loaded.close)
            chat = Chat(engine.info, model.entry.template_arguments)

            def fingerprint() -> str:
                return read_hash(replace(model, path=path))

            means = VerifierContext(
                chat,
                load=verifying.__getitem__,
                engine=engine,
                fingerprint=fingerprint,
                sandbox=sandbox,
            )
            verifiers = registry.build(choice.verifiers, means)
            yield Setting(model, label, engine, means, verifiers, fingerprint)


def _sampling(model: Model, temperature: float | None) -> Sampling:
    from ttc_cli.solving import choosing as planning

    return planning.choose_sampling(model, temperature)


async def run_trials(
    setting: Setting,
    draws: Sequence[bool],
    data: Path | None,
    part: str | None,
    *,
    sampled: bool,
    samples: int,
    max_tokens: int,
    temperature: float | None,
    seed: int,
    status: Callable[[str], None],
) -> list[Separation]:
    """Put the verifiers of ``setting`` to the test.

    ``draws`` says for each whether planted text tells it nothing, so that solutions must be drawn.
    """
    from ttc_cli.answers import Comparer
    from ttc_cli.bench import datasets
    from ttc_cli.bench.verifier_trials import as_questions, separate, try_planted, try_sampled
    from ttc_cli.verifiers.planted import PLANTED, Planted, load_planted

    planted: Sequence[Planted] | None = PLANTED
    if data is not None:
        planted = load_planted(data) if _is_planted(data) else None
    readers = [v for v, draw in zip(setting.verifiers, draws, strict=True) if not draw]
    if sampled or planted is None:
        readers = []
    drawers = [v for v in setting.verifiers if v not in readers]
    engine, chat = setting.engine, setting.means.chat
    trials: list[Trial] = []
    if readers and planted is not None:
        total = len(planted)
        trials += await try_planted(
            engine, chat, readers, planted, lambda n: status(f"planted solutions: {n} of {total}")
        )
    if drawers:
        if planted is None and data is not None:
            questions = datasets.load(data, part)
        else:
            questions = as_questions(planted or PLANTED)
        total = len(questions)
        with Comparer() as comparer:
            trials += await try_sampled(
                engine,
                chat,
                drawers,
                questions,
                comparer,
                samples=samples,
                sampling=_sampling(setting.model, temperature),
                max_tokens=max_tokens,
                seed=seed,
                done=lambda n: status(f"drawn solutions: {n} of {total} questions"),
            )
    return [separate(trial) for trial in trials]


def _is_planted(path: Path) -> bool:
    """Whether the first row of ``path`` holds solutions."""
    from ttc_cli.tables import read_jsonl
    from ttc_cli.texts import read_utf8

    try:
        first = next(read_jsonl(read_utf8(path, str(path)), str(path)), None)
    except UsageError:
        return False  # what reads it says what is wrong with it
    return first is not None and {"right", "wrong"} <= set(first.columns)


async def draw_states(
    setting: Setting,
    questions: Sequence[Question],
    samples: int,
    max_tokens: int,
    temperature: float | None,
    seed: int,
    status: Callable[[str], None],
) -> tuple[list[Example], list[Example]]:
    """Hidden states at the ends of drawn solutions, and at those of their steps."""
    from ttc_cli.answers import Comparer
    from ttc_cli.bench.solutions import draw_examples

    total = len(questions)
    with Comparer() as comparer:
        return await draw_examples(
            setting.engine,
            setting.means.chat,
            questions,
            comparer,
            samples=samples,
            sampling=_sampling(setting.model, temperature),
            max_tokens=max_tokens,
            seed=seed,
            done=lambda n: status(f"drawn solutions: {n} of {total} questions"),
        )


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
    lines = [head]
    for each in found:
        trial = each.trial
        count = max(1, len(trial.ratings))
        right = sum(rating.right for rating in trial.ratings)
        interval = (
            "" if each.low is None else f" [{each.low:.2f}, {each.high:.2f}] n={each.compared}"
        )
        lines.append(
            (
                trial.verifier,
                f"{trial.on} {trial.part}",
                f"{each.scored}/{len(trial.ratings)}",
                str(right),
                word_number(each.auc),
                f"{word_number(each.auc_within)}{interval}",
                f"{word_number(each.mean_right)}/{word_number(each.mean_wrong)}",
                word_number(each.ece),
                f"{(trial.read + trial.written) / count:.0f}",
                {True: "trusted", False: "refused", None: "too few"}[each.trusted],
            )
        )
    print_table(lines)
    out = Output()
    for each in found:
        if each.scored:
            bins = (
                f"{b.low:.1f}-{b.high:.1f}: {b.share:.0%} of {b.count}"
                for b in each.table
                if b.count
            )
            name = f"{each.trial.verifier}, {each.trial.on} {each.trial.part}"
            out.answer(f"{name}: right at score {'; '.join(bins)}")
