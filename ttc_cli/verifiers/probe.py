"""The probe: a logistic regression on the model's own hidden state, fitted to its right answers.

The states are those of the last layer, after its final norm, averaged over some tokens of a
candidate (for the whole) or of a step; pooled as it grows, they cost nothing. Linear probes of this
kind tell right from wrong solutions far better than chance (Azaria and Mitchell 2023, arXiv
2304.13734; Zhang et al. 2025, arXiv 2504.05419). A probe holds for the model that it was fitted on,
and says so: its file carries the model's hash.

``fitting.fit_head`` fits one; ``Probe.save`` and ``load_probe`` keep it as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

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

_FORMAT, _VERSION = "ttc-probe", 2


class View(StrEnum):
    """Which of the pooled states a head reads."""

    LAST = "last"
    TAIL = "tail"
    WHOLE = "whole"
    BOTH = "tail+whole"

    def read(self, states: States) -> Vector:
        """The numbers that the head weighs."""
        parts = [getattr(states, name) for name in self.value.split("+")]
        return np.concatenate(parts) if len(parts) > 1 else np.asarray(parts[0])

    def measure(self, width: int) -> int:
        """How many they are where the model's states have ``width``."""
        return width * len(self.value.split("+"))


VIEWS = tuple(View)


@dataclass(frozen=True, slots=True)
class Head:
    """One fitted regression: P(right) = 1 / (1 + exp(−(weights · view + bias))).

    ``fitting`` says what ``objective`` and ``penalty`` are. ``auc`` and ``auc_within`` (a question;
    95 % from ``low`` to ``high``) are of the cross-validation over ``folds``, None where they
    cannot be told; ``samples`` of ``questions`` were fitted, the share ``right`` of them right.
    """

    view: View
    objective: str
    penalty: float
    weights: tuple[float, ...]
    bias: float
    samples: int
    questions: int
    right: float
    folds: int
    auc: float | None
    auc_within: float | None
    low: float | None
    high: float | None

    def rate(self, states: States) -> float:
        """P(right) of one candidate or step."""
        value = float(np.dot(self.view.read(states), self.weights)) + self.bias
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
        text = json.dumps({"format": _FORMAT, "v": _VERSION, **asdict(self)}, indent=1)
        write_whole(path, text)


def load_probe(path: Path) -> Probe:
    """Read a file that ``Probe.save`` wrote.

    Raises:
        UsageError: it cannot be read, or it is damaged.
    """
    hint = "ttc verifiers fit QUESTIONS.jsonl --out FILE"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format") != _FORMAT or raw.pop("v") != _VERSION:
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
    head = Head(view=View(raw.pop("view")), weights=weights, **raw)
    if len(weights) != head.view.measure(width) or not all(map(math.isfinite, weights)):
        raise ValueError("weights of another width, or not finite")
    if not math.isfinite(head.bias):
        raise ValueError("a bias that is not finite")
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
        head = self._probe.whole
        values = [head.rate(each) if head and each else None for each in states]
        return to_scores(self.name, values)

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """P(the solution comes out right) at the end of each one's last step."""
        states = await self._read(session, leaves)
        head = self._probe.step
        values = [head.rate(each.of_steps()[-1]) if head and each else None for each in states]
        return to_step_scores(self.name, values, leaves)

    async def _read(self, session: Session, leaves: Sequence[Leaf]) -> list[States | None]:
        branches = [leaf.branch for leaf in leaves if leaf.branch is not None]
        found = iter(await session.read_states(branches) if branches else ())
        return [None if leaf.branch is None else next(found) for leaf in leaves]


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


PROBE = VerifierEntry(
    "probe",
    make_probe,
    "a regression on the model's hidden state",
    "whole, steps if fitted for them",
    "one token a score",
    "FILE",
)
