from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.search.trees import search
from ttc_cli.answers import Comparer
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine
from ttc_cli.errors import EngineError
from ttc_cli.events import Decided, Grew, Pruned, Scored, Warned, WaveStarted
from ttc_cli.ledger import Ledger
from ttc_cli.policy.estimate import FEATURES, Belief
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.table import SHIPPED, BudgetRow, Table
from ttc_cli.prompts import Chat
from ttc_cli.types import ARITHMETIC, AnswerType, Budget, Confidence, Finish, Problem, Result
from ttc_cli.verifiers.arithmetic.verifier import ArithmeticVerifier
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.registry import build
from ttc_cli.views.plain import explain, summary_line

QUESTION = Problem("How many apples has Tom?", AnswerType.NUMBER)


def says(answer: object, words: int = 5, tail: float = -0.5) -> Reply:
    text = "so " * words + f"\n\nThe final answer is {answer}."
    return Reply(text, Finish.STOP, Confidence(-0.3, tail, 5.0, 5.0))


UNSURE = Reply("Tom goes on and on about apples. ", Finish.LENGTH)


def think(texts, level: str = "normal", **options) -> tuple[Result, list[object]]:
    return search("auto", texts, yes=lambda text: 0.5, **{"budget": Budget(level), **options})


def reasons(seen: list[object], action: str) -> list[str]:
    return [each.reason for each in seen if isinstance(each, Decided) and each.action == action]


def test_an_easy_question_stops_after_the_probe_and_cancels_the_rest() -> None:
    texts = [says(4), says(4), says(4), says(4, words=200)]
    result, seen = think(texts)
    assert result.answer is not None
    assert result.answer.text == "4"
    assert len(result.candidates) == 4
    assert reasons(seen, "wave") == ["probe: 4 candidates to see how hard this is"]
    assert reasons(seen, "cancel") == ["3 of 3 agree, estimate 0.94 ≥ 0.90: cancel 1 still growing"]
    assert reasons(seen, "stop") == ["3 of 3 agree, estimate 0.94 ≥ 0.90: stop"]
    assert result.stop_reason == reasons(seen, "stop")[0]
    assert [each.id for each in seen if isinstance(each, Pruned)] == [3]
    slow = result.candidates[3]
    assert slow.finish is Finish.CANCELLED
    assert 0 < slow.tokens < 100
    assert result.agreement == 1.0
    assert result.estimate is not None
    assert result.estimate.difficulty == 2
    spent = sum(each.tokens for each in result.candidates)
    assert result.usage.generated_tokens == spent


def test_a_sure_vote_counts_for_more_than_an_unsure_one() -> None:
    def ends(answer: int, sure: float) -> Reply:
        text = f"so so\n\nThe final answer is {answer}."
        return Reply(text, Finish.STOP, Confidence(-0.3, -0.5, 5.0, sure))

    texts = [ends(4, 9.0), ends(5, 12.0), ends(4, 9.0)]
    result, _ = think(texts, samples=3)
    assert result.answer is not None
    assert result.answer.text == "5"
    weights = {each.answer.text: each.weight for each in result.classes}
    assert weights["5"] > weights["4"]
    assert [each.votes for each in result.classes] == [1, 2]
    heads, _ = think(texts, samples=3, table=replace(SHIPPED, sureness=0.0))
    assert heads.answer is not None
    assert heads.answer.text == "4"


def works_out(sum: str, answer: object, words: int = 5) -> Reply:
    text = f"We have {sum}. " + "so " * words + f"\n\nThe final answer is {answer}."
    return Reply(text, Finish.STOP, Confidence(-0.3, -0.5, 5.0, 5.0))


def test_a_wrong_sum_costs_a_candidate_its_say() -> None:
    texts = [
        works_out("2 + 3 = 6", 6),
        works_out("2 + 3 = 6", 6, words=6),
        works_out("2 + 3 = 5", 5, words=7),
    ]
    result, seen = think(texts, samples=3)
    assert result.answer is not None
    assert result.answer.text == "5"
    assert {each.answer.text: each.weight for each in result.classes} == {
        "5": 1.0,
        "6": pytest.approx(0.4),
    }
    assert [each.slipped for each in result.candidates] == [True, True, False]
    assert "1 of 3 candidates agree" in summary_line(result)
    told = [(each.id, each.score) for each in seen if isinstance(each, Scored)]
    assert [(id, each.value, each.weight) for id, each in told if each.verifier == ARITHMETIC] == [
        (0, 0.0, 0.0),
        (1, 0.0, 0.0),
    ]
    blind, _ = think(texts, samples=3, table=replace(SHIPPED, slip=1.0))
    assert blind.answer is not None
    assert blind.answer.text == "6"


