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
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ttc_cli.engines.base import Session, States
from ttc_cli.errors import UsageError
from ttc_cli.paths import write_whole
from ttc_cli.types import Problem, Score
from ttc_cli.verifiers.base import (
    Graded,
    Leaf,
    StatelessVerifier,
    VerifierContext,
    VerifierEntry,
    to_scores,
    to_step_scores,
)

if TYPE_CHECKING:
    from ttc_cli.engines.states import Vector

_FORMAT, _VERSION = "ttc-probe", 2
_SEVERAL = 2
"""Steps from which on they are told one by one."""


class View(StrEnum):
    """Which of the pooled states a head reads."""

    LAST = "last"
    TAIL = "tail"
    WHOLE = "whole"
    BOTH = "tail+whole"

    def read(self, states: States) -> Vector:
        """The numbers that the head weighs."""
        import numpy as np

        return np.concatenate([getattr(states, name) for name in self.value.split("+")])

    def measure(self, width: int) -> int:
        """How many they are where the model's states have ``width``."""
        return width * len(self.value.split("+"))


VIEWS = tuple(View)


Part = Literal["whole", "step"]


@dataclass(frozen=True)
class Head:
    """One fitted regression: P(right) = 1 / (1 + exp(−(weights · view + bias))).

    It is for the ``part``, a whole or a step, of candidates of ``form``. ``fitting`` says what
    ``objective`` and ``penalty`` are. ``auc`` and ``auc_within`` (a question; 95 % from ``low`` to
    ``high``) are of the cross-validation over ``folds``, None where they cannot be told;
    ``samples`` of ``questions`` were fitted, the share ``right`` of them right.
    """

    form: str
    part: Part
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

    @cached_property
    def _array(self) -> Vector:
        import numpy as np

        return np.asarray(self.weights)

    def rate(self, states: States) -> float:
        """P(right) of one candidate or step."""
        value = float(self.view.read(states) @ self._array) + self.bias
        return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What was fitted on one model: its name, its file's hash, the width of its states."""

    model: str
    sha256: str
    width: int
    date: str
    heads: tuple[Head, ...]

    def find(self, form: str, part: Part) -> Head | None:
        """The head for a part of candidates of ``form``."""
        found = (each for each in self.heads if (each.form, each.part) == (form, part))
        return next(found, None)

    @property
    def grades_steps(self) -> bool:
        """Whether it was fitted to steps."""
        return any(each.part == "step" for each in self.heads)

    def find_fault(self) -> str | None:
        """What makes a probe that came from a file unusable, in words; None where it is sound."""
        if not self.heads:
            return "it has no heads"
        for head in self.heads:
            if len(head.weights) != head.view.measure(self.width):
                return f"the {head.part} of {head.form} has weights of another width"
            if not all(map(math.isfinite, (*head.weights, head.bias))):
                return f"the {head.part} of {head.form} has weights that are not finite"
        return None

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
        probe = Probe(**raw | {"heads": tuple(map(_read_head, raw["heads"]))})
        if not isinstance(probe.sha256, str):
            raise ValueError("incomplete")
        if fault := probe.find_fault():
            raise ValueError(fault)
    except OSError as error:
        raise UsageError(f"The probe {path} cannot be read: {error.strerror}.", hint) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(f"The probe {path} is damaged: {error}.", hint) from error
    return probe


def _read_head(raw: dict[str, Any]) -> Head:
    weights = tuple(float(each) for each in raw["weights"])
    return Head(**raw | {"view": View(raw["view"]), "weights": weights, "bias": float(raw["bias"])})


class ProbeVerifier(StatelessVerifier):
    """Scores candidates, and steps where the probe was fitted for them, by their hidden states.

    ``sha256`` is the generator's; ``states`` is ``EngineInfo.states`` of its engine.

    Raises:
        UsageError: it was fitted on another model, or the engine gives no hidden states.
    """

    name = "probe"
    needs_branch = True
    reads_states = True

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
        self.grades_steps = probe.grades_steps

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """P(right) by each candidate's last tokens; None for one whose branch is gone.

        Of one that was grown in one go its steps are told too, by a probe that was fitted for them.
        """
        states = await self._read(session, leaves, "whole")
        wholes = to_scores(self.name, self._rate("whole", leaves, states))
        triples = zip(leaves, states, wholes, strict=True)
        return [whole and self._grade(leaf, each, whole) for leaf, each, whole in triples]

    def _grade(self, leaf: Leaf, states: States | None, whole: Score) -> Score:
        head = self._probe.find(leaf.candidate.form, "step")
        if head is None or states is None or leaf.candidate.steps or len(states.steps) < _SEVERAL:
            return whole
        steps = tuple(map(head.rate, states.of_steps()))
        return Graded(whole.verifier, whole.value, steps=steps)

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """P(the solution comes out right) at the end of each one's last step."""
        steps = [each and each.of_steps()[-1] for each in await self._read(session, leaves, "step")]
        return to_step_scores(self.name, self._rate("step", leaves, steps), leaves)

    def _rate(
        self, part: Part, leaves: Sequence[Leaf], states: Sequence[States | None]
    ) -> list[float | None]:
        heads = [self._probe.find(leaf.candidate.form, part) for leaf in leaves]
        pairs = zip(heads, states, strict=True)
        return [head.rate(each) if head and each else None for head, each in pairs]

    async def _read(
        self, session: Session, leaves: Sequence[Leaf], part: Part
    ) -> list[States | None]:
        """Those of which ``part`` can be rated: nothing is read for the others."""
        rated = [
            leaf.branch if self._probe.find(leaf.candidate.form, part) else None for leaf in leaves
        ]
        branches = [branch for branch in rated if branch is not None]
        found = iter(await session.read_states(branches) if branches else ())
        return [None if branch is None else next(found) for branch in rated]


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
