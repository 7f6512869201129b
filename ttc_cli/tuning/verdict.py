"""Decides whether to use a re-quantised file: how rates are weighed, how far answers may change.

Pure functions of what ``tuning.comparison`` measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttc_cli.models.records import Tuning
    from ttc_cli.tuning.comparison import Agreement, Rates

LEAST_GAIN = 1.05
"""The work below must be done this many times as fast: less is noise, and not worth the disk."""
MOST_RISE = 0.01
"""Of perplexity, upwards, beyond two standard errors. Re-quantised to Q8_0, a Q4_K_M file was
measured at +0.1 % ± 0.2 %; the step from Q8_0 to Q4_K_M itself costs 1 to 3 %."""
LEAST_SAME = 0.97
"""Share of positions with the same likeliest token, upwards: 99.5 % measured, where the file agrees
with itself on 99.1 % once its kernels are others."""
LOSSY_RISE, LOSSY_SAME = 0.25, 0.7
"""The same for lossy types: beyond these a file is broken, not merely coarse."""

WORK = {"prompt": 200, "one": 200, "eight": 1600, "sixteen": 3200}
"""Tokens of the work that rates are weighed by: a question read once and answered by 1, by 8 and by
16 candidates of 200 tokens."""


def seconds(rates: Rates) -> float:
    """How long ``WORK`` takes at these rates."""
    spent: dict[str, float] = {key: WORK[key] / rate for key, rate in asdict(rates).items()}
    return sum(spent.values())


def decide(
    before: Sequence[Rates],
    after: Sequence[Rates],
    agreement: Agreement,
    *,
    lossy: bool,
    keep: bool = False,
) -> tuple[str, str, float]:
    """The state of a tuning that was measured, why, and its gain.

    Faster means: by ``LEAST_GAIN`` over all rounds, and not slower in any.
    """
    gain = sum(map(seconds, before)) / sum(map(seconds, after))
    rounds = [seconds(a) / seconds(b) for a, b in zip(before, after, strict=True)]
    rise, same = (LOSSY_RISE, LOSSY_SAME) if lossy else (MOST_RISE, LEAST_SAME)
    if agreement.rise > rise + 2 * agreement.error:
        reason = (
            f"it reads the test text worse: perplexity {agreement.rise:+.1%} ± "
            f"{agreement.error:.1%}, where {rise:.0%} is the limit"
        )
        return "changed", reason, gain
    if agreement.same < same:
        reason = (
            f"it answers differently: the same token at {agreement.same:.1%} of "
            f"{agreement.positions} places, where {same:.0%} is the limit"
        )
        return "changed", reason, gain
    if gain >= LEAST_GAIN and min(rounds) >= 1:
        return "used", f"it is {gain:.2f} times as fast", gain
    if gain >= LEAST_GAIN:
        reason = f"{gain:.2f} times as fast, but slower in one of the rounds"
    else:
        reason = f"{gain:.2f} times as fast is less than {LEAST_GAIN}"
    return (
        ("used", f"{reason}; kept because you asked for it", gain)
        if keep
        else ("slower", reason, gain)
    )


def average(rates: Sequence[Rates]) -> dict[str, float]:
    """Mean rate of each kind over the rounds: of the time a token takes, so harmonic."""
    rows = [asdict(each) for each in rates]
    return {key: round(len(rows) / sum(1 / row[key] for row in rows), 2) for key in rows[0]}


def may_be_tuned(tuning: Tuning | None) -> bool:
    """Whether tuning was never tried to the end, or only while other programs computed."""
    if tuning is None or tuning.state == "trial":
        return True
    return tuning.state == "slower" and bool(tuning.figures.get("busy_cores"))


_AMX = frozenset({"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"})
"""Types that llama.cpp multiplies with AMX (``qtype_has_amx_kernels`` in ggml-cpu/amx/common.h)."""
_VECTORS = frozenset({"F32", "F16", "BF16"})


def expect_gain(tensors: Mapping[str, int], instructions: Collection[str]) -> float | None:
    """How many times as fast ``WORK`` is likely done as Q8_0, None where no gain is known.

    From runs of llama.cpp 0.5.0. On an AMX server, two threads: a 0.5B file whose matrices are
    Q5_0, which AMX does not take, 2.0; a 1.5B file of Q4_K and Q6_K, which it takes at some cost,
    1.2. With AVX-512 VNNI and no AMX, processor time of one thread: the 0.5B file 1.1. Elsewhere
    only a measurement can tell.

    Args:
        tensors: how many tensors of each type the file holds.
        instructions: what the build uses, in llama.cpp's names (``AMX_INT8``).
    """
    matrices = {name: count for name, count in tensors.items() if name not in _VECTORS}
    total = sum(matrices.values())
    if not total:
        return None

    def share(matching: Callable[[str], bool]) -> float:
        return sum(count for name, count in matrices.items() if matching(name)) / total

    if "AMX_INT8" in instructions:
        if share(lambda name: name not in _AMX) >= 0.25:
            return 2.0
        return 1.2 if share(lambda name: name.endswith("_K")) >= 0.5 else None
    if "AVX512_VNNI" in instructions and share(lambda name: name == "Q5_0") >= 0.25:
        return 1.1
    return None
