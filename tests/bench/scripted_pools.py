"""Pools that a scripted engine draws."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ttc_cli.bench import drawing, pool
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.prompts import Chat
from ttc_cli.types import PROSE, Sampling

SAMPLING = Sampling(temperature=0.6)


def fill_pool(
    path: Path,
    engine: ScriptedEngine,
    questions: Sequence[LabelledQuestion],
    samples: int,
    form: str = PROSE,
    *,
    states: bool = False,
) -> pool.SamplePool:
    """Draw what the pool in ``path`` lacks on ``engine``, and read it back."""
    chat = Chat(engine.info, {})
    header = drawing.describe(
        engine,
        chat,
        sha256="0" * 64,
        sampling=SAMPLING,
        max_tokens=80,
        seed=1,
        build="script",
        form=form,
    )
    asyncio.run(drawing.fill(path, header, engine, chat, questions, samples, states=states))
    return pool.read(path)
