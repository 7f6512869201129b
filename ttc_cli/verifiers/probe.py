"""The probe: a logistic regression on the model's own hidden state, fitted to its right answers.

The states are those of the last layer, after its final norm, averaged over the last tokens of a
candidate (for the whole) or of a step; pooled as it grows, they cost nothing. Linear probes of this kind tell
right from wrong solutions far better than chance (Azaria and Mitchell 2023, arXiv 2304.13734;
Zhang et al. 2025, arXiv 2504.05419). A probe holds for the model that it was fitted on, and says
so: its file carries the model's hash.

``fit_head`` fits, with L2 and cross-validated by question: no question is scored by a probe that
saw it. ``Probe.save`` and ``load_probe`` keep it as JSON. Numpy alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ttc_cli.engines.base import Session, States
from ttc_cli.engines.pooling import Vector
from ttc_cli.errors import UsageError
from ttc_cli.paths import write_whole
from ttc_cli.types import Problem, Score
from ttc_cli.verifiers.base import (
    Leaf,
    StatelessVerifier,
    VerifierContext,
    VerifierEntry,
    to_scores,
    to_step_scores,
)
from ttc_cli.verifiers.regression import choose_penalty, fit_logistic, split_groups
from ttc_cli.verifiers.separation import measure_auc, measure_auc_within

PENALTIES = (10.0, 100.0, 1000.0, 10_000.0)
"""Strengths of L2 that are tried; states are standardised and wider than the data is long."""
FOLDS = 5
"""Of the cross-validation, at most one a question."""
_FORMAT = "ttc-probe"


@dataclass(frozen=True, slots=True)
class Example:
    """A hidden state, the question it belongs to, and whether the solution came out right."""

    state: Vector | tuple[float, ...]
    question: str
    right: bool


@dataclass(frozen=True, slots=True)
class Head:
    """One fitted regression: P(right) = 1 / (1 + exp(−(weights · state + bias))).

    ``auc`` and ``auc_within`` (a question) are of the cross-validation, None where they cannot be
    told; ``samples`` of ``questions`` were fitted, the share ``right`` of them right.
    """

    weights: tuple[float, ...]
    bias: float
    penalty: float
    samples: int
    questions: int
    right: float
    auc: float | None
    auc_within: float | None

    def rate(self, state: Vector | Sequence[float]) -> float:
        """P(right) of one state."""
        value = math.fsum(w * x for w, x in zip(self.weights, state, strict=True)) + self.bias
        return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


@dataclass(frozen=True, slots=True)
class Probe:
    """``whole`` reads the end of a candidate, ``step`` the ends of its steps; either may be None.

    ``sha256`` and ``width`` are the model's; ``layer`` is always ``last``: the engine shows no
    other.
    """

    model: str
    sha256: str
    width: int
    date: str
    whole: Head | None
    step: Head | None = None
    layer: str = "last"

    def save(self, path: Path) -> None:
        """Write it to ``path``, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": _FORMAT, "v": 1, **asdict(self)}, indent=1)
        write_whole(path, text)


def load_probe(path: Path) -> Probe:
    """Read a file that ``Probe.save`` wrote.

    Raises:
        UsageError: it cannot be read, or it is damaged.
    """
    hint = "ttc verifiers fit QUESTIONS.jsonl --out FILE"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format") != _FORMAT or raw.pop("v") != 1:
            raise ValueError("not a probe of this version")
        whole, step = (_read_head(raw.pop(name), int(raw["width"])) for name in ("whole", "step"))
        probe = Probe(**raw, whole=whole, step=step)
        if not isinstance(probe.sha256, str) or (whole is None and step is None):
            raise ValueError("incomplete")
    except OSError as error:
        raise UsageError(f"The probe {path} cannot be read: {error.strerror}.", hint) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(f"The probe {path} is damaged: {error}.", hint) from error
    return probe


def _read_head(raw: dict[str, Any] | None, width: int) -> Head | None:
    if raw is None:
        return None
    weights = tuple(float(each) for each in raw.pop("weights"))
    head = Head(weights=weights, **raw)
    if len(weights) != width or not all(map(math.isfinite, (*weights, head.bias))):
        raise ValueError("weights of another width, or not finite")
    return head


