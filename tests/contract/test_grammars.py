"""What every engine owes a search that holds an answer to a JSON Schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from contract_engines import GREEDY, SAMPLED, STORY, SUM, Maker, make_recorded

from ttc_cli.answers.validating import conforms
from ttc_cli.engines.base import Branch, Grow, Growth, Session, Span
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "colours": {
                "type": "array",
                "items": {"enum": ["red", "grün", 'a "quoted" \\ one']},
                "minItems": 1,
                "maxItems": 2,
            },
            "sure": {"type": ["boolean", "null"]},
        },
        "required": ["name", "age", "colours", "sure"],
    }
)
ENOUGH = 150
"""Tokens in which every value of ``SCHEMA`` ends."""


@pytest.fixture
def grammar_factory(engine_factory: Maker) -> Maker:
    """For engines that hold what they grow to a schema: all but a recording, which refuses one."""
    return engine_factory


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, 120)

    return asyncio.run(bounded())


async def grow(
    session: Session,
    branches: list[Branch],
    *,
    tokens: int = ENOUGH,
    sampling: Sampling = SAMPLED,
    seed: int = 0,
    grammar: str | None = SCHEMA,
) -> list[Growth]:
    wanted = [
        Grow(branch, tokens, sampling, seed + i, i, grammar=grammar)
        for i, branch in enumerate(branches)
    ]
    ended = [growth async for growth in session.grow(wanted)]
    return sorted(ended, key=lambda growth: growth.label)


def sample(maker: Maker, count: int, **options: Any) -> list[Growth]:
    async def work() -> list[Growth]:
        async with await maker().open(SUM, Ledger(Budget())) as session:
            return await grow(session, session.fork(session.root, count), **options)

    found: list[Growth] = run(work())
    return found


@pytest.mark.parametrize("sampling", [SAMPLED, GREEDY, Sampling(temperature=2.0, top_k=0)])
def test_what_grows_under_a_schema_conforms_and_ends(
    grammar_factory: Maker, sampling: Sampling
) -> None:
    for growth in sample(grammar_factory, 5, sampling=sampling):
        assert growth.finish is Finish.STOP
        assert conforms(growth.text, SCHEMA), growth.text
        assert 1 < growth.tokens <= ENOUGH


def test_seeds_decide_under_a_schema_too(grammar_factory: Maker) -> None:
    first, again = sample(grammar_factory, 4), sample(grammar_factory, 4)
    other = sample(grammar_factory, 4, seed=100)
    assert [each.text for each in first] == [each.text for each in again]
    assert [each.text for each in first] != [each.text for each in other]


def test_each_row_of_a_batch_has_a_grammar_of_its_own_or_none(grammar_factory: Maker) -> None:
    async def work() -> None:
        async with await grammar_factory().open(STORY, Ledger(Budget())) as session:
            number, word, free = session.fork(session.root, 3)
            wanted = [
                Grow(number, 20, SAMPLED, 0, 0, grammar='{"enum": [17, 23]}'),
                Grow(word, 20, SAMPLED, 1, 1, grammar='{"enum": ["yes", "no"]}'),
                Grow(free, 20, SAMPLED, 2, 2),
            ]
            ended = {each.label: each async for each in session.grow(wanted)}
            assert ended[0].text.strip() in ("17", "23")
            assert ended[1].text.strip() in ('"yes"', '"no"')
            assert (ended[2].tokens, ended[2].finish) == (20, Finish.LENGTH)

    run(work())


def test_a_branch_that_grew_freely_goes_on_under_a_schema(grammar_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await grammar_factory().open(STORY, ledger) as session:
            (trunk,) = session.fork(session.root)
            free = await grow(session, [trunk], tokens=8, grammar=None)
            opened = session.append(trunk, (Span("\n```json\n"),))
            held = await grow(session, session.fork(opened, 2))
            assert all(conforms(each.text, SCHEMA) for each in held)
            drawn = sum(each.tokens for each in (*free, *held))
            assert ledger.usage().generator.generated_tokens == drawn

    run(work())


@pytest.mark.parametrize("tokens", [1, 7])
def test_a_limit_leaves_the_head_of_a_value(grammar_factory: Maker, tokens: int) -> None:
    for growth in sample(grammar_factory, 2, tokens=tokens):
        assert (growth.tokens, growth.finish) == (tokens, Finish.LENGTH)
        assert growth.text.lstrip().startswith("{")
        assert not conforms(growth.text, SCHEMA)


def test_a_cancelled_value_can_be_begun_again(grammar_factory: Maker) -> None:
    async def work() -> None:
        async with await grammar_factory().open(SUM, Ledger(Budget())) as session:
            branches = session.fork(session.root, 2)
            wanted = [
                Grow(branches[0], 2, SAMPLED, 0, 0),
                Grow(branches[1], ENOUGH, SAMPLED, 1, 1, grammar=SCHEMA),
            ]
            async for growth in session.grow(wanted):
                if growth.label == 0:
                    session.cancel(branches)
                else:
                    assert growth.finish is Finish.CANCELLED
            held = await grow(session, session.fork(session.root, 1))
            assert conforms(held[0].text, SCHEMA)

    run(work())


def test_a_recording_refuses_a_schema() -> None:
    async def work() -> None:
        engine = Maker("recorded", make_recorded)()
        assert not engine.info.grammars
        async with await engine.open(SUM, Ledger(Budget())) as session:
            with pytest.raises(UsageError):
                await grow(session, session.fork(session.root))

    run(work())
