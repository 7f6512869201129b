"""Candidates that are known from an earlier run: they are not grown again, and change nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.trees import STRATEGIES, search
from ttc_cli.engines.base import Grow, Span
from ttc_cli.engines.scripted import Reply, ScriptedEngine, babble
from ttc_cli.events import CandidateEnded, Scored
from ttc_cli.ledger import Ledger
from ttc_cli.search.registry import find
from ttc_cli.search.sample import derive_seed
from ttc_cli.search.sessions.resumed import KnownSession
from ttc_cli.search.sessions.thinking import Thinking
from ttc_cli.types import Budget, Candidate, Finish, Sampling

SAMPLED = [name for name in STRATEGIES if name not in ("auto", "greedy") and not find(name).steps]


def remember(seen, count):
    """The first ``count`` candidates that ended, with the scores that they got."""
    known = {}
    for event in seen:
        if isinstance(event, CandidateEnded) and len(known) < count:
            known[event.candidate.id] = replace(event.candidate, scores=())
        elif isinstance(event, Scored) and event.id in known:
            known[event.id] = known[event.id].with_scores(event.score)
    return known


def tell(result):
    """What a result says, apart from what it cost."""
    return (
        result.answer,
        result.solution,
        result.decided_by,
        result.stop_reason,
        result.classes,
        result.candidates,
    )


def note_asked(asked):
    def script(ask):
        asked.append(ask.sample)
        return babble(ask)

    return script


@pytest.mark.parametrize("strategy", SAMPLED)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 50), count=st.integers(0, 8))
def test_a_run_that_is_taken_up_comes_to_what_it_would_have(strategy, seed, count):
    whole, seen = search(strategy, babble, samples=8, seed=seed)
    known = remember(seen, count)
    asked = []
    again, _ = search(strategy, note_asked(asked), samples=8, seed=seed, known=known)
    assert tell(again) == tell(whole)
    assert not known.keys() & set(asked), "one that had ended was grown again"
    spared = sum(each.tokens for each in known.values())
    assert again.usage.generated_tokens == whole.usage.generated_tokens - spared
    assert again.usage.generator.reused_tokens >= spared


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 200), count=st.integers(0, 8))
def test_auto_grows_nothing_that_had_ended_again(seed, count):
    """What it cancels in mid-sentence, and so what it decides then, is a matter of who is first."""
    whole, seen = search("auto", babble, samples=16, seed=seed)
    known = remember(seen, count)
    ended = {id: each for id, each in known.items() if each.finish is not Finish.CANCELLED}
    asked = []
    again, _ = search("auto", note_asked(asked), samples=16, seed=seed, known=known)
    assert not ended.keys() & set(asked)
    by_id = {each.id: each for each in again.candidates}
    assert {id: by_id[id].text for id in ended} == {id: each.text for id, each in ended.items()}
    for each in whole.candidates:
        other = by_id.get(each.id)
        if other is not None and Finish.CANCELLED not in (each.finish, other.finish):
            assert other.text == each.text


def add_up(ask):
    """Slips at every second sample, and goes on rightly where that is corrected."""
    if ask.text.endswith("2 + 3 = 5"):
        return f" then.{' So.' * ask.sample}\n\nThe final answer is {5 + ask.seed % 2}."
    total = 6 if ask.seed % 2 else 5 + ask.seed % 3
    wrong = " Hm." * (ask.seed % 7)
    return f"Well.{wrong} 2 + 3 = {total} then.\n\nThe final answer is {total}."


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 200), count=st.integers(0, 12))
def test_what_was_mended_is_known_as_a_whole(seed, count):
    whole, seen = search("auto", add_up, samples=12, seed=seed)
    known = remember(seen, count)
    ended = {id: each for id, each in known.items() if each.finish is Finish.STOP}
    again, _ = search("auto", add_up, samples=12, seed=seed, known=known)
    for each in again.candidates:
        assert each.text.count("The final answer is") <= 1
        other = ended.get(each.id)
        if other is not None and (other.parent is None) == (each.parent is None):
            assert each.text == other.text
    if not any(each.finish is Finish.CANCELLED for each in whole.candidates):
        assert again.answer == whole.answer


def test_known_scores_are_not_asked_for_again():
    judged = []

    def yes(text):
        judged.append(text)
        return 0.25 if "answer is 1" in text else 0.75

    texts = ["So.\n\nThe final answer is 1.", "So.\n\nThe final answer is 2."]
    whole, seen = search("best-of-n", texts, yes=yes, samples=4)
    assert len(judged) == 4
    judged.clear()
    again, _ = search("best-of-n", texts, yes=yes, samples=4, known=remember(seen, 3))
    assert tell(again) == tell(whole)
    assert len(judged) == 1
    assert again.usage.verifier.flops < whole.usage.verifier.flops


def test_a_known_candidate_that_was_not_scored_is_read_and_scored():
    texts = ["So.\n\nThe final answer is 1.", "So.\n\nThe final answer is 2."]
    whole, seen = search("best-of-n", texts, yes=lambda text: 0.5, samples=2)
    bare = {id: replace(each, scores=()) for id, each in remember(seen, 2).items()}
    heard = []

    def yes(text):
        heard.append(text)
        return 0.9 if "answer is 2" in text else 0.1

    again, _ = search("best-of-n", texts, yes=yes, samples=2, known=bare)
    assert (whole.answer.text, again.answer.text) == ("1", "2")
    assert all("final answer is" in text for text in heard)


def test_one_that_was_cut_off_grows_again():
    texts = ["So.\n\nThe final answer is 1."]
    for finish in (Finish.CANCELLED, Finish.BUDGET, Finish.PRUNED):
        known = {0: Candidate(0, "So.", 1, finish)}
        result, _ = search("majority", texts, samples=1, known=known)
        assert result.candidates[0].text == texts[0]


def test_one_that_a_lower_limit_ended_grows_again():
    known = {0: Candidate(0, "So", 1, Finish.LENGTH)}
    texts = ["So.\n\nThe final answer is 1."]
    result, _ = search("majority", texts, samples=1, known=known)
    assert result.candidates[0].text == texts[0]
    budget = Budget(tokens_per_candidate=1)
    result, _ = search("majority", texts, samples=1, known=known, budget=budget)
    assert (result.candidates[0].text, result.usage.generated_tokens) == ("So", 0)


def test_more_samples_grow_what_is_missing():
    whole, seen = search("majority", babble, samples=3)
    more, _ = search("majority", babble, samples=6, known=remember(seen, 3))
    assert more.candidates[:3] == whole.candidates
    assert more == replace(search("majority", babble, samples=6)[0], usage=more.usage)


def test_steps_of_another_search_are_not_taken_for_whole_candidates():
    _, seen = search("beam", babble, samples=4)
    known = remember(seen, 9)
    assert any(each.steps for each in known.values())
    plain, _ = search("majority", babble, samples=4)
    assert tell(search("majority", babble, samples=4, known=known)[0]) == tell(plain)


def test_thoughts_are_known_with_their_answers():
    def say(ask):
        return "We add.\n</think>\n\nSo.\n\nThe final answer is 4."

    thinking = Thinking()
    whole, seen = search("majority", say, samples=3, thinking=thinking)
    again, _ = search("majority", say, samples=3, thinking=thinking, known=remember(seen, 2))
    assert all(each.thought for each in again.candidates)
    assert tell(again) == tell(whole)


def test_a_known_branch_can_be_forked_continued_and_dropped():
    """Whatever a search does behind a candidate, the engine reads its text for."""

    async def run():
        engine = ScriptedEngine(lambda ask: Reply(f"[{ask.text[-5:]}]"))
        known = {0: Candidate(0, "So it is.", 4, Finish.STOP)}
        seed = derive_seed(7, 0)
        async with await engine.open((Span("Q: "),), Ledger(Budget())) as inner:
            session = KnownSession(inner, known, 7)
            (branch,) = session.fork(session.root)
            ask = Grow(branch, 50, Sampling(), seed, 0)
            (first,) = [each async for each in session.grow([ask])]
            assert (first.text, first.branch) == ("So it is.", branch)
            longer = session.append(branch, (Span(" And?"),))
            (fork,) = session.fork(branch)
            requests = [replace(ask, branch=each, label=label + 1) for label, each in
                        enumerate((longer, fork, branch))]  # fmt: skip
            grown = {each.branch: each.text async for each in session.grow(requests)}
            session.drop([branch, longer, fork])
        return grown, (longer, fork, branch)

    grown, (longer, fork, branch) = asyncio.run(run())
    assert grown == {longer: "[ And?]", fork: "[t is.]", branch: "[t is.]"}


def test_what_waits_behind_known_ones_can_be_cancelled_and_limited():
    async def run(act):
        engine = ScriptedEngine(lambda ask: Reply("one two three four five", Finish.STOP))
        known = {0: Candidate(0, "So it is.", 4, Finish.STOP)}
        async with await engine.open((Span("Q: "),), Ledger(Budget())) as inner:
            session = KnownSession(inner, known, 7)
            branches = session.fork(session.root, 2)
            requests = [
                Grow(each, 50, Sampling(), derive_seed(7, id), id)
                for id, each in enumerate(branches)
            ]
            seen = []
            async for growth in session.grow(requests):
                seen.append(growth)
                if growth.label == 0:
                    act(session, branches)
        return seen[1]

    cancelled = asyncio.run(run(lambda session, branches: session.cancel(branches)))
    assert (cancelled.finish, cancelled.tokens) == (Finish.CANCELLED, 0)
    limited = asyncio.run(run(lambda session, branches: session.limit(branches, 2)))
    assert (limited.finish, limited.tokens) == (Finish.LENGTH, 2)
