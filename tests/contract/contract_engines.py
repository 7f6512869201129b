"""The engines that pass the contract suite, and how each is made for it.

The live engine runs on the smallest chat model that ``tests/conftest.py`` finds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ttc_cli.bench.pool import RecordedQuestion, RecordedSample, Recording
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.engines.base import Engine, EngineInfo, Prompt, Span
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine, babble
from ttc_cli.engines.share import EngineShare
from ttc_cli.prompts import prompt_key
from ttc_cli.types import Finish, Sampling

if TYPE_CHECKING:
    from ttc_cli.engines.openai.address import Address
    from ttc_cli.engines.openai.probe import Abilities


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

    ``exact``: the text does not depend on what else is in the batch. With real arithmetic the last
    bits do: ``near_ties.check_same`` allows for that alone. ``cuts``: what was read can be cut back
    to any token; else what comes before it is read again.
    """

    name: str
    make: Callable[..., Engine]
    exact: bool = True
    cuts: bool = True
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


def make_shared(*, parallel: int, context: int, kv_cells: int | None) -> Engine:
    """One half of an engine twice as wide."""
    whole = make_scripted(parallel=2 * parallel, context=context, kv_cells=kv_cells)
    return EngineShare(whole, parallel)


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


@functools.cache
def probe_server(url: str) -> tuple[Address, Abilities]:
    """What the server of this session can do, found out once."""
    from ttc_cli.engines import openai

    engine = openai.connect(openai.Settings(url, grammars=True))
    return engine.address, engine.abilities


def make_openai(
    address: Address, abilities: Abilities, *, parallel: int, context: int, kv_cells: int | None
) -> Engine:
    """Context and cache are the server's own: 4 slots of 256 tokens."""
    from ttc_cli.engines.openai import Settings
    from ttc_cli.engines.openai.engine import OpenAIEngine

    return OpenAIEngine(address, Settings(address.url, parallel=parallel), abilities)


_READS_AGAIN = "each request sends its whole text, and what is read of it is the server's affair"
_TELLS_NONE = "a server does not tell how likely a given text is"
NOT_ON_A_SERVER = {
    "test_the_prompt_is_read_and_charged_once": _READS_AGAIN,
    "test_each_prompt_is_read_and_charged_once": _READS_AGAIN,
    "test_a_fork_goes_on_from_where_its_parent_stands": _READS_AGAIN,
    "test_a_branch_can_be_cut_before_a_mark_and_goes_on_from_there": _READS_AGAIN,
    "test_scoring_step_by_step_costs_each_step_once": _READS_AGAIN,
    "test_a_fork_of_a_scored_path_reads_only_its_own": _READS_AGAIN,
    "test_scores_are_probabilities_of_the_whole_vocabulary": "a score draws a token, and pays it",
    "test_a_verifier_that_grows_pays_as_one": "a prompt is read with the first growth",
    "test_growths_are_yielded_in_a_fixed_order": "growths are yielded as their streams end",
    "test_dropping_frees_cells": "the cache is the server's",
    "test_hidden_states_tell_branches_apart_and_disturb_none": "there are no hidden states",
    "test_hidden_states_are_not_read_after_the_cap": "there are no hidden states",
    "test_a_token_is_as_likely_as_its_label": _TELLS_NONE,
    "test_a_text_is_as_likely_as_its_parts_one_after_the_other": _TELLS_NONE,
    "test_no_likelihood_is_read_after_the_cap": _TELLS_NONE,
    "test_states_pooled_while_growing_are_those_read_again": "there are no hidden states",
}
"""Contract tests that cannot hold for the engine over a server, and why.

What they say of texts and scores beside, ``tests/live/test_openai_live.py`` holds the server to.
"""
NO_STATES = {
    "test_states_pooled_while_growing_are_those_read_again",
    "test_hidden_states_tell_branches_apart_and_disturb_none",
    "test_hidden_states_are_not_read_after_the_cap",
}
"""Contract tests that cannot hold where llama.cpp gives no logits beside hidden states (LFM2)."""


def make_llamacpp(model: Path, *, parallel: int, context: int, kv_cells: int | None) -> Engine:
    from ttc_cli.engines import llamacpp

    plan = llamacpp.plan
    settings = llamacpp.Settings(threads=1, parallel=parallel, context=context, answer=context // 2)
    with pytest.MonkeyPatch.context() as patch:
        if kv_cells is not None:
            patch.setattr(llamacpp, "plan", lambda *given: replace(plan(*given), cells=kv_cells))
        return llamacpp.load(model, settings)
