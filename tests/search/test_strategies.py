from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.trees import FREE, QUESTION, STRATEGIES, search
from ttc_cli.answers import Comparer
from ttc_cli.engines.scripted import Reply, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.events import (
    CandidateEnded,
    EventStream,
    RunEnded,
    RunStarted,
    Scored,
    Voted,
    Warned,
)
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.search.registry import find
from ttc_cli.types import Budget, Confidence, Finish, Result, RoleUsage
from ttc_cli.verifiers.confidence import ConfidenceVerifier
from ttc_cli.verifiers.probe import Head, Probe, ProbeVerifier, View


def says(answer: object, finish: Finish = Finish.STOP, tail: float = -0.5) -> Reply:
    text = f"Tom counts.\n\nThe final answer is {answer}."
    return Reply(text, finish, Confidence(-0.3, tail, 5.0, 5.0))


WHOLE = [
    name for name in STRATEGIES if name == "auto" or not (find(name).steps or find(name).continues)
]
"""Those that grow candidates in one go: what ends early is there when a cap is reached."""

UNSURE = Reply("Tom goes on and on about apples. ", Finish.LENGTH)


def think(texts, *, strategy: str = "auto", yes=lambda text: 0.5, **options):
    result, seen = search(strategy, texts, yes=yes, **options)
    assert isinstance(seen[0], RunStarted)
    assert seen[-1] == RunEnded(result)
    return result, seen


def answer(result: Result) -> str | None:
    return None if result.answer is None else result.answer.text


def test_greedy_is_one_candidate_at_temperature_0() -> None:
    asked = []

    def script(ask):
        asked.append(ask)
        return says(7)

    result, _ = think(script, strategy="greedy", samples=9)
    assert (answer(result), result.decided_by, len(result.candidates)) == ("7", "single", 1)
    assert [(ask.seed, ask.sample) for ask in asked] == [(0, 0)]
    assert result.solution == says(7).text


def test_majority_takes_the_most_frequent_answer() -> None:
    result, seen = think([says(1), says(2), says(2), says(3)], strategy="majority", samples=4)
    assert (answer(result), result.winner, result.decided_by) == ("2", 1, "vote")
    assert result.agreement == 0.5
    assert [each.votes for each in result.classes] == [2, 1, 1]
    assert [each.total for each in seen if isinstance(each, Voted)][-1] == 4
    assert result.usage.verifier.prompt_tokens == 0


def test_majority_grows_all_it_was_asked_for_even_when_settled() -> None:
    result, _ = think([says(4)], strategy="majority", budget=Budget("normal"))
    assert len(result.candidates) == 16
    assert result.agreement == 1.0


def test_best_of_n_takes_the_verifiers_favourite() -> None:
    result, seen = think(
        [says(1), says(1), says(2)],
        strategy="best-of-n",
        samples=3,
        yes=lambda text: 0.9 if "is 2" in text else 0.6,
    )
    assert (answer(result), result.decided_by, result.score) == ("2", "verifier", 0.9)
    assert sum(isinstance(each, Scored) for each in seen) == 3
    assert result.usage.verifier.prompt_tokens > 0


def test_best_of_one_is_one_sample() -> None:
    one, _ = think([says(1)], strategy="best-of-n", samples=1)
    other, _ = think([says(1)], strategy="majority", samples=1)
    assert [(each.text, each.answer) for each in one.candidates] == [
        (each.text, each.answer) for each in other.candidates
    ]
    assert one.answer == other.answer
    assert one.decided_by == other.decided_by == "single"


def test_weighted_adds_up_scores() -> None:
    texts = [says(1), says(1), says(2)]
    loved, _ = think(
        texts, strategy="weighted", samples=3, yes=lambda text: 0.9 if "is 2" in text else 0.1
    )
    assert (answer(loved), loved.decided_by) == ("2", "vote")
    liked, _ = think(
        texts, strategy="weighted", samples=3, yes=lambda text: 0.9 if "is 2" in text else 0.6
    )
    assert answer(liked) == "1"


def test_a_free_question_goes_to_the_verifier_and_to_no_vote() -> None:
    poems = [Reply("Red apples."), Reply("Green apples, sweet."), UNSURE]
    result, _ = think(
        poems,
        problem=FREE,
        strategy="best-of-n",
        samples=3,
        yes=lambda text: 0.8 if "Green" in text else 0.4,
        budget=Budget(tokens_per_candidate=40),
    )
    assert (answer(result), result.decided_by) == ("Green apples, sweet.", "verifier")
    assert result.classes == ()
    with pytest.raises(UsageError):
        think(poems, problem=FREE, strategy="majority")
    alone, _ = think(poems, problem=FREE, strategy="greedy")
    assert answer(alone) == "Red apples."


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_candidates_that_state_nothing_never_win(strategy: str) -> None:
    budget = Budget(tokens_per_candidate=30)
    result, _ = think([UNSURE], strategy=strategy, budget=budget, samples=4)
    assert (result.answer, result.solution, result.winner) == (None, None, None)
    assert result.agreement == 0.0
    some, _ = think(
        [UNSURE if i % 4 else says(5) for i in range(8)],
        strategy=strategy,
        budget=budget,
        samples=8,
    )
    assert answer(some) == "5"


