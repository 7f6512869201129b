"""Candidates that failed the user's check go on behind what it printed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.test_known import remember, tell
from tests.search.trees import search
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine
from ttc_cli.events import CandidateEnded, CandidateStarted, Decided, WaveStarted
from ttc_cli.search.repairing import ROUNDS
from ttc_cli.search.sessions.thinking import Thinking
from ttc_cli.types import CHECK, AnswerType, Budget, Finish, Problem, Score
from ttc_cli.verifiers.base import WeightedVerifier, WholeVerifier

CODE = Problem("Write f(x) in Python.", AnswerType.CODE)
TURN = "<|im_start|>assistant\n"


class Check(WholeVerifier):
    """Passes what says ``right``; of others it prints what they are called."""

    name, needs_branch = CHECK, False

    async def score(self, session, problem, leaves):
        found = []
        for each in leaves:
            program = each.candidate.answer.text
            right = "right" in program
            said = "" if right else f"It printed:\n\n```\nNameError: {program}\n```"
            found.append(Score(CHECK, float(right), remark=said))
        return found


def fence(program: str) -> str:
    return f"```python\n{program}\n```"


def is_repair(ask: Ask) -> bool:
    return ask.text.count(TURN) > 1


def fail(ask: Ask) -> str:
    """Fails in a way of its own each time."""
    return fence(f"wrong_{ask.sample}()")


def write(script=fail, check=None, **options):
    options.setdefault("problem", CODE)
    options.setdefault("verifiers", (check or Check(),))
    return search("auto", script, **options)


def find_parents(seen) -> dict[int, int | None]:
    return {each.id: each.parent for each in seen if isinstance(each, CandidateStarted)}


def find_waves(seen) -> list[str]:
    return [each.reason for each in seen if isinstance(each, Decided) and each.action == "wave"]


def test_half_of_a_later_wave_goes_on_behind_what_the_check_printed() -> None:
    shown = {}

    def script(ask: Ask) -> str:
        shown[ask.sample] = ask.text
        return fail(ask)

    result, seen = write(script, samples=8)
    assert find_parents(seen) == {
        **dict.fromkeys((0, 1, 2, 3)),
        **{4: 0, 5: None, 6: 1, 7: None},
    }
    assert find_waves(seen)[1] == "4 of 4 failed the check: 2 go on behind what it printed, 2 more"
    waves = [each for each in seen if isinstance(each, WaveStarted)]
    assert [(each.strategy, each.samples) for each in waves] == [("sample", 4), ("repair", 4)]
    before, request = shown[6].split(TURN)[1].split("<|im_end|>\n<|im_start|>user\n")
    assert before == fence("wrong_1()")
    assert request.startswith(
        "A check of your solution says:\n\n"
        "````\nIt printed:\n\n```\nNameError: wrong_1()\n```\n````\n\nSo it is wrong."
    )
    assert [each.parent for each in result.candidates] == [None] * 4 + [0, None, 1, None]


def test_a_repair_that_passes_ends_the_search_and_wins() -> None:
    def script(ask: Ask) -> str:
        if is_repair(ask):
            return fence("right()") if ask.sample == 6 else "Let me think. " * 200
        return fail(ask) if ask.sample < 4 else "Let me think. " * 200

    result, _ = write(script, samples=16)
    assert (result.winner, result.answer.text) == (6, "right()")
    assert result.stop_reason == "#6 passes the check: stop"
    assert [each.finish for each in result.candidates[4:]] == [
        Finish.CANCELLED,
        Finish.CANCELLED,
        Finish.STOP,
        Finish.CANCELLED,
    ]
    assert result.candidates[6].parent == 1
    assert len(result.candidates) == 8


def test_the_same_program_is_repaired_once() -> None:
    def script(ask: Ask) -> str:
        return fence("wrong()  # again" if ask.sample % 2 else "wrong()")

    _, seen = write(script, samples=12)
    parents = find_parents(seen)
    assert [each for each in parents.values() if each is not None] == [0]
    assert find_waves(seen)[1:] == [
        "4 of 4 failed the check: 1 goes on behind what it printed, 3 more",
        "8 of 8 failed the check: 4 more",
    ]


def test_what_holds_no_code_or_did_not_end_is_not_repaired() -> None:
    def script(ask: Ask) -> str | Reply:
        texts = ["I cannot.", Reply(fence("wrong()"), Finish.LENGTH)]
        return texts[ask.sample] if ask.sample < 2 else fail(ask)

    _, seen = write(script, samples=8)
    assert find_parents(seen)[4] == 2
    assert not {0, 1} & set(find_parents(seen).values())


def test_a_repair_that_fails_is_repaired_in_turn_and_no_further() -> None:
    _, seen = write(samples=64, parallel=2)
    parents = find_parents(seen)

    def count(id: int) -> int:
        return 0 if parents[id] is None else 1 + count(parents[id])

    rounds = [count(id) for id in parents]
    assert max(rounds) == ROUNDS == 2
    assert len([each for each in parents.values() if each is not None]) == len(
        {each for each in parents.values() if each is not None}
    ), "one was repaired twice"


def test_where_the_check_says_nothing_new_ones_are_drawn() -> None:
    class Dumb(Check):
        async def score(self, session, problem, leaves):
            return [Score(CHECK, 0.0) for _ in leaves]

    _, seen = write(check=Dumb(), samples=8)
    assert set(find_parents(seen).values()) == {None}
    assert find_waves(seen)[1] == "4 of 4 failed the check: 4 more"
    _, seen = write(check=WeightedVerifier(Check(), 0.0), samples=8)
    assert set(find_parents(seen).values()) == {None}


def test_an_engine_or_a_template_that_cannot_be_asked_back_draws_new_ones() -> None:
    expected, _ = write(fail, samples=4)
    once = "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}"
    for name, value in (("steps", False), ("chat_template", once)):
        engine = ScriptedEngine(fail)
        object.__setattr__(engine.info, name, value)
        result, seen = write(engine=engine, samples=8)
        assert set(find_parents(seen).values()) == {None}
        assert len(result.candidates) == 8
        assert result.candidates[0].answer == expected.candidates[0].answer


def test_only_the_request_is_read_for_a_repair() -> None:
    short, _ = write(fail, samples=8)
    long, _ = write(lambda ask: "We write it. " * 50 + "\n" + fail(ask), samples=8)
    assert long.usage.generator.prompt_tokens == short.usage.generator.prompt_tokens
    assert long.usage.generated_tokens > 3 * short.usage.generated_tokens
    first, _ = write(fail, samples=4)
    assert short.usage.generator.prompt_tokens > first.usage.generator.prompt_tokens


def test_thoughts_are_left_out_of_what_a_repair_goes_on_from() -> None:
    shown = []

    def script(ask: Ask) -> str:
        shown.append(ask.text)
        return fail(ask) if ask.text.endswith("</think>") else "Hm, hm.\n</think>"

    result, _ = write(script, samples=8, thinking=Thinking())
    assert result.candidates[4].parent == 0
    asked = [text for text in shown if "A check of your solution" in text]
    before = {text.partition("A check of your solution")[0] for text in asked}
    assert len(before) == 2
    assert not any("Hm, hm." in each for each in before)
    assert sorted("wrong_0()" in each for each in before) == [False, True]


def test_free_form_answers_are_repaired_as_well() -> None:
    free = Problem("Write a poem.", AnswerType.FREE)

    def script(ask: Ask) -> str:
        return "the right words" if is_repair(ask) else f"the wrong words, {ask.sample}"

    result, _ = write(script, problem=free, samples=8)
    assert result.candidates[result.winner].parent is not None


@settings(max_examples=30, deadline=None)
@given(
    samples=st.integers(1, 14),
    parallel=st.integers(1, 5),
    cap=st.integers(1, 900),
    seed=st.integers(0, 99),
)
def test_caps_hold_and_runs_repeat(samples: int, parallel: int, cap: int, seed: int) -> None:
    budget = Budget(max_tokens=cap, max_samples=samples, tokens_per_candidate=60)
    options = {"samples": 14, "budget": budget, "parallel": parallel, "seed": seed}
    first, _ = write(toss, **options)
    again, _ = write(toss, **options)
    assert tell(first) == tell(again)
    assert first.usage == again.usage or first.usage.tokens == again.usage.tokens
    assert first.usage.generated_tokens <= cap + parallel - 1
    assert len(first.candidates) <= samples


def toss(ask: Ask) -> str:
    """One of some programs, seldom the right one; of different lengths."""
    kind = ask.seed % 17
    program = "right()" if kind == 0 else f"wrong_{kind % 5}()"
    return "So. " * (ask.seed % 7) + ("No code." if kind == 9 else fence(program))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 500), count=st.integers(0, 14))
def test_a_run_that_is_taken_up_repairs_the_same(seed: int, count: int) -> None:
    whole, seen = write(toss, samples=14, seed=seed)
    known = remember(seen, count)
    kept = {id for id, each in known.items() if each.finish is Finish.STOP}
    asked = []

    def script(ask: Ask) -> str:
        asked.append(ask.sample)
        return toss(ask)

    again, after = write(script, samples=14, seed=seed, known=known)
    assert not kept & set(asked), "one that had ended was grown again"
    if not any(each.finish is Finish.CANCELLED for each in whole.candidates):
        assert tell(again) == tell(whole)
        assert find_parents(after) == find_parents(seen)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 500), samples=st.integers(1, 14))
def test_with_a_larger_budget_a_run_goes_on_from_what_it_had(seed: int, samples: int) -> None:
    first, seen = write(toss, samples=samples, seed=seed)
    if first.stop_reason.endswith("passes the check: stop"):
        return
    asked = []

    def script(ask: Ask) -> str:
        asked.append(ask.sample)
        return toss(ask)

    more, _ = write(script, samples=20, seed=seed, known=remember(seen, 99))
    if samples >= 4:  # a first wave of fewer is another wave
        assert more.candidates[: len(first.candidates)] == first.candidates
        assert not set(range(samples)) & set(asked)


def test_one_known_behind_another_candidate_grows_again() -> None:
    """The log may tell of a run of other waves: what it knows must not be taken for this one's."""
    _, seen = write(samples=8)
    ended = {e.candidate.id: e.candidate for e in seen if isinstance(e, CandidateEnded)}
    known = remember(seen, 99)
    other = known | {4: known[6], 6: known[4]}
    assert (ended[4].parent, ended[6].parent) == (0, 1)
    asked = []

    def script(ask: Ask) -> str:
        asked.append(ask.sample)
        return fail(ask)

    write(script, samples=8, known=other)
    assert asked == [4, 6]
