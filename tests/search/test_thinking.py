from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.trees import QUESTION, STRATEGIES, search
from ttc_cli.answers import find_thought
from ttc_cli.bench.pool import RecordedQuestion, RecordedSample, Recording
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.engines.base import Grow, Growth, Until
from ttc_cli.engines.scripted import CHATML, Ask, Reply, ScriptedEngine
from ttc_cli.engines.scripted.script import pieces
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import STOP_THINKING, Chat, build_messages, prompt_key
from ttc_cli.search.sessions.thinking import Thinking, ThinkingSession
from ttc_cli.types import AnswerType, Budget, Confidence, Finish, Problem, Result, Sampling

THOUGHT = "The final answer is 9. No. "
"""What is stated in a thought is no answer."""
END = "\n</think>\n\n"


def ponder(
    thought: str = THOUGHT * 3, answer: Callable[[str], object] = lambda text: 4
) -> Callable[[Ask], Reply]:
    """A model that thinks until it closes its thought, and answers when the thought is closed."""

    def say(ask: Ask) -> Reply:
        turn = ask.text.rpartition("<|im_start|>assistant\n")[2]
        if "</think>" in turn:
            rest = turn.rpartition("</think>")[2].strip()
            said = f"So.\n\nThe final answer is {answer(turn)}."
            return Reply(said[len(rest) :] if said.startswith(rest) else said)
        if turn.startswith("<think>"):
            begun = turn.removeprefix("<think>\n")
            rest = thought.removeprefix(begun) if thought.startswith(begun) else thought
            return Reply(f"{rest}{END}So.\n\nThe final answer is {answer(turn)}.")
        return Reply("The final answer is 1.")

    return say


def think(
    strategy: str = "majority", script=None, thinking: Thinking | None = None, **options
) -> Result:
    options.setdefault("samples", 2)
    script = script or ponder()
    return search(strategy, script, thinking=thinking or Thinking(), **options)[0]


def thoughts(result: Result) -> list[str]:
    return [each.text[: each.thought] for each in result.candidates]


def rests(result: Result) -> list[str]:
    return [each.text[each.thought :].strip() for each in result.candidates]


def answer(result: Result) -> str | None:
    return None if result.answer is None else result.answer.text


def test_a_thought_is_told_from_the_answer() -> None:
    result = think()
    assert answer(result) == "4"
    assert thoughts(result) == [THOUGHT * 3 + "\n</think>"] * 2
    assert rests(result) == ["So.\n\nThe final answer is 4."] * 2
    assert result.solution == "So.\n\nThe final answer is 4."


def test_what_the_model_wrote_is_what_it_would_write_unwatched() -> None:
    """Stopping at the mark and going on costs nothing and changes nothing."""
    whole = search("greedy", ponder(), samples=1)[0]
    assert answer(whole) == "1"  # not told to think
    watched = think("greedy", samples=1)
    (candidate,) = watched.candidates
    assert candidate.text == THOUGHT * 3 + END + "So.\n\nThe final answer is 4."
    assert candidate.tokens == len(pieces(candidate.text)) + 1
    assert watched.usage.generator.generated_tokens == candidate.tokens


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_thinks_and_never_answers_from_a_thought(strategy: str) -> None:
    result = think(strategy, samples=4)
    assert answer(result) == "4"
    ended = [each for each in result.candidates if each.finished]
    assert ended
    for each in ended:
        assert each.text[: each.thought].endswith("</think>")
        assert THOUGHT in each.text[: each.thought]
        assert each.answer is not None
        assert each.answer.text == "4"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_thought_that_never_ends_is_closed_at_its_cap(strategy: str) -> None:
    def endless(ask: Ask) -> Reply:
        turn = ask.text.rpartition("<|im_start|>assistant\n")[2]
        if "</think>" in turn:
            return ponder()(ask)
        return Reply(" The final answer is 9. No.", Finish.LENGTH)

    result = think(strategy, endless, Thinking(tokens=40), samples=4)
    assert answer(result) == "4"
    ended = [each for each in result.candidates if each.finished]
    for each in ended:
        thought = each.text[: each.thought]
        assert thought.endswith(f"\n\n{STOP_THINKING}{END}")
        assert len(pieces(thought.partition(f"\n\n{STOP_THINKING}")[0])) == 40
    assert ended


def test_without_a_cap_the_limit_of_the_candidate_leaves_room_to_answer() -> None:
    script = ponder("Hm, so. " * 500)
    result = think(script=script, budget=Budget(tokens_per_candidate=60))
    assert answer(result) == "4"
    assert all(30 < each.tokens <= 60 for each in result.candidates)


