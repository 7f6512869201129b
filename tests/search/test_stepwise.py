from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.trees import FREE, STEPWISE, root_of, search
from ttc_cli.engines.scripted import Reply, ScriptedEngine
from ttc_cli.errors import EngineError, UsageError
from ttc_cli.events import (
    CandidateEnded,
    CandidateStarted,
    Grew,
    Pruned,
    RunEnded,
    Scored,
    Stepped,
    Warned,
    WaveStarted,
)
from ttc_cli.search.registry import find, prepare
from ttc_cli.types import Budget, Finish, Sampling, Score
from ttc_cli.verifiers.base import WholeVerifier

GREEDY = Sampling(temperature=0.0)


def says(*steps: str, answer: object = 4) -> str:
    return "\n\n".join([*steps, f"The final answer is {answer}."])


def test_all_six_are_there() -> None:
    assert {"beam", "dvts", "lookahead", "mcts", "particle", "backtrack"} <= set(STEPWISE)
    assert all(find(name).verifies and find(name).knobs for name in STEPWISE)


@pytest.mark.parametrize("strategy", STEPWISE)
def test_an_answer_comes_with_its_own_default_verifier(strategy: str) -> None:
    result, seen = search(strategy, samples=4)
    assert result.answer is not None
    assert result.strategy == strategy
    assert result.decided_by == "vote"
    assert result.score is not None
    assert any(isinstance(each, Scored) and each.score.step is not None for each in seen)
    assert result.usage.verifier.prompt_tokens > 0


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    strategy=st.sampled_from(STEPWISE),
    samples=st.integers(1, 9),
    parallel=st.integers(1, 5),
    cap=st.integers(1, 600),
    limit=st.integers(5, 80),
    seed=st.integers(0, 99),
    overlaps=st.booleans(),
)
def test_what_holds_for_every_run(strategy, samples, parallel, cap, limit, seed, overlaps) -> None:
    budget = Budget(max_tokens=cap, max_samples=samples, tokens_per_candidate=limit)
    options = {"samples": samples, "parallel": parallel, "seed": seed, "overlaps": overlaps}
    runs = [search(strategy, budget=budget, **options) for _ in range(2)]
    (result, seen), (again, _) = runs
    assert result.candidates == again.candidates
    assert (result.winner, result.stop_reason) == (again.winner, again.stop_reason)
    drawn = result.usage.generator.generated_tokens
    assert drawn <= cap + parallel - 1
    assert sum(each.tokens for each in result.candidates) == drawn
    assert sum(each.finished for each in result.candidates) <= samples
    if drawn >= cap and any(each.finish is Finish.PRUNED for each in result.candidates):
        assert result.stop_reason
    by_id = {each.id: each for each in result.candidates}
    for each in result.candidates:
        assert each.text == "".join(step.text for step in each.steps)
        assert sum(step.tokens for step in each.steps) <= limit
        assert (each.answer is None) or each.finish is Finish.STOP
        if each.parent is not None:
            assert each.parent < each.id
            assert each.wave >= by_id[each.parent].wave
    if result.winner is None:
        assert all(each.answer is None for each in result.candidates)
    else:
        assert by_id[result.winner].finish is Finish.STOP
        assert result.answer == result.classes[0].answer
    _check_story(seen, result)


@pytest.mark.parametrize("strategy", STEPWISE)
def test_scoring_beside_growing_changes_when_and_not_what(strategy: str) -> None:
    after, _ = search(strategy, samples=6, parallel=6)
    beside, seen = search(strategy, samples=6, parallel=6, overlaps=True)
    assert beside.candidates == after.candidates
    assert beside.answer == after.answer
    assert beside.usage.generated_tokens == after.usage.generated_tokens
    if strategy in ("beam", "dvts", "mcts", "particle"):
        first = next(i for i, each in enumerate(seen) if isinstance(each, Scored))
        waves = [i for i, each in enumerate(seen) if isinstance(each, WaveStarted)]
        assert any(isinstance(each, Grew) for each in seen[first : waves[1]])


