from __future__ import annotations

import asyncio

import pytest

from ttc_cli.engines.base import Branch, Grow, ScoreRow, Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import JUDGE_QUESTION, Chat
from ttc_cli.types import Budget, Candidate, Finish, Problem, Sampling, Score
from ttc_cli.verifiers.base import Leaf, share_of_first
from ttc_cli.verifiers.judge import JudgeVerifier

PROBLEM = Problem("How many apples?")


def leaf(id: int, branch: Branch | None) -> Leaf:
    return Leaf(Candidate(id, "", 1, Finish.STOP), branch)


def test_the_judge_reads_only_its_question_on_the_candidates_own_branch() -> None:
    heard = []

    def yes(text: str) -> float:
        heard.append(text)
        return 0.9 if "four" in text else 0.3

    engine = ScriptedEngine(["It is four.", "It is five."], yes=yes)
    chat = Chat(engine.info)
    ledger = Ledger(Budget())

    async def work() -> list[Score | None]:
        async with await engine.open((Span("How many?"),), ledger) as session:
            branches = session.fork(session.root, 2)
            wanted = [Grow(each, 50, Sampling(), i, i) for i, each in enumerate(branches)]
            ended = [growth async for growth in session.grow(wanted)]
            leaves = [leaf(each.label, each.branch) for each in ended]
            return await JudgeVerifier(chat).score(session, PROBLEM, [*leaves, leaf(9, None)])

    scores = asyncio.run(work())
    assert scores == [Score("judge", pytest.approx(0.9)), Score("judge", pytest.approx(0.3)), None]
    assert all(text.startswith("How many?It is") for text in heard)
    assert all(JUDGE_QUESTION in text for text in heard)
    assert ledger.usage().verifier.decode_calls == 1
    assert ledger.usage().verifier.generated_tokens == 0


def test_rows_that_were_not_read_have_no_score() -> None:
    class Silent:
        async def score(self, rows: list[ScoreRow]) -> list[tuple[float, ...]]:
            return [(), (0.6, 0.2)]

    judge = JudgeVerifier(Chat(ScriptedEngine().info))
    leaves = [leaf(0, Branch(1)), leaf(1, Branch(2))]
    scores = asyncio.run(judge.score(Silent(), PROBLEM, leaves))  # type: ignore[arg-type]
    assert scores == [None, Score("judge", pytest.approx(0.75))]


@pytest.mark.parametrize(
    ("row", "share"), [((0.6, 0.2), 0.75), ((0.0, 0.5), 0.0), ((0.0, 0.0), None), ((), None)]
)
def test_the_score_is_the_share_of_first(row: tuple[float, ...], share: float | None) -> None:
    assert share_of_first(row) == (None if share is None else pytest.approx(share))