def test_injected_words_are_read_and_not_drawn() -> None:
    capped = think("greedy", ponder("Hm, so. " * 500), Thinking(tokens=20), samples=1)
    free = think("greedy", ponder("Hm."), samples=1)
    (candidate,) = capped.candidates
    injected = len(pieces(f"\n\n{STOP_THINKING}\n")) + len(pieces("</think>\n\n"))
    assert candidate.tokens == 20 + len(pieces("So.\n\nThe final answer is 4.")) + 1
    assert capped.usage.generator.generated_tokens == candidate.tokens
    read = capped.usage.generator.prompt_tokens - free.usage.generator.prompt_tokens
    assert read == pytest.approx(injected, abs=2)


def test_no_thought_at_all() -> None:
    result = think("greedy", thinking=Thinking(tokens=0), samples=1)
    (candidate,) = result.candidates
    assert candidate.text == f"{END}So.\n\nThe final answer is 4."
    assert (answer(result), candidate.text[: candidate.thought]) == ("4", END)


def test_wait_makes_a_thought_go_on() -> None:
    def count(turn: str) -> int:
        return turn.count("Wait")

    for waits in (0, 1, 3):
        result = think("greedy", ponder("Hm.", count), Thinking(waits=waits), samples=1)
        assert answer(result) == str(waits)
        (thought,) = thoughts(result)
        assert thought == "Hm.\n" + "WaitHm.\n" * waits + "</think>"


def test_wait_reads_its_word_and_nothing_of_the_thought_again() -> None:
    script = ponder("We think about the apples of Tom. " * 30)
    plain = think("greedy", script, samples=1)
    waited = think("greedy", script, Thinking(waits=1), samples=1)
    read = waited.usage.generator.prompt_tokens - plain.usage.generator.prompt_tokens
    assert 0 < read <= 3
    assert waited.candidates[0].tokens > 1.8 * plain.candidates[0].tokens


def test_waiting_never_exceeds_the_cap_of_the_thought() -> None:
    script = ponder("One two three. " * 5)
    result = think("greedy", script, Thinking(tokens=50, waits=9), samples=1)
    (candidate,) = result.candidates
    assert candidate.text.count("Wait") == 2
    assert STOP_THINKING in candidate.text
    assert answer(result) == "4"


def less_sure_later(confidences: list[float]) -> Callable[[Ask], Reply]:
    def say(ask: Ask) -> Reply:
        sure = confidences[min(ask.sample, len(confidences) - 1)]
        reply = ponder("Hm, so. " * 40, lambda turn: ask.sample % 3)(ask)
        return Reply(reply.text, reply.finish, Confidence(-0.3, -0.3, sure, sure))

    return say


def test_thoughts_less_sure_than_those_before_answer_early() -> None:
    """Four end by themselves; of the next wave, those below their threshold are closed."""
    script = less_sure_later([4.0, 5.0, 6.0, 7.0, 3.0, 8.0, 3.0, 8.0])
    budget = Budget("deep", max_samples=8)
    common = {"strategy": "auto", "script": script, "samples": 8, "budget": budget}
    result = think(thinking=Thinking(keep=1.0), parallel=8, **common)
    early = [STOP_THINKING in each for each in thoughts(result)]
    # All eight of the probe start before any has ended: nothing is known yet.
    assert not any(early)
    result = think(
        thinking=Thinking(keep=1.0), parallel=8, **{**common, "budget": Budget("normal")}
    )
    early = {each.id: STOP_THINKING in each.text for each in result.candidates}
    assert [early[id] for id in range(4)] == [False] * 4
    assert {id for id in early if early[id]} == {4, 6}
    assert all(each.answer is not None for each in result.candidates if each.finished)
    everyone = think(thinking=Thinking(), parallel=8, **{**common, "budget": Budget("normal")})
    assert not any(STOP_THINKING in each for each in thoughts(everyone))
    assert result.usage.generated_tokens < everyone.usage.generated_tokens


def test_a_thought_that_repeats_itself_or_ends_the_turn_is_closed() -> None:
    for finish in (Finish.LOOP, Finish.STOP):

        def stuck(ask: Ask, finish: Finish = finish) -> Reply:
            if "</think>" in ask.text.rpartition("<|im_start|>assistant\n")[2]:
                return ponder()(ask)
            return Reply(THOUGHT, finish)

        result = think(script=stuck)
        assert answer(result) == "4"
        assert all(STOP_THINKING in each for each in thoughts(result))


def test_a_cap_of_the_run_in_the_middle_of_a_thought_gives_no_answer() -> None:
    result = think(budget=Budget(max_tokens=20))
    assert result.answer is None
    assert {each.finish for each in result.candidates} == {Finish.BUDGET}
    assert all(each.thought == len(each.text) for each in result.candidates)