def _check_story(seen: list[object], result) -> None:
    """Every candidate starts, steps in order, is scored and pruned while it lives, ends once."""
    steps: dict[int, int] = {}
    ended: dict[int, object] = {}
    pruned: set[int] = set()
    texts: dict[int, str] = {}
    for event in seen:
        match event:
            case CandidateStarted():
                assert event.id not in steps
                taken = 0
                if event.parent is not None:
                    assert event.steps <= steps[event.parent]
                    taken = event.steps
                steps[event.id], texts[event.id] = taken, ""
            case Grew():
                assert all(id not in ended for id in event.texts)
                for id, text in event.texts.items():
                    texts[id] += text
            case Stepped():
                assert event.id not in ended
                assert event.step == steps[event.id]
                assert event.text == texts[event.id]
                steps[event.id], texts[event.id] = event.step + 1, ""
            case Pruned():
                assert event.reason
                assert event.id not in ended
                pruned.add(event.id)
            case CandidateEnded():
                assert event.candidate.id not in ended
                assert (event.candidate.id in pruned) == (event.candidate.finish is Finish.PRUNED)
                ended[event.candidate.id] = event.candidate
            case WaveStarted():
                assert event.samples > 0
                assert event.reason
    assert isinstance(seen[-1], RunEnded)
    assert sorted(steps) == sorted(ended) == [each.id for each in result.candidates]


@pytest.mark.parametrize("strategy", STEPWISE)
def test_another_seed_grows_another_tree(strategy: str) -> None:
    trees = {search(strategy, samples=4, seed=seed)[0].candidates for seed in range(3)}
    assert len(trees) == 3


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_full_cache_loses_no_branch_and_changes_no_text(strategy: str) -> None:
    read_again = 0
    for seed in range(5):
        roomy, _ = search(strategy, samples=8, seed=seed, parallel=8)
        longest = max(sum(step.tokens for step in each.steps) for each in roomy.candidates)
        cells = roomy.usage.generator.prompt_tokens + longest + 4
        tight, seen = search(strategy, samples=8, seed=seed, parallel=8, kv_cells=cells)
        assert tight.candidates == roomy.candidates
        assert tight.answer == roomy.answer
        assert max(each.kv_used for each in seen if isinstance(each, Grew)) <= cells
        read_again += tight.usage.tokens - roomy.usage.tokens
    assert read_again > 0  # it was tight: what was evicted had to be paid for again


@pytest.mark.parametrize("strategy", STEPWISE)
def test_one_sample_at_temperature_0_is_greedy(strategy: str) -> None:
    expected, _ = search("greedy")
    result, _ = search(strategy, samples=1, sampling=GREEDY)
    assert result.solution == expected.solution
    assert result.answer == expected.answer


def test_a_beam_of_width_1_with_one_sample_is_greedy_token_for_token() -> None:
    expected, _ = search("greedy")
    result, _ = search("beam", samples=1, sampling=GREEDY, knobs={"width": "1"})
    (only,), (greedy,) = result.candidates, expected.candidates
    assert (only.text, only.tokens, only.finish) == (greedy.text, greedy.tokens, greedy.finish)
    assert result.decided_by == expected.decided_by == "single"
    assert result.usage.generator.prompt_tokens == expected.usage.generator.prompt_tokens


@pytest.mark.parametrize("strategy", STEPWISE)
def test_pausing_at_temperature_0_changes_no_text(strategy: str) -> None:
    expected, _ = search("greedy")
    result, _ = search(strategy, samples=5, sampling=GREEDY)
    texts = {each.text for each in result.candidates if each.finished}
    assert texts == {expected.solution}
    assert all(expected.candidates[0].text.startswith(each.text) for each in result.candidates)