def test_who_wrote_a_wrong_sum_agrees_with_nobody() -> None:
    texts = [works_out("2 + 3 = 6", 5), *[works_out("2 + 3 = 5", 5)] * 2]
    result, _ = think(texts, samples=3, table=replace(SHIPPED, mend=False))
    assert [each.votes for each in result.classes] == [3]
    assert (result.agreeing, result.heard) == (2, 3)
    assert "2 of 3 candidates agree" in summary_line(result)


def test_wrong_sums_settle_nothing() -> None:
    texts = [works_out("2 + 3 = 6", 6)] * 4 + [works_out("2 + 3 = 5", 5)] * 4
    result, seen = think(texts, samples=8, table=replace(SHIPPED, mend=False))
    assert reasons(seen, "wave")[1].startswith("none of 4 answered without a wrong sum: ")
    assert result.answer is not None
    assert result.answer.text == "5"
    assert result.estimate is not None
    assert result.estimate.settled > 0.9


def slips_and_goes_on(ask: Ask) -> Reply:
    """Adds up wrongly, unless the right number stands there already; samples differ in length."""
    if ask.text.endswith("2 + 3 = 5"):
        return Reply(", so there.\n\nThe final answer is 5.")
    return works_out("2 + 3 = 6", 6, words=5 + ask.sample)


def test_a_candidate_with_a_wrong_sum_goes_on_from_there_with_the_right_number() -> None:
    result, seen = think(slips_and_goes_on)
    assert result.answer is not None
    assert result.answer.text == "5"
    first, mended = result.candidates[:4], result.candidates[4:]
    assert all(each.slipped and each.parent is None for each in first)
    assert [each.parent for each in mended] == [0, 1, 2, 3]
    for each in mended:
        assert each.text == "We have 2 + 3 = 5, so there.\n\nThe final answer is 5."
        assert each.tokens < first[0].tokens
        assert not each.slipped
    assert reasons(seen, "wave") == [
        "probe: 4 candidates to see how hard this is",
        "4 wrong sums: on from there with the right number",
    ]
    assert [each.strategy for each in seen if isinstance(each, WaveStarted)] == ["sample", "mend"]
    assert result.stop_reason.startswith("4 of 4 agree, estimate 0.97")
    # Who was mended speaks anew, and is not counted twice.
    assert (result.agreeing, result.heard, result.agreement) == (4, 4, 1.0)
    assert "4 of 4 candidates agree (4 mended)" in summary_line(result)
    read = result.usage.generator.prompt_tokens
    plain, _ = think(slips_and_goes_on, table=replace(SHIPPED, mend=False), samples=4)
    # What was read anew is the number alone, and the piece of a word before it.
    assert read - plain.usage.generator.prompt_tokens <= 3 * len(mended)


def test_nobody_is_mended_where_the_matter_is_settled() -> None:
    def script(ask: Ask) -> Reply:
        return slips_and_goes_on(ask) if ask.sample == 3 else works_out("2 + 3 = 5", 5)

    result, seen = think(script)
    assert len(result.candidates) == 4
    assert not [each for each in seen if isinstance(each, WaveStarted) and each.strategy == "mend"]


def test_mending_keeps_to_the_cap() -> None:
    result, _ = think(slips_and_goes_on, ledger=Ledger(Budget(max_samples=6)))
    assert [each.parent for each in result.candidates] == [None] * 4 + [0, 1]


def test_a_mended_candidate_that_slips_again_is_left_at_that() -> None:
    def script(ask: Ask) -> Reply:
        if ask.text.endswith("2 + 3 = 5"):
            return Reply(". Then 5 + 1 = 7.\n\nThe final answer is 7.")
        return works_out("2 + 3 = 6", 6)

    result, _ = think(script, samples=12)
    assert all(each.slipped for each in result.candidates)
    assert result.agreement == 0.0
    told = f"none of {result.heard} candidates answered without a wrong sum ("
    assert told in summary_line(result)
    parents = [each.parent for each in result.candidates if each.parent is not None]
    assert len(parents) == len(set(parents))
    assert all(result.candidates[id].parent is None for id in parents)