class ProbeVerifier(StatelessVerifier):
    """Scores candidates, and steps where the probe was fitted for them, by their hidden states.

    ``sha256`` is the generator's; ``states`` is ``EngineInfo.states`` of its engine.

    Raises:
        UsageError: it was fitted on another model, or the engine gives no hidden states.
    """

    name = "probe"
    needs_branch = True

    def __init__(self, probe: Probe, *, sha256: str, states: int) -> None:
        if not states:
            raise UsageError(
                "This engine gives no hidden states, which a probe reads.",
                "Use a model on this machine, or --verifier judge.",
            )
        if probe.sha256 != sha256 or probe.width != states:
            raise UsageError(
                f"The probe was fitted on {probe.model} (sha256 {probe.sha256[:12]}…, "
                f"{probe.width} wide); this model is another one ({sha256[:12]}…, {states} wide).",
                "ttc verifiers fit QUESTIONS.jsonl --out FILE fits one for it",
            )
        self._probe = probe
        self.grades_steps = probe.step is not None

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """P(right) by each candidate's last tokens; None for one whose branch is gone."""
        states = await self._read(session, leaves)
        return to_scores(
            self.name, [_rate(self._probe.whole, s.tail if s else None) for s in states]
        )

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """P(the solution comes out right) at the end of each one's last step."""
        states = await self._read(session, leaves)
        values = [_rate(self._probe.step, s.tails[-1] if s else None) for s in states]
        return to_step_scores(self.name, values, leaves)

    async def _read(self, session: Session, leaves: Sequence[Leaf]) -> list[States | None]:
        branches = [leaf.branch for leaf in leaves if leaf.branch is not None]
        found = iter(await session.read_states(branches) if branches else ())
        return [None if leaf.branch is None else next(found) for leaf in leaves]


def _rate(head: Head | None, state: Vector | None) -> float | None:
    return None if head is None or state is None else head.rate(state)


def make_probe(context: VerifierContext, path: str | None) -> ProbeVerifier:
    """The verifier that ``--verifier probe=FILE`` asks for.

    Raises:
        UsageError: no file, a damaged one, or one for another model.
    """
    if not path:
        raise UsageError(
            "--verifier probe needs the probe's file: probe=FILE.",
            "ttc verifiers fit QUESTIONS.jsonl --out FILE",
        )
    probe = load_probe(Path(path).expanduser())
    if context.fingerprint is None:
        raise UsageError(
            "A probe needs the model's own file, to know that it was fitted on it.",
            "Use a model on this machine, or --verifier judge.",
        )
    states = 0 if context.engine is None else context.engine.info.states
    return ProbeVerifier(probe, sha256=context.fingerprint(), states=states)


def fit_head(examples: Sequence[Example], *, penalties: Sequence[float] = PENALTIES) -> Head:
    """Fit P(right | state) by L2-penalised maximum likelihood, Σ log-loss + λ/2 ‖w‖².

    States are standardised (over all examples; labels are not looked at). λ is the one of
    ``penalties`` with the least log-loss on held-out questions; the reported AUC is of an outer
    cross-validation that chooses λ again without the questions it tests, so that nothing it is
    measured on was seen.

    Raises:
        UsageError: too few examples: there must be right and wrong ones, of two questions.
    """
    import numpy as np

    questions = list(dict.fromkeys(example.question for example in examples))
    y = np.array([float(example.right) for example in examples])
    if len(questions) < 2 or not 0 < y.sum() < len(y):
        raise UsageError(
            f"{len(examples)} solutions of {len(questions)} questions, {int(y.sum())} of them "
            "right: a probe needs right and wrong ones, of two questions at least.",
            "Give more questions, or more --samples.",
        )
    states = np.array([example.state for example in examples], dtype=np.float64)
    places = {question: i for i, question in enumerate(questions)}
    groups = np.array([places[example.question] for example in examples])
    mean, scale = states.mean(axis=0), states.std(axis=0)
    scale[scale < 1e-9] = 1.0
    # The penalised optimum lies in the span of the data: turn into it once, which is exact, and
    # solve in as many dimensions as there are examples, for all folds and penalties.
    u, s, basis = np.linalg.svd((states - mean) / scale, full_matrices=False)
    z = u * s
    held_out = np.full(len(y), np.nan)
    for tested in split_groups(groups, FOLDS):
        if 0 < y[~tested].sum() < len(y[~tested]):
            penalty = choose_penalty(z[~tested], y[~tested], groups[~tested], penalties)
            weights, bias = fit_logistic(z[~tested], y[~tested], penalty)
            held_out[tested] = z[tested] @ weights + bias
    penalty = choose_penalty(z, y, groups, penalties)
    turned, bias = fit_logistic(z, y, penalty)
    weights = (turned @ basis) / scale
    bias -= float(mean @ weights)
    known = ~np.isnan(held_out)
    pairs = [
        (question, float(value), bool(right))
        for question, value, right in zip(groups[known], held_out[known], y[known], strict=True)
    ]
    return Head(
        weights=tuple(weights.tolist()),
        bias=bias,
        penalty=penalty,
        samples=len(examples),
        questions=len(questions),
        right=float(y.mean()),
        auc=measure_auc([(value, right) for _, value, right in pairs]),
        auc_within=measure_auc_within(pairs),
    )


PROBE = VerifierEntry(
    "probe",
    make_probe,
    "a regression on the model's hidden state",
    "whole, steps if fitted for them",
    "one token a score",
    "FILE",
)