@pytest.mark.parametrize("strategy", STEPWISE)
@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupt_gives_the_best_answer_so_far(strategy: str, after: int) -> None:
    def stop(engine: ScriptedEngine, event: object) -> None:
        finished.extend([event] if isinstance(event, CandidateEnded) else [])
        if sum(each.candidate.answer is not None for each in finished) >= after:
            engine.interrupt()

    finished: list[CandidateEnded] = []
    short, long = says("One."), says(*["And on and on it goes."] * 12, answer=5)
    result, _ = search(strategy, [short, short, long, long], samples=8, watch=stop)
    assert result.answer is not None
    assert result.answer.text == "4"
    assert result.interrupted
    assert result.stop_reason == "interrupted"


@pytest.mark.parametrize("strategy", STEPWISE)
def test_an_interrupt_at_the_first_token_gives_no_answer_and_ends(strategy: str) -> None:
    def stop(engine: ScriptedEngine, event: object) -> None:
        if isinstance(event, Grew):
            engine.interrupt()

    result, _ = search(strategy, samples=8, watch=stop)
    assert (result.answer, result.interrupted) == (None, True)
    assert sum(each.tokens for each in result.candidates) <= 8


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_spent_cap_gives_the_best_answer_so_far(strategy: str) -> None:
    short, long = says("One."), says(*["And on and on it goes."] * 40, answer=5)
    result, _ = search(
        strategy,
        [short, long, long, long],
        samples=8,
        budget=Budget(max_tokens=150),
        yes=lambda text: 0.1 if "is 4" in text else 0.9,
    )
    assert result.answer is not None
    assert result.answer.text == "4"
    assert "token cap of 150 reached" in result.stop_reason


@pytest.mark.parametrize("strategy", STEPWISE)
def test_the_last_of_a_cap_brings_one_solution_to_its_end(strategy: str) -> None:
    long = says(*["And on it goes so far."] * 10)
    budget = Budget(max_tokens=560)
    result, _ = search(strategy, [long], samples=12, budget=budget, yes=lambda text: 0.5)
    assert result.answer is not None
    assert result.solution == long
    assert sum(each.finished for each in result.candidates) == 1
    assert result.stop_reason == "no answer at 75% of the token cap: the best alone went on"
    assert result.usage.generated_tokens < 560
    # Where even that is not enough, it is the cap that ended it.
    none, _ = search(strategy, [long], samples=12, budget=Budget(max_tokens=60))
    assert (none.answer, none.stop_reason) == (None, "token cap of 60 reached")


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_cap_on_flops_holds_for_growing_and_scoring_together(strategy: str) -> None:
    whole, _ = search(strategy, samples=8)
    cap = whole.usage.flops / 3
    result, _ = search(strategy, samples=8, budget=Budget(max_flops=cap))
    assert "FLOP cap" in result.stop_reason
    # One step more: at most one batch of eight questions by the judge, of some 30 tokens each.
    assert cap <= result.usage.flops <= cap + 2e6 * 8 * 32


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_free_question_goes_to_the_best_value_and_to_no_vote(strategy: str) -> None:
    result, _ = search(strategy, problem=FREE, samples=6)
    assert result.decided_by == "verifier"
    assert result.classes == ()
    finished = [each for each in result.candidates if each.finished]
    best = max(finished, key=lambda each: [s.value for s in each.scores if s.step is None])
    assert len(finished) > 1
    assert result.score == max(s.value for s in best.scores if s.step is None)
    assert result.solution == best.text


@pytest.mark.parametrize("strategy", STEPWISE)
def test_the_vote_weighs_values_and_not_numbers(strategy: str) -> None:
    texts = [says("Tom counts.", answer=n) for n in (1, 1, 2, 1)]
    fond = lambda text: 0.99 if "is 2." in text else 0.01  # noqa: E731
    result, _ = search(strategy, texts, samples=8, yes=fond, knobs={"aggregate": "last"})
    assert result.answer is not None
    answers = {each.answer.text for each in result.candidates if each.answer is not None}
    assert result.answer.text == ("2" if "2" in answers else "1")


@pytest.mark.parametrize("strategy", STEPWISE)
def test_answers_without_a_blank_line_fill_all_places(strategy: str) -> None:
    result, _ = search(strategy, ["The final answer is 1.", "The final answer is 2."], samples=6)
    assert sum(each.finished for each in result.candidates) == 6
    assert result.answer is not None