def test_candidates_that_are_settled_cancel_others_in_mid_thought() -> None:
    def script(ask: Ask) -> Reply:
        return ponder("Hm, so. " * (100 if ask.sample == 3 else 2))(ask)

    result = think("auto", script, samples=8, parallel=4)
    last = result.candidates[3]
    assert (last.finish, last.answer) == (Finish.CANCELLED, None)
    assert last.thought == len(last.text)
    assert last.tokens < 120


def test_the_judge_is_asked_without_a_thought() -> None:
    asked = []

    def yes(text: str) -> float:
        asked.append(text)
        return 0.7

    result = think("best-of-n", yes=yes, samples=2)
    assert result.score == 0.7
    assert all(text.endswith(f"assistant\n<think>\n{END}") for text in asked)


def test_a_template_that_opens_or_closes_the_block_is_left_to_it() -> None:
    end = "assistant\n{% endif %}"
    assert end in CHATML
    opened = CHATML.replace(end, "assistant\n<think>\n{% endif %}")
    closed = CHATML.replace(end, "assistant\n<think>\n\n</think>\n\n{% endif %}")
    for template, expected in ((opened, THOUGHT), (closed, "")):
        engine = ScriptedEngine(ponder())
        object.__setattr__(engine.info, "chat_template", template)
        result = think(engine=engine)
        assert answer(result) == "4"
        assert all(each.startswith(expected) for each in thoughts(result))
        assert all(bool(each) == bool(expected) for each in thoughts(result))


def test_revisions_think_again_and_do_not_see_old_thoughts() -> None:
    seen = []

    def script(ask: Ask) -> Reply:
        seen.append(ask.text)
        return ponder()(ask)

    result = think("revise", script, samples=2, knobs={"chains": "1"})
    assert [THOUGHT in each for each in thoughts(result)] == [True, True]
    revision = next(text for text in seen if text.count("<|im_start|>assistant\n") == 2)
    first = revision.split("<|im_start|>assistant\n")[1]
    assert THOUGHT not in first
    assert "The final answer is 4." in first


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    strategy=st.sampled_from(STRATEGIES),
    cap=st.integers(1, 500),
    limit=st.integers(2, 90),
    tokens=st.one_of(st.none(), st.integers(0, 60)),
    waits=st.integers(0, 2),
    parallel=st.integers(1, 5),
    length=st.integers(0, 12),
)
def test_caps_hold_and_runs_repeat(strategy, cap, limit, tokens, waits, parallel, length) -> None:
    budget = Budget(max_tokens=cap, tokens_per_candidate=limit)
    runs = [
        think(
            strategy,
            ponder(THOUGHT * length),
            Thinking(tokens=tokens, waits=waits),
            samples=5,
            budget=budget,
            parallel=parallel,
        )
        for _ in range(2)
    ]
    first, again = runs
    assert first.candidates == again.candidates
    assert first.usage.generated_tokens <= cap + parallel - 1
    assert answer(first) in (None, "4")
    for each in first.candidates:
        assert 0 <= each.thought <= len(each.text)
        assert each.answer is None or each.answer.text == "4"


def drive(work, script=None, thinking: Thinking | None = None, **options):
    """Run ``work`` on a thinking session over a scripted engine."""

    async def main():
        engine = ScriptedEngine(script or ponder(), **options)
        prompt = Chat(engine.info).render(build_messages(QUESTION))
        ledger = Ledger(Budget())
        async with await engine.open(prompt, ledger) as inner:
            return await work(ThinkingSession(inner, prompt, thinking or Thinking()), ledger)

    return asyncio.run(main())


def requests(branches, tokens: int = 200, until: Until = Until.END) -> list[Grow]:
    return [Grow(branch, tokens, Sampling(), i, i, until) for i, branch in enumerate(branches)]


def test_a_thought_is_one_step_and_then_the_answer_steps() -> None:
    async def work(session, ledger):
        (branch,) = session.fork(session.root)
        steps = []
        while not steps or steps[-1].finish is Finish.STEP:
            steps += [each async for each in session.grow(requests([branch], until=Until.STEP))]
        return steps

    steps = drive(work, ponder("One.\n\nTwo.\n\nThree."))
    assert "".join(each.text for each in steps).endswith(f"{END}So.\n\nThe final answer is 4.")
    assert steps[0].text == "One.\n\nTwo.\n\nThree.\n</think>"
    assert steps[-1].text == "The final answer is 4."
    assert [each.thought for each in steps][1:] == [0] * (len(steps) - 1)
    assert steps[0].thought == len(steps[0].text)


