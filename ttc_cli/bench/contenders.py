"""What a bench compares, by name: ``majority@16``, ``auto:deep``, ``program:majority@8`` ….

*Sampled* contenders choose among independent candidates and are run on a recorded pool, all on the
same samples; *live* ones grow something else (greedy, step by step, revisions) and are run on the
engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ttc_cli.errors import UsageError
from ttc_cli.policy.table import SHIPPED
from ttc_cli.search import registry
from ttc_cli.types import PROGRAM, PROSE
from ttc_cli.verifiers import registry as verifying

VOTES = ("majority", "weighted", "best-of-n")
"""The fixed strategies on independent candidates; the best of them is the baseline."""
PROGRAMS = 8
"""Programs of a question, where they may be used and nobody says how many."""
PRICES = (0.25, 0.5, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0, 16.0, 32.0, 64.0)
"""The settings of ``auto``'s price knob that make its curve: down to a single candidate."""

_NAME = re.compile(r"(?P<strategy>[a-z-]+)(?::(?P<level>[a-z]+))?(?:@(?P<samples>\d+))?")


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy at one setting.

    ``samples`` is N, or the cap of ``auto``. ``verifiers`` guide it, as ``--verifier`` names them;
    none are the strategy's own. ``form`` is that of its candidates; ``auto`` as in
    ``SearchOptions``.
    """

    strategy: str
    samples: int
    level: str = "normal"
    price: float = 1.0
    verifiers: tuple[str, ...] = ()
    form: str = "auto"

    @property
    def line(self) -> str:
        """What its curve is called: it with other numbers of candidates, or at other prices."""
        return self.strategy if self.form == "auto" else f"{self.form}:{self.strategy}"

    @property
    def name(self) -> str:
        """As it is written in tables."""
        if self.strategy == "greedy":
            return self.line
        if self.strategy != "auto":
            return "+".join((f"{self.line}@{self.samples}", *self.verifiers))
        factor = "" if self.price == 1.0 else f" × {self.price:g}"
        return f"{self.line}:{self.level}{factor}"

    @property
    def live(self) -> bool:
        """Whether it needs the engine itself."""
        return self.strategy != "auto" and self.strategy not in VOTES


def parse(names: Sequence[str], samples: int, programs: int = PROGRAMS) -> list[Contender]:
    """``names`` as contenders, each once; N and the cap of ``auto`` are ``samples`` unless said.

    Of those whose candidates are all programs, ``programs``.

    Raises:
        UsageError: no such strategy, budget or verifier, or an N that makes no sense.
    """
    found: dict[Contender, None] = {}
    for name in names:
        setting, *verifiers = name.strip().split("+")
        form, drawn = "auto", samples
        head, _, rest = setting.partition(":")
        if head in (PROGRAM, PROSE):
            form, setting, drawn = head, rest, programs if head == PROGRAM else samples
        parts = _NAME.fullmatch(setting)
        if parts is None:
            raise UsageError(
                f"{name!r} is not a strategy.",
                "Write it as: majority@16, auto:deep, beam@8 or beam@8+confidence",
            )
        strategy, level = parts["strategy"], parts["level"]
        entry = None if strategy == "auto" else registry.find(strategy)
        if verifiers and (entry is None or strategy in VOTES or not entry.verifies):
            raise UsageError(
                f"{name!r}: only a strategy that runs on the model takes verifiers of its own; "
                "one that runs on recorded samples uses their scores.",
                "Write it as: beam@8+confidence",
            )
        asked = {(spec.name, spec.argument) for spec in map(verifying.parse, verifiers)}
        if len(asked) < len(verifiers):
            raise UsageError(f"{name!r}: a verifier can be named only once.")
        if level is not None and strategy != "auto":
            raise UsageError(f"{name!r}: only auto has budgets.", "Write it as: auto:deep")
        wanted = int(parts["samples"] or drawn)
        if wanted < 1 or (wanted > drawn and strategy in ("auto", *VOTES)):
            flag = "--programs" if form == PROGRAM else "--samples"
            raise UsageError(
                f"{name!r} needs {wanted} candidates a question; the pool is to hold {drawn}.",
                f"{flag} {wanted or PROGRAMS}",
            )
        level = level or "normal"
        cap = min(wanted, SHIPPED.row(level).cap) if strategy == "auto" else wanted
        if strategy == "greedy":
            cap = 1
        found[Contender(strategy, cap, level, verifiers=tuple(verifiers), form=form)] = None
    return list(found)


def ladder(samples: int, form: str = "auto") -> list[Contender]:
    """1, 2, 4 … up to and with ``samples`` candidates of each fixed strategy."""
    sizes = [1 << power for power in range(samples.bit_length()) if 1 << power < samples]
    every = [(strategy, size) for strategy in VOTES for size in (*sizes, samples)]
    return [Contender(strategy, size, form=form) for strategy, size in every]


def prices(samples: int) -> list[Contender]:
    """``auto`` at each setting of its price knob, capped at ``samples`` and not at its level's."""
    return [Contender("auto", samples, price=factor) for factor in PRICES]