@pytest.mark.parametrize("strategy", WHOLE)
def test_a_spent_cap_gives_the_best_answer_so_far(strategy: str) -> None:
    texts = [says(5), UNSURE, UNSURE, UNSURE]
    result, seen = think(texts, strategy=strategy, budget=Budget(max_tokens=100), samples=4)
    assert answer(result) == "5"
    if strategy != "greedy":
        assert "token cap of 100 reached" in result.stop_reason
        assert result.usage.generated_tokens <= 103
        ended = [each.candidate for each in seen if isinstance(each, CandidateEnded)]
        assert [each.finish for each in ended].count(Finish.BUDGET) == 3


@pytest.mark.parametrize("strategy", WHOLE)
def test_an_interrupt_gives_the_best_answer_so_far(strategy: str) -> None:
    engine = ScriptedEngine([says(5), UNSURE, UNSURE, UNSURE])
    events = EventStream()

    def stop(event: object) -> None:
        if isinstance(event, CandidateEnded):
            engine.interrupt()

    events.readers.append(stop)
    with Comparer() as comparer:
        result = asyncio.run(
            solve(
                QUESTION,
                Stage(engine, Chat(engine.info)),
                SearchOptions(strategy, samples=4),
                comparer=comparer,
                events=events,
            )
        )
    assert answer(result) == "5"
    if strategy != "greedy":
        assert result.interrupted
        assert result.stop_reason == "interrupted"


@settings(max_examples=25, deadline=None)
@given(
    strategy=st.sampled_from(STRATEGIES),
    texts=st.lists(st.sampled_from([says(1), says(2), says(3), UNSURE]), min_size=1, max_size=6),
    cap=st.integers(1, 400),
    samples=st.integers(1, 10),
    parallel=st.integers(1, 5),
)
def test_no_run_exceeds_its_caps_and_every_run_repeats(
    strategy, texts, cap, samples, parallel
) -> None:
    budget = Budget(max_tokens=cap, max_samples=samples, tokens_per_candidate=60)
    runs = [
        think(texts, strategy=strategy, budget=budget, parallel=parallel, seed=3)[0]
        for _ in range(2)
    ]
    for result in runs:
        assert result.usage.generated_tokens <= cap + parallel - 1
        assert sum(each.finished for each in result.candidates) <= samples
        if result.winner is not None:
            by_id = {each.id: each for each in result.candidates}
            assert by_id[result.winner].answer is not None
    first, second = runs
    assert first.candidates == second.candidates
    assert (first.answer, first.winner, first.stop_reason) == (
        second.answer,
        second.winner,
        second.stop_reason,
    )


def test_wrong_names_and_numbers_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no strategy called 'beem'"):
        think([says(1)], strategy="beem")
    with pytest.raises(UsageError, match="no budget called 'tiny'"):
        think([says(1)], budget=Budget("tiny"))
    with pytest.raises(UsageError):
        think([says(1)], samples=0)
    with pytest.raises(UsageError):
        think([says(1)], budget=Budget(max_samples=0))


@pytest.mark.parametrize(("strategy", "warned"), [("majority", 1), ("greedy", 1), ("weighted", 0)])
def test_a_verifier_that_a_strategy_never_asks_is_warned_of(strategy: str, warned: int) -> None:
    verifiers = [ConfidenceVerifier()]
    _, seen = think([says(1)], strategy=strategy, samples=2, verifiers=verifiers)
    told = [each.message for each in seen if isinstance(each, Warned)]
    assert sum("uses no verifier: confidence is ignored" in each for each in told) == warned


PATHS = ["A good step.\n\nA better one.\n\nThe final answer is 5.", "The final answer is 5."]


def feel(text: str) -> tuple[float, ...]:
    """The hidden state after ``text``: what is bad is at its first step."""
    return (3.0 if "better" in text else -3.0, 1.0)


def make_probe(*parts: str) -> ProbeVerifier:
    traits = {"objective": "ridge", "penalty": 1.0, "samples": 8, "questions": 4, "right": 0.5}
    traits |= {"folds": 4, "auc": None, "auc_within": None, "low": None, "high": None}
    heads = [
        Head("prose", part, View.LAST, weights=(1.0, 0.0), bias=0.0, **traits) for part in parts
    ]
    probe = Probe("script", "0" * 64, 2, "2026-01-01", tuple(heads))
    return ProbeVerifier(probe, sha256="0" * 64, states=2)


def test_steps_of_a_candidate_grown_in_one_go_are_shown_and_do_not_vote() -> None:
    told = {}
    for parts in (("whole",), ("whole", "step")):
        engine = ScriptedEngine(PATHS, state=feel)
        result, seen = search("best-of-n", engine=engine, samples=2, verifiers=[make_probe(*parts)])
        scores = [(each.id, each.score) for each in seen if isinstance(each, Scored)]
        told[parts] = result, scores
    (plain, few), (graded, many) = told.values()
    steps = [(id, score.step) for id, score in many]
    assert steps == [(1, None), (0, 0), (0, 1), (0, 2), (0, None)]
    low, high = (pytest.approx(1 / (1 + math.exp(each))) for each in (3, -3))
    first, second, third = (score.value for _, score in many[1:4])
    assert low == first < second < third  # each the mean of what was written up to its end
    assert many[-1][1].value == high
    assert [each for each in many if each[1].step is None] == few
    assert (graded.winner, graded.score) == (plain.winner, plain.score)
    assert graded.usage.verifier == plain.usage.verifier == RoleUsage()
