"""How likely a given text is, beside what llama.cpp alone gives for it. Needs the engine."""

from __future__ import annotations

import asyncio
import math

import llama_cpp
import numpy as np
import pytest

from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import ScoreRow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget

TEXTS = (" on a rock.\n\n", "It is white, and so is the sea.\n\n")


@pytest.mark.live
@pytest.mark.parametrize("architecture", ["qwen3", "mamba2"])
def test_it_is_what_the_library_alone_computes(tiny_models, architecture) -> None:
    path = tiny_models(architecture)

    async def read() -> tuple[list[float], list[int], list[int]]:
        engine = llamacpp.load(path, llamacpp.Settings(threads=1, parallel=2, context=256))
        found, ends = [], []
        async with await engine.open((Span("The old lighthouse"),), Ledger(Budget())) as session:
            branch = session.root
            for text in TEXTS:
                longer = session.append(branch, (Span(text),))
                found += await session.score([ScoreRow(longer, (), (), since=branch)])
                ends.append(len(session._path(branch).tokens))
                branch = longer
            tokens = list(session._path(branch).tokens)
        engine.close()
        return [value for (value,) in found], [*ends, len(tokens)], tokens

    found, ends, tokens = asyncio.run(read())
    library = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, logits_all=True, verbose=False)
    library.eval(tokens)
    rows = np.array(library.scores[: len(tokens)], dtype=np.float64)
    library.close()
    rows -= rows.max(axis=1, keepdims=True)
    logs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    for value, start, end in zip(found, ends[:-1], ends[1:], strict=True):
        expected = math.fsum(logs[place - 1, tokens[place]] for place in range(start, end))
        assert value == pytest.approx(expected, abs=0.01 * (end - start))
        assert value < -(end - start)  # of random weights no token is likely