def test_nothing_is_kept_for_mending_that_cannot_be_mended() -> None:
    """What never ended, or is right, takes no room in the cache once it has ended."""
    texts = [UNSURE, says(4), says(5), says(6), works_out("2 + 3 = 5", 7), UNSURE]

    def fill(table: Table) -> list[int]:
        options = {"budget": Budget("deep"), "verifiers": [], "table": table}
        _, seen = search("auto", texts, samples=24, **options)
        return [each.kv_used for each in seen if isinstance(each, Grew)]

    assert fill(SHIPPED) == fill(replace(SHIPPED, mend=False))


def test_a_mended_candidate_has_what_is_left_of_the_limit() -> None:
    def script(ask: Ask) -> Reply:
        if ask.text.endswith("2 + 3 = 5"):
            return UNSURE
        return works_out("2 + 3 = 6", 6, words=20)

    result, _ = think(script, samples=8, budget=Budget("normal", tokens_per_candidate=40))
    first, mended = result.candidates[0], result.candidates[4]
    assert mended.parent == 0
    assert mended.tokens < 40
    assert mended.tokens + first.tokens > 40


def test_all_wrong_sums_still_give_the_best_answer_there_is() -> None:
    result, _ = think([works_out("2 + 3 = 6", 6)], samples=4, table=replace(SHIPPED, mend=False))
    assert result.answer is not None
    assert result.answer.text == "6"
    assert result.estimate is not None
    assert result.estimate.difficulty == 5


def test_arithmetic_that_was_asked_for_is_told_of_each() -> None:
    texts = [works_out("2 + 3 = 6", 6), works_out("2 + 3 = 5", 5)]
    _, seen = search(
        "auto", texts, samples=2, budget=Budget("normal"), verifiers=[ArithmeticVerifier()]
    )
    told = [
        (each.id, each.score.value, each.score.weight) for each in seen if isinstance(each, Scored)
    ]
    assert told == [(0, 0.0, 1.0), (1, 1.0, 1.0)]


def test_a_unanimous_probe_of_equal_length_is_told_as_it_is() -> None:
    result, _ = think([says(4)])
    assert result.stop_reason == "4 of 4 agree, estimate 0.97 ≥ 0.90: stop"


def test_an_uncertain_question_gets_more_waves_up_to_the_cap() -> None:
    texts = [says(1), says(2)]
    result, seen = think(texts)
    waves = [each for each in seen if isinstance(each, WaveStarted)]
    assert [each.wave for each in waves] == list(range(len(waves)))
    assert len(waves) > 2
    assert sum(each.samples for each in waves) == len(result.candidates) == 16
    assert "all 16 candidates of this budget are grown" in result.stop_reason
    assert {each.wave for each in result.candidates} == {each.wave for each in waves}
    assert "tied" in waves[1].reason


@pytest.mark.parametrize(("level", "cap"), [("quick", 8), ("normal", 16), ("deep", 64)])
def test_each_level_has_its_cap(level: str, cap: int) -> None:
    result, _ = think([says(1), says(2)], level, parallel=16)
    assert len(result.candidates) == cap


def test_more_thought_is_asked_for_at_deeper_levels() -> None:
    counts = [len(think([says(4)], level)[0].candidates) for level in ("quick", "deep")]
    assert counts[0] < counts[1]


def test_max_goes_as_far_as_its_hard_cap_and_stops_when_nothing_can_change() -> None:
    result, seen = think([says(4)], "max", budget=Budget("max", max_samples=20))
    assert "cannot change that" in result.stop_reason
    assert 10 < len(result.candidates) < 20
    assert reasons(seen, "stop") == [result.stop_reason]
    tied, _ = think([says(1), says(2)], "max", budget=Budget("max", max_samples=20))
    assert len(tied.candidates) == 20


def test_the_answer_that_catches_up_wins() -> None:
    texts = [says(1), says(2), says(1), says(2)] + [says(2)] * 12
    result, _ = think(texts)
    assert result.answer is not None
    assert result.answer.text == "2"
    assert len(result.candidates) < 16


def test_hopeless_questions_are_released_but_late() -> None:
    scattered = [says(i) for i in range(64)]
    row = replace(SHIPPED.rows["deep"], price=0.002)
    table = replace(SHIPPED, rows={**SHIPPED.rows, "deep": row})
    result, _ = think(scattered, "deep", parallel=8, table=table)
    assert "below their price" in result.stop_reason
    assert 16 < len(result.candidates) < 64
    assert result.estimate is not None
    assert result.estimate.difficulty == 5


