"""Whether an engine says the same twice, where real arithmetic rounds by the width of a batch.

The rows of a batch are rounded differently by its width, and by the processor. A branch's
distribution is the same up to that; where two tokens are all but equally likely, the greedy one
may be the other. No more is promised (``engines/base.py``), and no more is tested.
"""

from __future__ import annotations

from collections.abc import Sequence

from ttc_cli.engines.base import Engine, Grow, Prompt, ScoreRow, Span
from ttc_cli.events import Grew
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Sampling

_MOST_CHARACTERS = 24
"""Of a token."""


async def speak(engine: Engine, prompt: Prompt, tokens: int) -> list[str]:
    """The pieces, a token each, that one greedy branch says to ``prompt`` when it is alone."""
    seen: list[Grew] = []
    text = ""
    async with await engine.open(prompt, Ledger(Budget()), seen.append) as session:
        wanted = Grow(session.fork(session.root)[0], tokens, Sampling(temperature=0.0), 0, 0)
        async for growth in session.grow([wanted]):
            text = growth.text
    pieces = [piece for each in seen if (piece := each.texts.get(0))]
    rest = text[len("".join(pieces)) :]
    return [*pieces, rest] if rest else pieces


async def check_same(
    engine: Engine, prompt: Prompt, pieces: Sequence[str], said: str, *, exact: bool = False
) -> None:
    """Whether ``said`` is how ``pieces`` begin, or leaves them at a near tie.

    Raises:
        AssertionError: It leaves them elsewhere: at a token that the engine, asked alone, finds
            less than half as likely as that of ``pieces``; or anywhere, where it is ``exact``.
    """
    expected = "".join(pieces)
    if expected.startswith(said):
        return
    assert not exact, f"{said!r} is not how {expected!r} begins"
    start = 0
    for piece in pieces:
        if not said.startswith(piece, start):
            break
        start += len(piece)
    end = min(start + _MOST_CHARACTERS, len(said))
    others = tuple(said[start:stop] for stop in range(start + 1, end + 1))
    async with await engine.open(prompt, Ledger(Budget())) as session:
        before = session.append(session.root, (Span(said[:start]),)) if start else session.root
        ((one, other),) = await session.score([ScoreRow(before, (), ((piece,), others))])
    assert other > one / 2, f"{said!r} leaves {expected!r}, {other:.3f} against {one:.3f}"
