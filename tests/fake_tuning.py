"""Trials of re-quantised files that read no weights: rates and answers are given by each test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tiny_gguf import gguf

from ttc_cli.tuning import comparison
from ttc_cli.tuning.comparison import Agreement, Rates

# Q5_0 is type 6: blocks of 32 elements in 22 bytes; a matrix beside a vector.
ORIGINAL = gguf(tensors=[("token_embd.weight", (32, 4), 6)], data_bytes=96)
TUNED = gguf({"general.name": "tuned"}, tensors=[("token_embd.weight", (32, 4), 8)], data_bytes=160)
SLOW = Rates(prompt=200, one=20, eight=80, sixteen=100)
FAST = Rates(prompt=800, one=40, eight=150, sixteen=230)
ALIKE = Agreement(13.68, 13.70, 0.002, 0.995, 0.99, 212)


@dataclass
class Fakes:
    """Trials that read no weights. ``rates``: by whether the file is the new one."""

    original: Rates = SLOW
    tuned: Rates = FAST
    agreement: Agreement = ALIKE
    content: bytes = TUNED
    broken: Exception | None = None
    done: list[str] = field(default_factory=list)

    def quantise(
        self, source: Path, target: Path, kind: str, report: Callable[[int], None]
    ) -> None:
        self.done.append(f"quantise {kind}")
        target.write_bytes(self.content[:40])
        report(40)
        if self.broken is not None:
            raise self.broken
        target.write_bytes(self.content)

    def time_file(self, path: Path) -> Rates:
        new = ".tuned-" in path.name
        self.done.append("time new" if new else "time old")
        return self.tuned if new else self.original

    def compare(self, before: Path, after: Path) -> Agreement:
        assert ".tuned-" in after.name
        assert ".tuned-" not in before.name
        self.done.append("compare")
        return self.agreement


def play(fakes: Fakes, patch: pytest.MonkeyPatch) -> None:
    for name in ("quantise", "time_file", "compare"):
        patch.setattr(comparison, name, getattr(fakes, name))
