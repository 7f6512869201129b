from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.engines.scripted.script import pieces
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Candidate, Finish, Problem, Score, Step
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import Leaf, VerifierContext, split_steps
from ttc_cli.verifiers.prm.formats import MATH_SHEPHERD, VERSAPRM, find_format
from ttc_cli.verifiers.prm.trie import SPARE
from ttc_cli.verifiers.prm.verifier import PrmVerifier, read_request

PROBLEM = Problem(" How many apples? ")


def leaf(id: int, *steps: str, finish: Finish = Finish.STEP) -> Leaf:
    parts = tuple(Step(step, 1) for step in steps)
    return Leaf(Candidate(id, "".join(steps), 1, finish, steps=parts), None)


class Bench:
    """A verifier over a scripted engine that remembers what it was asked."""

    def __init__(self, format: str = "versaprm", *, budget: Budget | None = None, **options):
        self.read: list[str] = []
        self.engine = ScriptedEngine(yes=self._rate, **options)
        self.ledger = Ledger(budget or Budget())
        self.verifier = PrmVerifier(self.engine, find_format(format, self.engine.info))

    def _rate(self, text: str) -> float:
        self.read.append(text)
        return {"wrong": 0.1, "right": 0.9}.get(text.split()[-1].strip("ки▁.+"), 0.5)

    def run(self, work):
        async def inside():
            generator = ScriptedEngine()
            async with await generator.open((Span("Q"),), self.ledger) as session:
                result = await work(session)
                await self.verifier.leave(session)
                return result

        return asyncio.run(inside())

    def read_tokens(self) -> int:
        return self.ledger.usage().verifier.prompt_tokens


def test_a_new_step_costs_its_own_tokens_and_a_fork_shares_the_rest() -> None:
    bench = Bench()
    costs = []

    async def work(session):
        for leaves in (
            [leaf(0, "one right\n\n")],
            [leaf(0, "one right\n\n", "two right\n\n")],
            [leaf(0, "one right\n\n", "two right\n\n", "end"), leaf(1, "one right\n\n", "x wrong")],
            [leaf(1, "one right\n\n", "x wrong")],
        ):
            before = bench.read_tokens()
            last = await bench.verifier.score_steps(session, PROBLEM, leaves)
            costs.append(bench.read_tokens() - before)
        return last

    last = bench.run(work)
    tag = " \n\n\n\n"

    def size(*texts: str) -> int:
        return sum(len(pieces(text)) for text in texts)

    opened = size("How many apples? \n\n")
    assert costs == [
        opened + size("one right" + tag),
        size("two right" + tag),
        size("end" + tag, "x wrong" + tag),
        0,
    ]
    assert last == [Score("prm=script", pytest.approx(0.1), 1)]
    assert bench.ledger.usage().generator.prompt_tokens == 1


