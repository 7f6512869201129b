"""How fast a model runs here, measured through the same doors as a search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from ttc_cli.engines.base import Engine, Grow, Session, Span
from ttc_cli.engines.llamacpp import Settings, load
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling

PROMPT = "A train leaves at nine and travels for three hours. How far does it get? " * 12

_GROWN = 16
"""Tokens that each stream writes between two looks at the clock."""


def time_file(
    path: Path, seconds: float, threads: int, streams: Sequence[int]
) -> tuple[float, ...]:
    """Tokens a second of ``path``: reading a prompt, then writing so many ``streams`` at once.

    Loads the file; takes about ``seconds`` for each figure beyond that.

    Raises:
        TtcError: as ``llamacpp.load``, or the library failed.
    """
    settings = Settings(threads=threads, parallel=max(streams), context=1024, answer=256)
    engine = load(path, settings)
    try:
        return asyncio.run(_time_engine(engine, seconds, streams))
    finally:
        engine.close()


async def _time_engine(engine: Engine, seconds: float, streams: Sequence[int]) -> tuple[float, ...]:
    prompt = (Span(PROMPT),)
    started, read = time.perf_counter(), 0
    while read == 0 or time.perf_counter() - started < seconds:
        ledger = Ledger(Budget())
        async with await engine.open(prompt, ledger):
            read += ledger.usage().generator.prompt_tokens
    rates = [read / (time.perf_counter() - started)]
    async with await engine.open(prompt, Ledger(Budget())) as session:
        await _write(session, max(streams), 2)  # the first batches touch every page and buffer
        for width in streams:
            started, full, ragged = time.perf_counter(), (0, 0.0), (0, 0.0)
            while time.perf_counter() - started < seconds:
                before = time.perf_counter()
                written, whole = await _write(session, width, _GROWN)
                passed = time.perf_counter() - before
                if whole:
                    full = (full[0] + written, full[1] + passed)
                else:
                    ragged = (ragged[0] + written, ragged[1] + passed)
            tokens, spent = full if full[0] else ragged
            rates.append(tokens / spent)
    return tuple(rates)


async def _write(session: Session, streams: int, tokens: int) -> tuple[int, bool]:
    """Tokens written, and whether the batch was full to the end."""
    requests = [
        Grow(branch, tokens, Sampling(temperature=0.7), seed=label, label=label)
        for label, branch in enumerate(session.fork(session.root, streams))
    ]
    done = [growth async for growth in session.grow(requests)]
    session.drop([growth.branch for growth in done])
    full = all(growth.finish is Finish.LENGTH for growth in done)
    return sum(growth.tokens for growth in done), full
