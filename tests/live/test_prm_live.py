"""Process rewards on real models: how scores are read. What they say means nothing here."""

from __future__ import annotations

import asyncio

import pytest

from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Grow, ScoreRow, Span
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.models.files import resolve
from ttc_cli.prompts import Chat
from ttc_cli.solving.loading import load_models
from ttc_cli.solving.verifier_models import choose_verifier_models
from ttc_cli.types import AnswerType, Budget, Candidate, Finish, Problem, Sampling, Step
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import Leaf, VerifierContext, share_of_first
from ttc_cli.verifiers.prm.formats import find_format
from ttc_cli.verifiers.prm.verifier import PrmVerifier

pytestmark = pytest.mark.live

PROBLEM = Problem("Tom has 3 boxes with 12 pens each. How many pens?", AnswerType.NUMBER)
STEPS = ("Each box holds 12 pens.", "3 times 12 is 36.", "The answer is \\boxed{36}.")
SETTINGS = llamacpp.Settings(threads=1, parallel=4, context=512, answer=96)


@pytest.fixture(scope="module")
def tiny(tiny_model):
    engine = llamacpp.load(tiny_model, SETTINGS)
    yield engine
    engine.close()


def leaf(id: int, *steps: str) -> Leaf:
    parts = tuple(Step(f"{step}\n\n", 1) for step in steps)
    return Leaf(Candidate(id, "", 1, Finish.STEP, steps=parts), None)


def test_a_new_step_costs_its_own_tokens_and_scores_as_if_all_were_read_anew(tiny):
    format = find_format("rlhflow", tiny.info)
    verifier = PrmVerifier(tiny, format)
    ledger = Ledger(Budget())
    question = PROBLEM.text

    def spans(steps):
        more = [format.open(question), format.begin(question, steps[0])]
        return tuple(span for part in (*more, *map(format.go_on, steps[1:])) for span in part)

    async def read_anew(steps) -> float | None:
        labels = ((format.good,), (format.bad,))
        async with await tiny.open(spans(steps), Ledger(Budget())) as session:
            (row,) = await session.score([ScoreRow(session.root, (), labels)])
        return share_of_first(row)

    async def work():
        grown, costs = [], []
        async with await tiny.open((Span("Q"),), ledger) as session:
            for count in range(1, len(STEPS) + 1):
                before = ledger.usage().verifier.prompt_tokens
                leaves = [leaf(0, *STEPS[:count]), leaf(1, *STEPS[: count - 1], "It is 5.")]
                scores = await verifier.score_steps(session, PROBLEM, leaves)
                costs.append(ledger.usage().verifier.prompt_tokens - before)
                grown.append([score.value for score in scores])
            await verifier.leave(session)
        anew = [
            [
                await read_anew(STEPS[:count]),
                await read_anew((*STEPS[: count - 1], "It is 5.")),
            ]
            for count in range(1, len(STEPS) + 1)
        ]
        return grown, anew, costs

    grown, anew, costs = asyncio.run(work())
    # The same tokens in batches of another size: so small a model's rounding shows (0.06 seen),
    # and is far below what tells its scores apart.
    for own, fresh in zip(grown, anew, strict=True):
        assert own == pytest.approx(fresh, abs=0.1)
    assert max(grown[-1]) - min(grown[0]) > 0.5
    before = spans(STEPS)

    def count(step: str) -> int:
        return len(tiny.tokenise((*before, *format.go_on(step)))) - len(tiny.tokenise(before))

    assert costs[1:] == [count(new) + count("It is 5.") for new in STEPS[1:]]
    spent = ledger.usage()
    assert spent.verifier.flops == 2.0 * tiny.info.parameters * spent.verifier.prompt_tokens
    assert spent.generator.prompt_tokens == len(tiny.tokenise((Span("Q"),)))


def test_a_vocabulary_without_the_tags_is_refused_at_once(tiny):
    with pytest.raises(UsageError, match="no single token '▁\\+'"):
        PrmVerifier(tiny, find_format("math-shepherd", tiny.info))


def grow_and_score(path, words):
    """Two candidates that pause, are scored with what ``--verifier`` asks for, and go on."""
    asked, models = choose_verifier_models(words, SETTINGS)
    loaded = load_models(resolve(str(path)), SETTINGS, models)
    engine, others = loaded.engine, loaded.verifying
    ledger = Ledger(Budget())
    means = VerifierContext(Chat(engine.info), load=others.__getitem__)

    async def work(verifiers):
        async with await engine.open((Span("The number of pens is"),), ledger) as session:
            branches = session.fork(session.root, 2)
            texts = ["", ""]
            for _ in range(2):
                wanted = [Grow(b, 8, Sampling(), i, i) for i, b in enumerate(branches)]
                async for growth in session.grow(wanted):
                    texts[growth.label] += growth.text
                leaves = [leaf(i, *STEPS, text) for i, text in enumerate(texts)]
                for verifier in verifiers:
                    scores = await verifier.score_steps(session, PROBLEM, leaves)
                    assert all(score is not None and score.step == 3 for score in scores)
            for verifier in verifiers:
                await verifier.leave(session)
            return texts

    try:
        plain = asyncio.run(work(()))
        assert ledger.usage().verifier.prompt_tokens == 0
        scored = asyncio.run(work(registry.build(asked, means)))
        return plain, scored, ledger.usage(), engine, others
    finally:
        for each in {engine, *others.values()}:
            each.close()


def test_the_same_file_is_loaded_once_and_scores_beside_its_own_growing(tiny_model):
    plain, scored, usage, engine, others = grow_and_score(tiny_model, [f"prm={tiny_model}@rlhflow"])
    assert set(others.values()) == {engine}
    assert scored == plain
    assert usage.verifier.prompt_tokens > 0
    assert usage.verifier.generated_tokens == 0


def test_two_models_work_together_each_charged_by_its_own_size(tiny_model, starter_model):
    plain, scored, usage, engine, others = grow_and_score(
        tiny_model, [f"prm={starter_model}@versaprm"]
    )
    (verifier,) = others.values()
    assert verifier is not engine
    assert scored == plain
    read = usage.verifier.prompt_tokens
    assert usage.verifier.flops == pytest.approx(2.0 * verifier.info.parameters * read)
    assert verifier.info.parameters > 2 * engine.info.parameters