def test_runaways_are_cut_once_enough_siblings_answered() -> None:
    texts = [says(1), says(2), says(3), UNSURE]
    result, seen = think(texts, budget=Budget(max_samples=4))
    lost = result.candidates[3]
    assert (lost.finish, lost.tokens) == (Finish.LENGTH, SHIPPED.runaway_floor)
    assert any("cut others at 128" in each for each in reasons(seen, "cancel"))
    assert result.agreement == 0.25


def test_later_waves_start_with_the_runaway_limit() -> None:
    texts = [says(1), says(2), says(1), UNSURE, UNSURE, says(2), UNSURE, says(2)]
    result, _ = think(texts, samples=8)
    late = [each for each in result.candidates if each.wave and each.answer is None]
    assert late
    assert {each.tokens for each in late} == {SHIPPED.runaway_floor}


def test_the_verifier_is_not_asked_when_it_cannot_change_the_choice() -> None:
    result, seen = think([says(4)])
    assert not any(isinstance(each, Scored) for each in seen)
    assert result.usage.verifier.prompt_tokens == 0


def test_the_verifier_breaks_ties_and_is_booked() -> None:
    def judge(text: str) -> float:
        return 0.9 if "is 2" in text else 0.8

    engine = ScriptedEngine([says(1), says(2)], yes=judge)
    result, seen = think((), engine=engine, samples=4)
    assert result.answer is not None
    assert result.answer.text == "2"
    assert result.decided_by == "vote"
    assert "2 answers close enough for the verifier to tell" in result.stop_reason
    assert sum(isinstance(each, Scored) for each in seen) == 8
    assert result.usage.verifier.prompt_tokens > 0


def test_the_verifier_does_not_overrule_a_clear_vote() -> None:
    engine = ScriptedEngine([says(1), says(1), says(2)], yes=lambda text: float("is 2" in text))
    result, seen = think((), engine=engine, samples=3)
    assert result.answer is not None
    assert result.answer.text == "1"
    assert not any(isinstance(each, Scored) for each in seen)


def test_confidence_is_in_play_where_no_judge_can_be() -> None:
    engine = ScriptedEngine([says(1, tail=-2.0), says(2, tail=-0.1)])
    engine.info = replace(engine.info, scores=False)
    result, seen = think((), engine=engine, samples=2)
    assert result.answer is not None
    assert result.answer.text == "2"
    assert {each.score.verifier for each in seen if isinstance(each, Scored)} == {"confidence"}


COLOUR = Problem("A colour?", AnswerType.FREE)


def test_a_free_question_is_the_choice_of_a_verifier_that_was_given() -> None:
    engine = ScriptedEngine(
        [Reply("Red."), Reply("Green."), Reply("Blue.")],
        yes=lambda text: 0.2 + ("Blue" in text) / 2,
    )
    judge = tuple(build(["judge"], VerifierContext(Chat(engine.info))))
    result, seen = think((), engine=engine, problem=COLOUR, verifiers=judge)
    assert result.solution == "Blue."
    assert result.decided_by == "verifier"
    assert "free-form" in result.stop_reason
    assert reasons(seen, "wave") == ["free-form: 4 candidates for the verifier to choose"]


LIKE = [
    Reply("The cat sat on a red mat."),
    Reply("Stars burn."),
    Reply("The cat sat on the red mat."),
    Reply("The dog sat on the red mat."),
]


def test_of_free_texts_the_one_most_like_the_others_is_taken_and_nobody_is_asked() -> None:
    result, seen = think(LIKE, problem=COLOUR)
    assert (result.winner, result.decided_by) == (2, "likeness")
    assert result.solution == "The cat sat on the red mat."
    assert result.usage.verifier.prompt_tokens == 0
    assert reasons(seen, "wave") == [
        "free-form: 4 candidates, to take the one most like the others"
    ]
    said = "free-form: no vote to settle, 4 finished; #2 is most like the others and surest"
    assert reasons(seen, "stop") == [result.stop_reason] == [said]
    assert all(each.estimate is None for each in seen if isinstance(each, Decided)), "no vote"
    scores = {each.id: each.score for each in seen if isinstance(each, Scored)}
    assert {each.verifier for each in scores.values()} == {"likeness"}
    assert all(each.weight == 0 for each in scores.values())
    assert max(scores, key=lambda id: scores[id].value) == 2
    assert result.score is None
    assert "#2 of 4 candidates, most like the others and surest" in summary_line(result)
    vote = explain(result, []).splitlines()
    assert vote[vote.index("Vote") + 1].startswith("  none: #2 of 4 candidates, most like")