def test_all_new_steps_of_a_call_are_read_in_one_batch() -> None:
    bench = Bench()

    async def work(session):
        await bench.verifier.score_steps(session, PROBLEM, [leaf(0, "a")])
        before = bench.ledger.usage().verifier.decode_calls
        leaves = [leaf(i, "a", f"step {i}") for i in range(6)]
        await bench.verifier.score_steps(session, PROBLEM, leaves)
        return bench.ledger.usage().verifier.decode_calls - before

    assert bench.run(work) == 1


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("versaprm", "How many apples? \n\nDo it. \n\n\n\nThen right \n\n\n\n"),
        ("math-shepherd", "How many apples? Do it.▁ки\nThen right▁ки"),
        (
            "rlhflow",
            "<|im_start|>user\nHow many apples? Do it.<|im_end|>\n<|im_start|>assistant\n"
            "+<|im_end|>\n<|im_start|>user\nThen right<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_what_is_read_is_worded_as_the_model_was_trained(format: str, expected: str) -> None:
    bench = Bench(format)

    async def work(session):
        return await bench.verifier.score_steps(
            session, PROBLEM, [leaf(0, "Do it.\n\n", "\nThen right \n\n")]
        )

    (score,) = bench.run(work)
    assert bench.read[-1] == expected
    assert score is not None
    assert score.step == 1


@pytest.mark.parametrize(
    ("aggregate", "value"), [("last", 0.9), ("min", 0.1), ("mean", 1.9 / 3), ("prod", 0.081)]
)
def test_whole_candidates_are_split_at_blank_lines_and_joined(aggregate, value) -> None:
    bench = Bench()
    bench.verifier.aggregate = aggregate
    whole = Leaf(Candidate(0, "a right\n\nb wrong\n \n\nc right", 9, Finish.STOP), None)

    async def work(session):
        return await bench.verifier.score(session, PROBLEM, [whole])

    (score,) = bench.run(work)
    *steps, last = score.part()
    assert last == Score("prm=script", pytest.approx(value))
    assert [(each.step, each.value) for each in steps] == [
        (0, pytest.approx(0.9)),
        (1, pytest.approx(0.1)),
        (2, pytest.approx(0.9)),
    ]
    assert len(bench.read) == 3


def test_each_format_aggregates_as_its_publishers_do() -> None:
    info = ScriptedEngine().info
    found = {name: find_format(name, info).aggregate for name in ("rlhflow", "math-shepherd")}
    assert found == {"rlhflow": "last", "math-shepherd": "min"}


def test_candidates_without_text_have_no_score() -> None:
    bench = Bench()
    blank = [leaf(0), leaf(1, "\n\n"), Leaf(Candidate(2, " \n\n ", 1, Finish.STOP), None)]

    async def work(session):
        steps = await bench.verifier.score_steps(session, PROBLEM, blank[:2])
        return steps + await bench.verifier.score(session, PROBLEM, blank)

    assert bench.run(work) == [None] * 5
    assert bench.read == []


def test_a_blank_step_keeps_the_score_of_the_one_before_it() -> None:
    bench = Bench()

    async def work(session):
        return await bench.verifier.score_steps(session, PROBLEM, [leaf(0, "a wrong", "\n\n")])

    assert bench.run(work) == [Score("prm=script", pytest.approx(0.1), 1)]


def test_a_cap_leaves_steps_unscored_and_nothing_is_remembered_of_them() -> None:
    bench = Bench(budget=Budget(max_flops=1e8))

    async def work(session):
        paths = [leaf(0, *[f"{n} " + "word " * 30 for n in range(4)])]
        return await bench.verifier.score(session, PROBLEM, paths)

    assert bench.run(work) == [None]
    assert bench.ledger.exhausted()


def test_branches_of_dropped_candidates_are_given_back() -> None:
    bench = Bench()
    held = []

    async def work(session):
        for round in range(12):
            path = [f"s{n}" for n in range(round)]
            leaves = [leaf(i, *path, f"s{round}" if i == 0 else f"x{i}") for i in range(16)]
            await bench.verifier.score_steps(session, PROBLEM, leaves)
            held.append(len(bench.verifier.opened[session].held))

    bench.run(work)
    assert max(held) <= SPARE + 16 + 12
    assert held[0] == 16


def test_coming_back_to_a_dropped_path_reads_it_again_and_scores_it_the_same() -> None:
    bench = Bench()

    async def work(session):
        old = leaf(0, "the first right", finish=Finish.STEP)
        (first,) = await bench.verifier.score_steps(session, PROBLEM, [old])
        for i in range(SPARE + 8):
            await bench.verifier.score_steps(session, PROBLEM, [leaf(1, f"other {i}")])
        before = bench.read_tokens()
        (again,) = await bench.verifier.score_steps(session, PROBLEM, [old])
        assert bench.read_tokens() == before  # the score is remembered
        longer = leaf(0, "the first right", "and wrong")
        (more,) = await bench.verifier.score_steps(session, PROBLEM, [longer])
        return first, again, more

    first, again, more = bench.run(work)
    assert first == again
    assert more == Score("prm=script", pytest.approx(0.1), 1)
    assert bench.read[-1] == "How many apples? \n\nthe first right \n\n\n\nand wrong \n\n\n\n"


def test_finished_candidates_hold_no_branch() -> None:
    bench = Bench()

    async def work(session):
        leaves = [leaf(0, "a", "b", finish=Finish.STOP), leaf(1, "a", "c")]
        await bench.verifier.score_steps(session, PROBLEM, leaves)
        return len(bench.verifier.opened[session].held)

    assert bench.run(work) == 2


def test_questions_are_kept_apart_and_leaving_closes() -> None:
    engine = ScriptedEngine(yes=lambda text: 0.9 if "first" in text else 0.2)
    verifier = PrmVerifier(engine, VERSAPRM)
    ledger = Ledger(Budget())

    async def work():
        async with (
            await engine.open((Span("1"),), ledger) as one,
            await engine.open((Span("2"),), ledger) as two,
        ):
            scores = [
                await verifier.score_steps(session, Problem(text), [leaf(0, "same")])
                for session, text in ((one, "first"), (two, "second"))
            ]
            assert [len(verifier.opened[each].held) for each in (one, two)] == [1, 1]
            await verifier.leave(one)
            assert list(verifier.opened) == [two]
            assert len(verifier.opened[two].held) == 1
            await verifier.leave(two)
            await verifier.leave(two)
            return [score.value for (score,) in scores]

    assert asyncio.run(work()) == [pytest.approx(0.9), pytest.approx(0.2)]


def test_a_question_too_long_for_the_verifier_is_its_own_failure() -> None:
    bench = Bench(context=8)

    async def work(session):
        long = Problem("word " * 50)
        return await bench.verifier.score_steps(session, long, [leaf(0, "a")])

    with pytest.raises(UsageError, match="too long for prm=script"):
        bench.run(work)


def test_engines_that_cannot_score_are_refused() -> None:
    engine = ScriptedEngine()
    engine.info = replace(engine.info, scores=False)
    with pytest.raises(UsageError, match="reads no label tokens"):
        PrmVerifier(engine, VERSAPRM)


class Narrow(ScriptedEngine):
    """An engine that knows its vocabulary, in which there is no ``▁``."""

    def tokenise(self, prompt):
        if any("▁" in span.text for span in prompt):
            raise UsageError("'▁ки' is no single token of script.")
        return [0]

    def find_labels(self, pieces):
        if any("▁" in piece for piece in pieces):
            raise UsageError("none of '▁+' is a single token of script.")
        return [0]


def test_a_vocabulary_without_the_labels_is_refused_before_anything_is_scored() -> None:
    with pytest.raises(UsageError, match="cannot be asked in the format math-shepherd"):
        PrmVerifier(Narrow(), MATH_SHEPHERD)
    assert PrmVerifier(Narrow(), VERSAPRM).name == "prm=script"


@pytest.mark.parametrize(
    ("argument", "model", "format", "aggregate"),
    [
        ("rlhflow-prm-8b", "rlhflow-prm-8b", None, None),
        ("a/b.gguf@versaprm", "a/b.gguf", "versaprm", None),
        ("m@mean", "m", None, "mean"),
        ("m@min@rlhflow", "m", "rlhflow", "min"),
        ("m@rlhflow@min", "m", "rlhflow", "min"),
        ("user/repo:Q4_K_M@v2@rlhflow", "user/repo:Q4_K_M@v2", "rlhflow", None),
    ],
)
def test_the_argument_is_read_from_behind(argument, model, format, aggregate) -> None:
    found = read_request(argument)
    assert (found.model, found.format, found.aggregate) == (model, format, aggregate)
    assert read_request(found.text) == found


@pytest.mark.parametrize("argument", [None, "", "@versaprm", "m@min@mean", "m@versprm"])
def test_arguments_that_make_no_sense_are_refused(argument) -> None:
    with pytest.raises(UsageError):
        read_request(argument)


def test_it_is_built_by_name_on_the_engine_that_is_given() -> None:
    engine = ScriptedEngine()
    asked: list[str] = []

    def load(name: str) -> ScriptedEngine:
        asked.append(name)
        return engine

    means = VerifierContext(None, load=load)  # type: ignore[arg-type]
    (made,) = registry.build(["prm=some/file.gguf@versaprm@mean:0.5"], means)
    assert asked == ["some/file.gguf"]
    assert made.name == "prm=script"
    with pytest.raises(UsageError, match="does not know the prompt format"):
        registry.build(["prm=some"], means)
    with pytest.raises(UsageError, match="No second model"):
        registry.build(["prm=some@versaprm"], VerifierContext(None))  # type: ignore[arg-type]


def test_steps_are_those_it_was_grown_in_or_lie_between_blank_lines() -> None:
    whole = Candidate(0, "\n\na\nb\n \t\n\nc\n\n\n", 9, Finish.STOP)
    assert split_steps(whole) == ("a\nb", "c")
    steps = (Step("a\n\nb\n\n", 4), Step(" \n\n", 1), Step("c", 1))
    assert split_steps(replace(whole, steps=steps)) == ("a\n\nb", "c")


def test_a_thought_is_no_step() -> None:
    text = "<think>\n\nhm\n\n</think>\n\na\n\nb"
    thought = text.index("a\n\nb")
    whole = Candidate(0, text, 9, Finish.STOP, thought=thought)
    assert split_steps(whole) == ("a", "b")
    steps = (Step(text[:thought], 5), Step("a\n\n", 2), Step("b", 1))
    assert split_steps(replace(whole, steps=steps)) == ("a", "b")
    mixed = (Step(text[: thought + 3], 7), Step("b", 1))
    assert split_steps(replace(whole, steps=mixed)) == ("a", "b")
