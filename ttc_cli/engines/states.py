"""Pooled hidden states of a branch, as an engine gives them. Importing this imports no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]

TAIL = 32
"""Tokens that the tail's mean is over: the view that told right from wrong best of those tried."""


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Pooled hidden states of a branch, each of ``EngineInfo.states`` numbers.

    Attributes:
        last: that of the last token.
        tail: the mean over the last ``TAIL`` tokens.
        whole: the mean over all tokens that the branch drew.
        steps: the mean over each step, the last one as far as it was written.
        tails: what ``tail`` was at the end of each step.
    """

    last: Vector
    tail: Vector
    whole: Vector
    steps: Sequence[Vector]
    tails: Sequence[Vector]

    def of_steps(self) -> list[States]:
        """Those of each step alone: ``tail`` as it was at its end, ``whole`` the mean over it."""
        ends = zip(self.tails, self.steps, strict=True)
        return [States(tail, tail, step, (), ()) for tail, step in ends]
