"""Usage against budget: the only place that says "enough".

Engines charge every decode step here and ask ``exhausted`` before the next; strategies ask
``admit`` before they start candidates. Both roles, cancelled candidates and the difficulty
estimate's own samples are booked alike: nothing is outside the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ttc_cli.types import Budget, Role, RoleUsage, Usage


class Ledger:
    """Books usage of one run and holds it against its hard caps. Safe from several threads."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._roles = {Role.GENERATOR: RoleUsage(), Role.VERIFIER: RoleUsage()}
        self._samples = 0

    def charge(
        self,
        role: Role,
        *,
        prompt_tokens: int = 0,
        generated_tokens: int = 0,
        reused_tokens: int = 0,
        decode_calls: int = 0,
        flops: float = 0.0,
    ) -> None:
        """Book one decode step, as ``engines.base.Meter`` asks."""
        step = RoleUsage(prompt_tokens, generated_tokens, reused_tokens, decode_calls, flops)
        with self._lock:
            self._roles[role] = self._roles[role] + step

    def usage(self) -> Usage:
        """What was spent until now."""
        with self._lock:
            return Usage(
                self._roles[Role.GENERATOR],
                self._roles[Role.VERIFIER],
                self._clock() - self._started,
            )

    def exhausted(self) -> str | None:
        """The cap that is reached, in words, or None."""
        budget, spent = self.budget, self.usage()
        if budget.max_tokens is not None and spent.generated_tokens >= budget.max_tokens:
            return f"token cap of {budget.max_tokens:,} reached"
        if budget.max_flops is not None and spent.flops >= budget.max_flops:
            return f"FLOP cap of {budget.max_flops:.3g} reached"
        if budget.max_seconds is not None and spent.seconds >= budget.max_seconds:
            return f"time cap of {budget.max_seconds:g} s reached"
        return None

    def spent(self) -> tuple[float, str]:
        """The greatest share of a hard cap that is spent, and which ("token cap"); 0 without one.

        The cap on samples is left out: it ends no candidate that has started.
        """
        budget, usage = self.budget, self.usage()
        shares = [
            (used / max(cap, 1e-9), name)
            for used, cap, name in (
                (usage.generated_tokens, budget.max_tokens, "token cap"),
                (usage.flops, budget.max_flops, "FLOP cap"),
                (usage.seconds, budget.max_seconds, "time cap"),
            )
            if cap is not None
        ]
        return max(shares, key=lambda each: each[0], default=(0.0, ""))

    def remaining_seconds(self) -> float | None:
        """Seconds until the time cap, or None without one."""
        if self.budget.max_seconds is None:
            return None
        return self.budget.max_seconds - (self._clock() - self._started)

    @property
    def samples(self) -> int:
        """Candidates admitted so far."""
        return self._samples

    def admit(self, wanted: int) -> int:
        """How many of ``wanted`` further candidates may start; books them as started."""
        cap = self.budget.max_samples
        granted = wanted if cap is None else max(0, min(wanted, cap - self._samples))
        if self.exhausted():
            granted = 0
        self._samples += granted
        return granted