class Checker(WholeVerifier):
    """Says of the answer 2 that it is right, whatever the steps looked like."""

    name = "checker"
    needs_branch = False

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def score(self, session, problem, leaves):
        self.asked += [leaf.candidate.id for leaf in leaves]
        return [Score(self.name, float("is 2." in leaf.candidate.text)) for leaf in leaves]


def judge_of(engine: ScriptedEngine):
    from ttc_cli.prompts import Chat
    from ttc_cli.verifiers.judge import JudgeVerifier

    return JudgeVerifier(Chat(engine.info))


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_verifier_of_whole_candidates_has_its_say_at_the_end(strategy: str) -> None:
    texts = ["The final answer is 1.", "The final answer is 2."]
    engine, checker = ScriptedEngine(texts), Checker()
    verifiers = [judge_of(engine), checker]
    result, _ = search(strategy, engine=engine, samples=4, verifiers=verifiers)
    assert result.answer is not None
    assert result.answer.text == "2"
    answered = [each.id for each in result.candidates if each.answer is not None]
    assert sorted(checker.asked) == answered
    assert result.score == pytest.approx((0.5 + 1.0) / 2)


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_search_that_nothing_guides_is_refused(strategy: str) -> None:
    with pytest.raises(UsageError, match="checker gives none"):
        search(strategy, verifiers=[Checker()])


class Broken:
    name = "broken"
    needs_branch = False
    grades_steps, reads_states = True, False

    async def score_steps(self, session, problem, leaves):
        raise EngineError("out of order")

    async def leave(self, session):
        pass


@pytest.mark.parametrize("strategy", STEPWISE)
def test_a_verifier_that_fails_is_left_out_and_said_so_once(strategy: str) -> None:
    result, seen = search(strategy, samples=4, verifiers=[Broken()])
    assert result.answer is not None
    assert result.score is None
    assert [each.message for each in seen if isinstance(each, Warned)] == [
        "Going on without broken: out of order"
    ]


@pytest.mark.parametrize("strategy", STEPWISE)
@pytest.mark.parametrize("wrong", [{"depth": "0"}, {"width": "0"}, {"aggregate": "sum"}])
def test_settings_that_make_no_sense_are_usage_errors(strategy: str, wrong: dict) -> None:
    with pytest.raises(UsageError):
        prepare(find(strategy), wrong)


@pytest.mark.parametrize("strategy", ["beam", "dvts", "lookahead", "particle"])
def test_at_the_greatest_depth_all_grow_to_their_end(strategy: str) -> None:
    long = says(*["And on it goes."] * 9)
    result, _ = search(strategy, [long], samples=4, knobs={"depth": "2"})
    finished = [each for each in result.candidates if each.finished]
    assert finished
    assert all(len(each.steps) == 3 for each in finished)
    assert {each.text for each in finished} == {long}


@pytest.mark.parametrize("aggregate", ["last", "min", "mean", "prod"])
def test_the_value_of_a_candidate_is_made_of_its_steps(aggregate: str) -> None:
    result, _ = search("beam", samples=4, knobs={"aggregate": aggregate})
    for each in result.candidates:
        steps = {score.step: score.value for score in each.scores if score.step is not None}
        whole = [score for score in each.scores if score.step is None]
        if each.answer is None:
            assert whole == []
            continue
        values = [steps[step] for step in sorted(steps)]
        product = 1.0
        for value in values:
            product *= value
        expected = {
            "last": values[-1],
            "min": min(values),
            "mean": sum(values) / len(values),
            "prod": product,
        }
        assert [score.value for score in whole] == [pytest.approx(expected[aggregate])]
        assert len(values) == len(each.steps)


# -- beam and dvts ----------------------------------------------------------------------------


