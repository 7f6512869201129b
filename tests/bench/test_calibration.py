"""Calibration on a pool that a scripted engine drew, whose truth is known."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.scripted_pools import fill_pool
from ttc_cli.answers import Comparer
from ttc_cli.bench import belief, calibration, pool
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.engines.scripted import Ask, Script, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.policy.estimate import FEATURES
from ttc_cli.policy.file import Policy, load_policy
from ttc_cli.types import PROGRAM, PROSE, AnswerType, Problem

pytestmark = pytest.mark.slow

SAMPLES = 12
QUESTIONS = [
    LabelledQuestion(f"q{n}", Problem(f"What is {n} + {n}?", AnswerType.NUMBER), str(2 * n))
    for n in range(24)
]


def say(ask: Ask) -> str:
    """A third is easy; a third comes out right six times of ten; a third is hopeless."""
    number = int(ask.text.split("What is ")[1].split(" +")[0])
    luck = random.Random(f"{number}:{ask.seed}").random()
    chance = (1.0, 0.6, 0.0)[number % 3]
    wrong = 0 if luck < chance else 1 + int(luck * 1000) % (2 if number % 3 == 1 else 9)
    return f"It is that, I am sure of it.\n\nThe final answer is {2 * number + wrong}."


@pytest.fixture
def comparer() -> Iterator[Comparer]:
    with Comparer() as made:
        yield made


def fill(
    path: Path,
    questions: list[LabelledQuestion],
    samples: int,
    script: Script = say,
    form: str = PROSE,
) -> pool.SamplePool:
    engine = ScriptedEngine(script, yes=lambda text: 0.5, parallel=8)
    return fill_pool(path, engine, questions, samples, form)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> pool.SamplePool:
    return fill(tmp_path_factory.mktemp("pool") / "pool.jsonl", QUESTIONS, SAMPLES)


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> pool.SamplePool:
    """As little as can be calibrated on: a fit simulates some hundred runs of each question."""
    return fill(tmp_path_factory.mktemp("few") / "pool.jsonl", QUESTIONS[: calibration.LEAST], 4)


def fit(drawn: pool.SamplePool, comparer: Comparer, questions=QUESTIONS, **options) -> Policy:
    return asyncio.run(
        calibration.calibrate(
            drawn,
            questions,
            comparer,
            name="maths",
            data="sums",
            date="2026-01-31",
            runs=1,
            **options,
        )
    )


def test_the_belief_knows_certain_votes_from_scattered_ones(drawn, comparer) -> None:
    graded = belief.grade(drawn, QUESTIONS, comparer)
    states = [state for each in graded for state in belief.walk(each, comparer, 1.0)]
    fitted = belief.fit_belief(states)
    believed = [(fitted.rate(state.features), state.right) for state in states]
    sure = [right for value, right in believed if value > 0.9]
    doubtful = [right for value, right in believed if value < 0.2]
    assert len(sure) > 100
    assert len(doubtful) > 100
    assert sum(sure) / len(sure) > 0.9
    assert sum(doubtful) / len(doubtful) < 0.2
    mean = sum(value for value, _ in believed) / len(believed)
    assert mean == pytest.approx(sum(right for _, right in believed) / len(believed), abs=0.02)


@pytest.fixture(scope="module")
def policy(drawn) -> Policy:
    with Comparer() as comparer:
        return fit(drawn, comparer)


def test_a_policy_spends_less_for_as_much_on_questions_it_has_not_seen(policy) -> None:
    assert policy.table.belief is not None
    assert (policy.sha256, policy.source.questions, policy.source.samples) == ("0" * 64, 24, 12)
    levels = {each.level: each for each in policy.expected}
    assert set(levels) == {"quick", "normal", "deep"}
    assert all(each.flops <= each.before_flops for each in policy.expected)
    normal = levels["normal"]
    assert normal.flops < normal.before_flops
    assert normal.accuracy > normal.before - 0.05
    worths = [worth for worth, _ in policy.table.frontier]
    assert worths == sorted(worths, reverse=True)
    assert worths[0] == pytest.approx(0.16)
    assert policy.table.at_price(1000.0).row("normal").probe == policy.table.frontier[0][1].probe
    assert policy.table.at_price(0.001).row("normal").probe == policy.table.frontier[-1][1].probe
    assert policy.table.tilt == 0.0
    assert policy.matched is not None
    assert policy.matched.baseline.endswith("@12")
    assert policy.matched.share is not None
    assert 0.0 < policy.matched.share < 1.0
    judge = next(each for each in policy.reliability if each.verifier == "judge")
    assert judge.auc_within == 0.5
    assert judge.trusted is False


def test_the_same_pool_gives_the_same_policy(few, comparer) -> None:
    questions = QUESTIONS[: calibration.LEAST]
    assert fit(few, comparer, questions) == fit(few, comparer, questions)


def test_without_labels_the_majority_stands_for_them(drawn, few, comparer) -> None:
    labelled = calibration.label_by_majority(drawn, QUESTIONS, comparer)
    right = {question.id for question in QUESTIONS if int(question.id[1:]) % 3 == 0}
    by_id = {question.id: question.answer for question in labelled}
    assert all(
        by_id[question.id] == question.answer for question in QUESTIONS if question.id in right
    )
    assert any(by_id.get(question.id) != question.answer for question in QUESTIONS)
    labelled = calibration.label_by_majority(few, QUESTIONS[: calibration.LEAST], comparer)
    policy = fit(few, comparer, labelled, labels="majority")
    assert policy.source.labels == "majority"


def test_too_few_or_all_alike_questions_are_refused(drawn, comparer) -> None:
    with pytest.raises(UsageError, match="too few"):
        fit(drawn, comparer, QUESTIONS[:5])
    with pytest.raises(UsageError, match="got the same result"):
        fit(drawn, comparer, QUESTIONS[::3])


def write_well(ask: Ask) -> str:
    """Where prose is often wrong programs are nearly always right, and short."""
    if not ask.text.endswith("```python\n"):
        return say(ask)
    number = int(ask.text.split("What is ")[1].split(" +")[0])
    luck = random.Random(f"{number}:{ask.seed}").random()
    return f"print({2 * number if luck < 0.9 else 1})\n```"


def write_badly(ask: Ask) -> str:
    """Programs are all wrong, each in the same way."""
    return "print(1)\n```" if ask.text.endswith("```python\n") else say(ask)


@pytest.fixture(scope="module", params=[write_well, write_badly])
def with_programs(request, drawn, tmp_path_factory) -> tuple[Script, Policy, Policy]:
    path = tmp_path_factory.mktemp("programs") / "pool.jsonl"
    programs = fill(path, QUESTIONS, 4, request.param, PROGRAM)
    with Comparer() as comparer:
        return request.param, programs, fit(drawn, comparer, programs=programs)


def test_programs_are_drawn_by_a_policy_only_for_a_model_that_they_help(
    with_programs, policy, tmp_path
) -> None:
    script, programs, fitted = with_programs
    assert fitted.program_format == programs.header.prompt_format
    assert (fitted.source.programs, fitted.source.program_temperature) == (4, 0.6)
    levels = ("quick", "normal", "deep")
    mixed = [fitted.table.row(level).mix.get(PROGRAM, 0) for level in levels]
    if script is write_badly:
        assert (fitted.table.forms, mixed) == ({}, [0, 0, 0])
        assert fitted.table == policy.table
        return
    assert min(mixed) > 0
    traits = fitted.table.forms[PROGRAM]
    assert traits.cost < 0.6
    assert traits.types == (AnswerType.NUMBER,)
    assert len(fitted.table.belief.weights) == len(FEATURES)
    assert all(row.mix for _, row in fitted.table.frontier)
    after, before = ({e.level: e for e in each.expected} for each in (fitted, policy))
    for level in levels:
        assert after[level].accuracy > before[level].accuracy
        assert after[level].flops < before[level].flops
    fitted.save(tmp_path / "policy.json")
    assert load_policy(tmp_path / "policy.json") == fitted


def test_programs_that_are_asked_for_in_another_way_are_not_drawn(with_programs) -> None:
    script, _, fitted = with_programs
    assert fitted.choose_table(fitted.program_format) == fitted.table
    assert fitted.choose_table(None) == fitted.table
    other = fitted.choose_table("another")
    if script is write_well:
        assert other.forms == {}
        assert not any(row.mix for row in other.rows.values())
        assert "in prose alone" in other.name


def test_programs_have_a_vote_in_the_majority_that_stands_for_labels(
    few, comparer, tmp_path
) -> None:
    questions = QUESTIONS[: calibration.LEAST]
    programs = fill(tmp_path / "pool.jsonl", questions[1:], 8, lambda ask: "print(1)\n```", PROGRAM)
    labelled = calibration.label_by_majority(few, questions, comparer, programs)
    assert [each.answer for each in labelled] == [questions[0].answer] + ["1"] * 7


def fail_first(ask: Ask) -> str:
    """Half of the programs fail; those of even questions come out right where they go on."""
    number = int(ask.text.split("What is ")[1].split(" +")[0])
    went_on = "NameError" in ask.text
    if went_on and number % 2:
        return "print(apples)\n```"
    failed = not went_on and random.Random(f"{number}:{ask.seed}").random() < 0.5
    return f"print({'apples' if failed else 2 * number})\n```"


@pytest.mark.parametrize("parity", [0, 1])
def test_a_program_that_failed_goes_on_only_where_that_pays(comparer, tmp_path, parity) -> None:
    programs = fill(tmp_path / "pool.jsonl", QUESTIONS, 8, fail_first, PROGRAM)
    some = QUESTIONS[parity::2]
    assert calibration.retrying_pays(programs, some, comparer) == (parity == 0)
    assert not calibration.retrying_pays(programs, [], comparer)