def test_a_limit_lowered_in_mid_thought_still_lets_it_answer() -> None:
    async def work(session, ledger):
        quick, slow = session.fork(session.root, 2)
        ended = {}
        wanted = [Grow(quick, 3, Sampling(), 0, 0), *requests([slow], 400)]
        async for growth in session.grow([wanted[0], Grow(slow, 400, Sampling(), 1, 1)]):
            ended[growth.label] = growth
            session.limit([slow], 40)
        return ended[1]

    growth = drive(work, ponder("Hm, so. " * 200))
    assert growth.finish is Finish.STOP
    assert growth.tokens <= 40
    assert STOP_THINKING in growth.text


def test_others_join_a_batch_of_thoughts() -> None:
    async def work(session, ledger):
        def then(growth: Growth) -> list[Grow]:
            (more,) = session.fork(session.root)
            return [Grow(more, 200, Sampling(), 9, growth.label + 10)] if growth.label < 2 else []

        first = requests(session.fork(session.root, 2))
        return [growth async for growth in session.grow(first, then)]

    growths = drive(work)
    assert sorted(each.label for each in growths) == [0, 1, 10, 11]
    assert all(each.thought and "answer is 4" in each.text[each.thought :] for each in growths)


def test_leaving_the_iterator_cancels_thoughts_and_frees_their_cells() -> None:
    async def work(session, ledger):
        branches = session.fork(session.root, 4)
        growing = session.grow([Grow(branches[0], 4, Sampling(), 0, 0), *requests(branches[1:])])
        await anext(growing)
        await growing.aclose()
        spent = ledger.usage().generated_tokens
        session.drop(branches)
        (fresh,) = session.fork(session.root)
        (growth,) = [each async for each in session.grow(requests([fresh]))]
        assert ledger.usage().generated_tokens == spent + growth.tokens
        return growth

    assert "answer is 4" in drive(work).text


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("The answer is 4.", ""),
        ("<think>\nIs it 9?\n</think>\n\nThe answer is 4.", "<think>\nIs it 9?\n</think>"),
        ("The answer is 9.</think> The answer is 4.", "The answer is 9.</think>"),
        ("<think>\nThe answer is 9.", "<think>\nThe answer is 9."),
        ("What does <think> mean?", ""),
    ],
)  # fmt: skip
def test_thoughts_are_found_without_being_asked_for(text: str, thought: str) -> None:
    assert text[: find_thought(text)] == thought
    result = search("greedy", [text], samples=1)[0]
    assert result.candidates[0].thought == len(thought)
    assert answer(result) == ("4" if "4" in text else None)


def test_a_thought_that_a_template_opens_is_one_of_a_model_nobody_described() -> None:
    engine = ScriptedEngine(["Is it <b>? \\boxed{9}. No </think> \\boxed{4}", "\\boxed{9}, so"])
    opened = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    object.__setattr__(engine.info, "chat_template", opened)
    result = search("majority", engine=engine, samples=2)[0]
    assert answer(result) == "4"
    assert thoughts(result) == ["Is it <b>? \\boxed{9}. No </think>", "\\boxed{9}, so"]


def recorded(text: str) -> RecordedEngine:
    info = ScriptedEngine([]).info
    prompt = Chat(info).render(build_messages(QUESTION))
    size = len(text)
    sample = RecordedSample(0, text, size, Finish.STOP, (1,) * size)
    question = RecordedQuestion(prompt_key(prompt), 20, (sample,))
    return RecordedEngine(Recording(info, Sampling(), 768, {question.key: question}))


def test_an_engine_that_cannot_force_a_thought_still_tells_it() -> None:
    text = f"{THOUGHT}{END}The final answer is 4."
    result = think(engine=recorded(text), samples=1, sampling=Sampling())
    assert (answer(result), thoughts(result)) == ("4", [f"{THOUGHT}\n</think>"])
    unclosed = think(engine=recorded(THOUGHT), samples=1, sampling=Sampling())
    assert unclosed.answer is None
    for thinking in (Thinking(tokens=5), Thinking(waits=1), Thinking(keep=0.5)):
        with pytest.raises(UsageError, match="cannot end or prolong a thought"):
            think(engine=recorded(text), thinking=thinking, sampling=Sampling())


def test_budgets_that_make_no_sense_are_refused() -> None:
    for wrong in ({"tokens": -1}, {"waits": -1}, {"keep": 0.0}, {"keep": 1.5}, {"closing": " "}):
        with pytest.raises(ValueError, match=r"think|thoughts"):
            Thinking(**wrong)


def test_a_free_answer_leaves_its_thought_out() -> None:
    poem = Problem("Write a poem.", AnswerType.FREE)
    result = think("best-of-n", problem=poem)
    assert answer(result) == "So.\n\nThe final answer is 4."
    assert all(THOUGHT in each for each in thoughts(result))
