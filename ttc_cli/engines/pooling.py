"""Hidden states of what a branch draws, pooled as they come: a few vectors, not one a token.

The states are the model's last, after its final norm. A drawn token has one once it is fed back,
so that the token that ends a growth has none yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ttc_cli.engines.states import TAIL, States

if TYPE_CHECKING:
    from ttc_cli.engines.states import Vector


class StatePool:
    """Collects the states of one branch; ``reached`` tokens of its path are behind it.

    ``step_ends`` is set by whoever draws: the token whose state comes next ends a step.
    """

    def __init__(self, width: int, reached: int) -> None:
        self.reached = reached
        self.step_ends = False
        self._ring = np.zeros((TAIL, width), np.float32)
        self._count = 0
        self._whole = np.zeros(width, np.float32)
        self._step = np.zeros(width, np.float32)
        self._length = 0
        self._steps: list[Vector] = []
        self._tails: list[Vector] = []

    def copy(self) -> StatePool:
        """The same, to go on from in another branch."""
        twin = StatePool(len(self._whole), self.reached)
        twin.step_ends, twin._count, twin._length = self.step_ends, self._count, self._length
        for mine, its in zip(
            (self._ring, self._whole, self._step),
            (twin._ring, twin._whole, twin._step),
            strict=True,
        ):
            its[:] = mine
        twin._steps, twin._tails = list(self._steps), list(self._tails)
        return twin

    def add(self, state: Vector) -> None:
        """Take in the state of the next token."""
        self._ring[self._count % TAIL] = state
        self._count += 1
        self._whole += state
        self._step += state
        self._length += 1
        self.reached += 1
        if self.step_ends:
            self._steps.append(self._step / np.float32(self._length))
            self._tails.append(self._tail())
            self._step[:] = 0
            self._length, self.step_ends = 0, False

    def summarise(self) -> States | None:
        """What was collected; None before the first state."""
        if not self._count:
            return None
        steps, tails, tail = list(self._steps), list(self._tails), self._tail()
        if self._length:
            steps.append(self._step / np.float32(self._length))
            tails.append(tail)
        last = self._ring[(self._count - 1) % TAIL].copy()
        return States(last, tail, self._whole / np.float32(self._count), steps, tails)

    def _tail(self) -> Vector:
        mean: Vector = self._ring[: min(self._count, TAIL)].mean(axis=0)
        return mean
