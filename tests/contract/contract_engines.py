"""The engines that pass the contract suite, and how each is made for it.

The live engine runs on the smallest chat model that ``tests/conftest.py`` finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ttc_cli.engines.base import Engine, EngineInfo, Prompt, Span
from ttc_cli.engines.recorded import (
    RecordedEngine,
    RecordedQuestion,
    RecordedSample,
    Recording,
    prompt_key,
)
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine, babble
from ttc_cli.types import Finish, Sampling


def spell(question: str) -> Prompt:
    return (
        Span("<|im_start|>user\n", control=True),
        Span(question),
        Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
    )


STORY = spell("Write a very long story about a lighthouse. Never stop.")
"""Nobody ends this within the few tokens that the suite asks for."""
SUM = spell("Tom has 3 apples and buys 4 more. How many apples has Tom?")
SAMPLED = Sampling(temperature=0.8)
GREEDY = Sampling(temperature=0.0)


@dataclass
class Maker:
    """Makes engines of one kind.

    ``free`` of what a recording cannot do. ``exact``: the text does not depend on what else is in
    the batch; with real arithmetic the last bits do, and a near tie may fall the other way.
    """

    name: str
    make: Callable[..., Engine]
    free: bool = True
    exact: bool = True
    made: list[Engine] = field(default_factory=list)

    def __call__(
        self, *, parallel: int = 4, context: int = 512, kv_cells: int | None = None
    ) -> Engine:
        self.made.append(self.make(parallel=parallel, context=context, kv_cells=kv_cells))
        return self.made[-1]


def make_scripted(*, parallel: int, context: int, kv_cells: int | None) -> Engine:
    def say(ask: Ask) -> Reply:
        endless = "story" in ask.text
        return Reply(babble(ask), Finish.LENGTH if endless else Finish.STOP)

    return ScriptedEngine(
        say, yes=lambda text: 0.75, parallel=parallel, context=context, kv_cells=kv_cells
    )


def make_recorded(*, parallel: int, context: int, kv_cells: int | None) -> Engine:
    def record(prompt: Prompt, tokens: int, finish: Finish) -> RecordedQuestion:
        samples = tuple(
            RecordedSample(
                index, f"{index:04d}" * tokens, tokens + index, finish, (4,) * tokens + (0,) * index
            )
            for index in range(32)
        )
        return RecordedQuestion(prompt_key(prompt), 12, samples)

    questions = (record(SUM, 9, Finish.STOP), record(STORY, 256, Finish.LENGTH))
    info = EngineInfo("scripted", "recorded script", 1_000_000, context, parallel, None)
    return RecordedEngine(Recording(info, SAMPLED, 256, {each.key: each for each in questions}))


def make_llamacpp(model: Path, *, parallel: int, context: int, kv_cells: int | None) -> Engine:
    from ttc_cli.engines import llamacpp

    plan = llamacpp.plan
    settings = llamacpp.Settings(threads=1, parallel=parallel, context=context, answer=context // 2)
    with pytest.MonkeyPatch.context() as patch:
        if kv_cells is not None:
            patch.setattr(llamacpp, "plan", lambda *given: replace(plan(*given), cells=kv_cells))
        return llamacpp.load(model, settings)