def test_how_sure_a_free_text_is_decides_between_those_that_are_as_like() -> None:
    sure = [Confidence(-0.3, -0.5, 5.0, 5.0, mean_group=each) for each in (9.0, 12.0)]
    texts = [Reply(f"A {n}.", Finish.STOP, each) for n, each in zip("bc", sure, strict=True)]
    result, _ = think(texts, "quick", problem=COLOUR)
    assert (len(result.candidates), result.winner) == (2, 1)


def test_a_free_text_alone_is_not_called_alike() -> None:
    endless = Reply("On and on and on. ", Finish.LENGTH)
    result, _ = think([endless, Reply("Red."), endless, endless], problem=COLOUR)
    assert (result.winner, result.decided_by) == (1, "likeness")
    assert "the only one that ended" in summary_line(result)
    assert "most like" not in result.stop_reason
    result, seen = think(LIKE, problem=COLOUR, samples=1)
    assert (result.winner, result.decided_by) == (0, "single")
    assert reasons(seen, "wave") == ["free-form: 1 candidate"]
    result, _ = think([endless], problem=COLOUR)
    assert (result.winner, result.answer) == (None, None)


def test_a_free_text_that_no_verifier_could_score_is_chosen_by_likeness() -> None:
    engine = ScriptedEngine(LIKE, yes=lambda text: 0.5)
    silent = tuple(build(["judge:0"], VerifierContext(Chat(engine.info))))
    result, _ = think((), engine=engine, problem=COLOUR, verifiers=silent)
    assert (result.winner, result.decided_by) == (2, "likeness")


def test_nothing_stated_is_no_answer() -> None:
    result, _ = think([UNSURE], budget=Budget(tokens_per_candidate=30))
    assert result.answer is None
    assert result.solution is None
    assert result.classes == ()
    assert result.estimate is not None
    assert (result.estimate.settled, result.estimate.difficulty) == (0.0, 5)


def test_the_time_cap_ends_a_run_with_what_it_has() -> None:
    ticks = iter(range(100_000))
    ledger = Ledger(Budget(max_seconds=150), clock=lambda: float(next(ticks)))
    result, _ = think([says(1), UNSURE], ledger=ledger)
    assert result.answer is not None
    assert result.answer.text == "1"
    assert "time cap of 150 s reached" in result.stop_reason


def test_an_engine_that_fails_loses_nothing_that_was_grown() -> None:
    def fail_later(replies: list[Reply]) -> ScriptedEngine:
        engine = ScriptedEngine(replies)
        slots, step = engine._slots, engine._slots._step

        def fail() -> None:
            if slots._steps > 40:
                raise EngineError("the library crashed")
            step()

        slots._step = fail
        return engine

    result, seen = think((), engine=fail_later([says(1), UNSURE]))
    assert result.answer is not None
    assert result.answer.text == "1"
    assert result.stop_reason == "the engine failed"
    assert any(isinstance(each, Warned) for each in seen)
    with pytest.raises(EngineError):
        think((), engine=fail_later([UNSURE]))


def test_several_questions_at_once_are_solved_as_each_alone() -> None:
    engine = ScriptedEngine([says(1), says(2), says(2), UNSURE], parallel=6)
    alone, _ = think((), engine=engine)

    async def work(comparer: Comparer) -> list[Result]:
        stage = Stage(engine, Chat(engine.info))
        return await asyncio.gather(
            *(solve(QUESTION, stage, SearchOptions(), comparer=comparer) for _ in range(5))
        )

    with Comparer() as comparer:
        together = asyncio.run(work(comparer))
    for each in together:
        assert each.answer == alone.answer


def test_a_verifier_that_fails_is_left_out_with_a_warning() -> None:
    class Mute(ScriptedEngine):
        async def open(self, *given):
            session = await super().open(*given)

            async def score(rows):
                raise EngineError("no logits")

            session.score = score
            return session

    result, seen = think((), engine=Mute([says(1, tail=-2.0), says(2)]), samples=2)
    assert result.answer is not None
    assert result.answer.text == "2"
    assert [each.message for each in seen if isinstance(each, Warned)] == [
        "Going on without judge: no logits"
    ]
    assert {each.score.verifier for each in seen if isinstance(each, Scored)} == {"confidence"}


def test_the_shipped_table_is_the_documented_one() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    for level, row in SHIPPED.rows.items():
        threshold = "never" if row.threshold is None else f"{row.threshold:.2f}"
        cap = f"{row.cap}, or `--max-samples`" if level == "max" else row.cap
        line = f"| `{level}` | {row.probe} | {cap} | {threshold} | {row.price:g} | {row.free} |"
        assert line in documented