def survivors(seen: list[object]) -> list[tuple[dict[int, float], set[int]]]:
    """For each wave, the step scores given in it and who was pruned in it."""
    waves: list[tuple[dict[int, float], set[int]]] = []
    for event in seen:
        if isinstance(event, WaveStarted):
            waves.append(({}, set()))
        elif isinstance(event, Scored) and event.score.step is not None:
            waves[-1][0][event.id] = event.score.value
        elif isinstance(event, Pruned):
            waves[-1][1].add(event.id)
    return waves


def test_a_beam_search_prunes_the_worst_scored_and_forks_the_best() -> None:
    result, seen = search("beam", samples=8, knobs={"width": "4"})
    ended = {each.id for each in result.candidates if each.finished}
    pruned_any = False
    for scores, pruned in survivors(seen)[:-1]:
        alive = [id for id in scores if id not in pruned and id not in ended]
        if pruned and alive:
            pruned_any = True
            assert max(scores[id] for id in pruned) <= min(scores[id] for id in alive)
    assert pruned_any
    waves = [each.samples for each in seen if isinstance(each, WaveStarted)]
    assert waves[0] == 8
    assert waves == sorted(waves, reverse=True)
    assert sum(each.finish is not Finish.PRUNED for each in result.candidates) == 8


@pytest.mark.parametrize(("samples", "width"), [(5, 2), (7, 3), (8, 3)])
def test_places_that_do_not_divide_evenly_are_all_filled(samples: int, width: int) -> None:
    result, seen = search("beam", samples=samples, knobs={"width": str(width)})
    assert sum(each.finish is not Finish.PRUNED for each in result.candidates) == samples
    waves = [each.samples for each in seen if isinstance(each, WaveStarted)]
    assert waves[0] == samples


def test_a_beam_that_ends_early_keeps_its_place() -> None:
    short, long = says(answer=1), says("One.", "Two.", "Three.", answer=2)
    result, seen = search("beam", [short, long, long, long], samples=4, yes=lambda text: 0.5)
    finished = [each for each in result.candidates if each.finished]
    assert len(finished) == 4
    assert [each.answer.text for each in finished if each.answer].count("1") >= 1
    waves = [each.samples for each in seen if isinstance(each, WaveStarted)]
    assert waves[:2] == [4, 3]


def test_the_subtrees_of_dvts_never_compete() -> None:
    def script(ask):
        return babble_from(ask)

    favourite = lambda text: 0.9 if "Zero." in text else 0.1  # noqa: E731
    beam, _ = search("beam", script, samples=8, knobs={"width": "4"}, yes=favourite)
    dvts, _ = search("dvts", script, samples=8, knobs={"width": "4"}, yes=favourite)
    roots = [
        {root_of(each, result) for each in result.candidates if each.finished}
        for result in (beam, dvts)
    ]
    # One of the eight first steps is everybody's favourite. It takes all of beam's last places,
    # and no more than its own subtree of dvts.
    assert 0 in roots[0]
    assert len(roots[1]) == 2
    assert {root % 2 for root in roots[1]} == {0, 1}


def babble_from(ask):
    first = "Zero." if ask.sample == 0 else "Other."
    done = ask.text.count("\n\n") - ask.text[: ask.text.index("assistant")].count("\n\n")
    rest = [first, "Then.", "So."][done:]
    return Reply("\n\n".join([*rest, "The final answer is 3."]))


def test_a_subtree_is_over_when_its_best_has_ended() -> None:
    short, long = says(answer=1), says(*["And on it goes."] * 9, answer=2)
    fond = lambda text: 0.9 if "is 1" in text else 0.3  # noqa: E731
    result, seen = search(
        "dvts", [short, long, long, short], samples=4, knobs={"width": "2"}, yes=fond
    )
    assert any("ended better" in each.reason for each in seen if isinstance(each, Pruned))
    assert result.answer is not None
    assert result.answer.text == "1"


def test_fewer_samples_than_a_width_make_one_subtree() -> None:
    result, seen = search("dvts", samples=3, knobs={"width": "4"})
    (first, *_) = [each for each in seen if isinstance(each, WaveStarted)]
    assert first.reason == "step 1: 3 branches in 1 subtree"
    assert result.answer is not None
