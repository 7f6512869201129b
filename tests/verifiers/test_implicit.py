from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.engines.scripted.script import pieces
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Candidate, Finish, Problem, Step
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import Leaf, VerifierContext
from ttc_cli.verifiers.prm.implicit import ImplicitPrmVerifier, Pair, read_pair

PROBLEM = Problem(" How many apples? ")
PROMPT = "<|im_start|>user\nHow many apples?<|im_end|>\n<|im_start|>assistant\n"


def leaf(id: int, *steps: str, finish: Finish = Finish.STEP) -> Leaf:
    parts = tuple(Step(step, 1) for step in steps)
    return Leaf(Candidate(id, "".join(steps), 1, finish, steps=parts), None)


class Bench:
    """A verifier over two scripted engines, the ledger that both book on, and what was read."""

    def __init__(self, *, beta: float = 0.1, budget: Budget | None = None) -> None:
        self.read: list[str] = []
        self.tuned = ScriptedEngine(yes=self._like)
        self.reference = ScriptedEngine(yes=lambda text: 0.5)
        self.ledger = Ledger(budget or Budget())
        self.verifier = ImplicitPrmVerifier(self.tuned, self.reference, beta)

    def _like(self, text: str) -> float:
        """What comes behind "good" is as likely as can be, what comes behind "bad" is not."""
        self.read.append(text)
        return 1.0 if text.endswith("good") else 0.01 if text.endswith("bad") else 0.5

    def run(self, work):
        async def inside():
            async with await ScriptedEngine().open((Span("Q"),), self.ledger) as session:
                result = await work(session)
                await self.verifier.leave(session)
                return result

        return asyncio.run(inside())


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_a_step_adds_beta_times_its_log_ratio() -> None:
    bench = Bench(beta=0.1)

    async def work(session):
        first = await bench.verifier.score_steps(session, PROBLEM, [leaf(0, "all good\n\n")])
        both = [leaf(0, "all good\n\n", "so bad\n\n"), leaf(1, "all good\n\n", "so so\n\n")]
        then = await bench.verifier.score_steps(session, PROBLEM, both)
        whole = await bench.verifier.score(session, PROBLEM, both)
        return first, then, whole

    first, then, whole = bench.run(work)
    one, other = math.log(1.0 / 0.5), math.log(0.01 / 0.5)
    assert [(each.value, each.step) for each in first] == [(pytest.approx(sigmoid(0.1 * one)), 0)]
    assert [each.step for each in then] == [1, 1]
    expected = [sigmoid(0.1 * (one + other)), sigmoid(0.1 * one)]
    assert [each.value for each in then] == pytest.approx(expected)
    assert [each.value for each in whole] == pytest.approx(expected)
    assert whole[0].verifier == "implicit=script"


def test_the_question_and_the_steps_are_a_conversation() -> None:
    bench = Bench()

    async def work(session):
        return await bench.verifier.score(
            session, PROBLEM, [leaf(0, "One.\n\n", "\nTwo. \n\n", finish=Finish.STOP)]
        )

    bench.run(work)
    assert bench.read[0] == PROMPT
    assert (PROMPT + "One.\n\nTwo.\n\n").startswith(bench.read[-1])
    assert all("<|im_end|>" not in text.removeprefix(PROMPT) for text in bench.read)


def test_a_step_is_read_once_by_each_model_and_forks_share_it() -> None:
    bench = Bench()
    costs = []

    async def work(session):
        for leaves in (
            [leaf(0, "one good\n\n")],
            [leaf(0, "one good\n\n", "two\n\n"), leaf(1, "one good\n\n", "three\n\n")],
            [leaf(1, "one good\n\n", "three\n\n")],
        ):
            before = bench.ledger.usage().verifier.prompt_tokens
            await bench.verifier.score_steps(session, PROBLEM, leaves)
            costs.append(bench.ledger.usage().verifier.prompt_tokens - before)

    bench.run(work)

    def size(*texts: str) -> int:
        return 2 * sum(len(pieces(text)) for text in texts)

    assert costs == [size(PROMPT, "one good\n\n"), size("two\n\n", "three\n\n"), 0]


def test_after_a_cap_there_is_no_score() -> None:
    bench = Bench(budget=Budget(max_flops=1e6))  # the generator's prompt alone is more

    async def work(session):
        leaves = [leaf(0, "one\n\n", "two\n\n")]
        steps = await bench.verifier.score_steps(session, PROBLEM, leaves)
        return [*steps, *await bench.verifier.score(session, PROBLEM, leaves)]

    assert bench.run(work) == [None, None]


def test_engines_that_tell_no_likelihood_are_refused() -> None:
    server = ScriptedEngine()
    server.info = replace(server.info, steps=False)
    for pair in ((server, ScriptedEngine()), (ScriptedEngine(), server)):
        with pytest.raises(UsageError, match="how likely a given text is"):
            ImplicitPrmVerifier(*pair)


class Cutter(ScriptedEngine):
    """With a vocabulary of its own."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def tokenise(self, prompt) -> list[int]:
        return [self.first + len(span.text) for span in prompt]

    def find_labels(self, pieces) -> list[int]:
        return [1]


def test_models_of_different_vocabularies_are_refused() -> None:
    ImplicitPrmVerifier(Cutter(1), Cutter(1))
    with pytest.raises(UsageError, match="same vocabulary"):
        ImplicitPrmVerifier(Cutter(1), Cutter(2))


@pytest.mark.parametrize(
    ("argument", "pair"),
    [
        ("eurus.gguf@math-7b", Pair("eurus.gguf", "math-7b", 0.001)),
        ("a/b:Q4_K_M@v2@c/d:Q4_K_M@0.05", Pair("a/b:Q4_K_M@v2", "c/d:Q4_K_M", 0.05)),
    ],
)
def test_the_two_models_are_named(argument: str, pair: Pair) -> None:
    assert read_pair(argument) == pair
    assert registry.parse(f"implicit={argument}:0.5").weight == 0.5


@pytest.mark.parametrize("argument", [None, "", "a", "a@", "@b", "a@a", "a@b@0", "a@b@-1", "a@0.1"])
def test_what_names_no_two_models_is_refused(argument: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        read_pair(argument)
    assert "implicit=MODEL@REFERENCE" in (caught.value.hint or "")


def test_both_models_are_loaded_by_their_names() -> None:
    engines = {"tuned": ScriptedEngine(), "before": ScriptedEngine()}
    entry = registry.find("implicit")
    verifier = entry.make(VerifierContext(None, load=engines.__getitem__), "tuned@before@0.5")
    assert (verifier.engine, verifier.reference) == (engines["tuned"], engines["before"])
    assert verifier.beta == 0.5
    with pytest.raises(UsageError, match="No second model"):
        entry.make(VerifierContext(None), "tuned@before")