def test_a_dearer_candidate_settles_sooner_and_is_asked_for_less_often() -> None:
    row = SHIPPED.row("normal")
    assert SHIPPED.at_price(1.0).row("normal") == row
    dearer = SHIPPED.at_price(4.0).row("normal")
    assert (dearer.threshold, dearer.price) == (pytest.approx(0.8), 0.008)
    assert (dearer.probe, dearer.cap) == (2, 4)
    cheaper = SHIPPED.at_price(0.25).row("normal")
    assert (cheaper.threshold, cheaper.price) == (pytest.approx(0.95), 0.0005)
    assert (cheaper.probe, cheaper.cap) == (4, 64)
    dearest = SHIPPED.at_price(100.0).row("normal")
    assert (dearest.probe, dearest.cap) == (1, 1)
    assert SHIPPED.at_price(2.0).row("max") == SHIPPED.row("max")


def test_a_rung_of_a_frontier_holds_down_to_the_next() -> None:
    dear, cheap = SHIPPED.row("quick"), SHIPPED.row("deep")
    table = replace(SHIPPED, frontier=((0.02, dear), (0.0035, cheap)))
    chosen = {
        worth: table.find_rung("normal", worth).probe for worth in (1.0, 0.02, 0.006, 0.0035, 1e-6)
    }
    assert chosen == {1.0: dear.probe, 0.02: dear.probe, 0.006: dear.probe} | {
        0.0035: cheap.probe,
        1e-6: cheap.probe,
    }
    assert table.find_rung("normal", 0.006).cap == dear.cap
    assert table.find_rung("normal", 0.001).cap == SHIPPED.row("normal").cap


def test_what_was_fitted_to_numbers_decides_nothing_about_other_answers() -> None:
    belief = Belief((0.0,) * 6, 0.0, (0.0,) * 6, (1.0,) * 6, (AnswerType.NUMBER,))
    row = BudgetRow(probe=2, cap=20, threshold=0.6, price=0.0, free=4)
    fitted = replace(
        SHIPPED,
        name="mine",
        rows=dict.fromkeys(SHIPPED.rows, row),
        frontier=((0.1, row),),
        sureness=3.0,
        tilt=0.0,
        belief=belief,
    )
    assert fitted.for_answers(AnswerType.NUMBER) is fitted
    other = fitted.for_answers(AnswerType.CHOICE)
    assert (other.name, other.rows, other.frontier) == (SHIPPED.name, SHIPPED.rows, ())
    assert other.sureness == SHIPPED.sureness
    assert other.tilt == 0.0  # of the model's judge, whatever it judges
    assert other.for_answers(AnswerType.CHOICE) is other
    assert fitted.at_price(4.0).for_answers(AnswerType.CHOICE) == other


def test_a_row_that_trusts_the_belief_goes_by_it_and_not_by_votes() -> None:
    """One candidate is enough where it is sure; three that agree are not where they are not."""
    weights = tuple(2.0 if name == "sureness" else 0.0 for name in FEATURES)
    still = (0.0,) * len(FEATURES)
    belief = Belief(weights, 0.0, still, (1.0,) * len(FEATURES))
    row = BudgetRow(probe=1, cap=16, threshold=0.9, price=0.0, free=4, trusts=True)
    table = replace(SHIPPED, rows={**SHIPPED.rows, "normal": row}, belief=belief)

    def sure(nats: float) -> Reply:
        return replace(says(4), confidence=Confidence(-0.3, -0.5, nats, nats))

    result, seen = think([sure(4.0)], table=table)
    assert len(result.candidates) == 1
    assert reasons(seen, "stop") == ["1 of 1 agree, estimate 1.00 ≥ 0.90: stop"]
    result, seen = think([sure(0.5), sure(0.5), sure(0.5), sure(4.0)], table=table)
    assert len(result.candidates) == 4
    assert reasons(seen, "wave")[1:] == [
        f"{n} of {n} agree ({n} to 0), estimate 0.73 < 0.90: 1 more" for n in (1, 2, 3)
    ]
    # What it was not fitted to is left to the votes.
    other = replace(table, belief=replace(belief, types=(AnswerType.CHOICE,)))
    result, seen = think([sure(4.0)], table=other)
    assert reasons(seen, "stop")[0].startswith("4 of 4 agree, estimate 0.97")
