"""Tests verifiers on right and wrong solutions, through the ordinary protocol.

*Planted* solutions are written into branches and scored, whole and at the step where the wrong
one slips; that tests what a verifier reads. *Sampled* ones are drawn from the model and graded by
their labels; that tests a verifier on what a search gives it, and is the only test for those that
look at how a text was drawn. Everything is booked on one ledger, so that what each verifier read
and wrote is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ttc_cli.bench import datasets
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.solutions import TOGETHER, OpenQuestion, SolutionSampler, open_question
from ttc_cli.engines.base import Engine, Span
from ttc_cli.errors import UsageError
from ttc_cli.forms.prose import read_stated
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.tables import read_jsonl
from ttc_cli.texts import read_utf8
from ttc_cli.types import AnswerType, Budget, Candidate, Finish, Problem, Step
from ttc_cli.verifiers.base import Leaf, Verifier
from ttc_cli.verifiers.planted import PLANTED, Planted, load_planted
from ttc_cli.verifiers.separation import (
    Bin,
    bootstrap_auc,
    group_by_question,
    measure_auc,
    measure_auc_within,
    measure_ece,
    tabulate,
)

On = Literal["planted", "sampled"]
Part = Literal["whole", "step"]

LEAST = 8
"""Questions with a right and a wrong solution that a verdict needs."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A score of one solution; None where the verifier had nothing to say."""

    question: str
    right: bool
    value: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a verifier said of all solutions (``whole``), or of their decisive steps (``step``).

    ``read`` and ``written`` are tokens that scoring took, over all ``ratings``.
    """

    verifier: str
    on: On
    part: Part
    ratings: tuple[Rating, ...]
    read: int = 0
    written: int = 0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a trial's scores tell right from wrong.

    ``low`` and ``high`` bound the AUC within a question (95 %, bootstrap over questions), from
    ``compared`` questions that have both. ``trusted`` is None where these are too few to tell.
    """

    trial: Trial
    scored: int
    questions: int
    compared: int
    auc: float | None
    auc_interval: tuple[float, float] | None
    auc_within: float | None
    low: float | None
    high: float | None
    mean_right: float | None
    mean_wrong: float | None
    ece: float | None
    table: tuple[Bin, ...]
    trusted: bool | None


def separate(trial: Trial) -> Separation:
    """Measure ``trial``; its verifier is trusted where the interval lies above one half."""
    known = [(r.question, r.value, r.right) for r in trial.ratings if r.value is not None]
    rated = [(value, right) for _, value, right in known]
    sides = {side: [value for value, right in rated if right is side] for side in (True, False)}
    means = {side: sum(each) / len(each) if each else None for side, each in sides.items()}
    groups = group_by_question(known)
    compared = sum({right for _, right in each} == {True, False} for each in groups.values())
    interval = bootstrap_auc(known, within=True)
    trusted = interval[0] > 0.5 if interval is not None and compared >= LEAST else None
    return Separation(
        trial=trial,
        scored=len(known),
        questions=len(groups),
        compared=compared,
        auc=measure_auc(rated),
        auc_interval=bootstrap_auc(known, within=False),
        auc_within=measure_auc_within(known),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        mean_right=means[True],
        mean_wrong=means[False],
        ece=measure_ece(rated),
        table=tabulate(rated),
        trusted=trusted,
    )


async def try_verifiers(
    sampler: SolutionSampler,
    verifiers: Sequence[Verifier],
    draws: Sequence[bool],
    *,
    data: Path | None,
    part: str | None,
    progress: Callable[[str], None],
) -> list[Separation]:
    """Test ``verifiers`` on planted solutions, or on drawn ones where ``draws`` says so.

    Args:
        sampler: holds the loaded model, and draws.
        verifiers: made for the model.
        draws: for each, whether planted text tells nothing about it.
        data: planted solutions, or labelled questions to draw solutions of; None is what comes
            with ttc.
        part: of the questions, as ``datasets.load`` takes it.
        progress: called with a line on how far it is.

    Raises:
        UsageError: ``data`` cannot be read.
        PromptTooLong, EngineError: as ``Engine.open`` and ``Session.grow``.
    """
    planted: Sequence[Planted] = PLANTED
    questions: list[LabelledQuestion] = []
    if data is not None and _holds_planted(data):
        planted = load_planted(data)
    elif data is not None:
        questions = datasets.load(data, part)
    pairs = list(zip(verifiers, draws, strict=True))
    readers = [verifier for verifier, draw in pairs if not draw and not questions]
    drawers = [verifier for verifier, draw in pairs if draw or questions]
    trials: list[Trial] = []
    if readers:
        total = len(planted)
        trials += await try_planted(
            sampler.engine,
            sampler.chat,
            readers,
            planted,
            lambda n: progress(f"planted solutions: {n} of {total}"),
        )
    if drawers:
        questions = questions or [
            LabelledQuestion(each.question, Problem(each.question, AnswerType.NUMBER), each.answer)
            for each in planted
        ]
        count = f"of {len(questions)} questions"
        trials += await try_sampled(
            sampler, drawers, questions, lambda n: progress(f"drawn solutions: {n} {count}")
        )
    return [separate(trial) for trial in trials]


def _holds_planted(path: Path) -> bool:
    """Whether the first row of ``path`` holds solutions."""
    try:
        first = next(read_jsonl(read_utf8(path, str(path)), str(path)), None)
    except UsageError:
        return False  # what reads it says what is wrong with it
    return first is not None and {"right", "wrong"} <= set(first.columns)


async def try_planted(
    engine: Engine,
    chat: Chat,
    verifiers: Sequence[Verifier],
    planted: Sequence[Planted],
    done: Callable[[int], None] = lambda count: None,
) -> list[Trial]:
    """Let each of ``verifiers`` score every planted solution, whole and at its decisive step.

    ``done`` hears how many questions are through. A verifier that fails is left out, its failure
    in its trial.

    Raises:
        PromptTooLong, EngineError: as ``Engine.open``.
    """
    trials = _Trials("planted")
    for start in range(0, len(planted), TOGETHER):
        async with contextlib.AsyncExitStack() as stack:
            part = planted[start : start + TOGETHER]
            opened = []
            for each in part:
                question = await open_question(stack, engine, chat, trials.ledger, each.question)
                _write(question, each)
                opened.append(question)
            wholes = [each.part(0, 2) for each in opened]
            steps = [each.part(2, 4) for each in opened]
            for verifier in verifiers:
                await trials.ask(verifier, "whole", wholes)
                if verifier.grades_steps:
                    await trials.ask(verifier, "step", steps)
                for question in opened:
                    await verifier.leave(question.session)
        done(start + len(part))
    return list(trials.found.values())


async def try_sampled(
    sampler: SolutionSampler,
    verifiers: Sequence[Verifier],
    questions: Sequence[LabelledQuestion],
    done: Callable[[int], None] = lambda count: None,
) -> list[Trial]:
    """Draw solutions of each question and let each verifier score those that answer.

    Raises:
        PromptTooLong, EngineError: as ``Engine.open`` and ``Session.grow``.
    """
    trials = _Trials("sampled")
    pool = any(each.reads_states for each in verifiers)
    for start in range(0, len(questions), sampler.together):
        part = questions[start : start + sampler.together]
        async with contextlib.AsyncExitStack() as stack:
            opened = await sampler.draw(stack, trials.ledger, part, pool=pool)
            for verifier in verifiers:
                await trials.ask(verifier, "whole", opened)
                for each in opened:
                    await verifier.leave(each.session)
        done(start + len(part))
    return list(trials.found.values())


@dataclass(slots=True)
class _Trials:
    """What was said so far, by verifier and part, in the order in which it was first said."""

    on: On
    ledger: Ledger = field(default_factory=lambda: Ledger(Budget()))
    found: dict[tuple[str, Part], Trial] = field(default_factory=dict)

    async def ask(self, verifier: Verifier, part: Part, opened: Sequence[OpenQuestion]) -> None:
        key = (verifier.name, part)
        known = self.found.get(key) or Trial(verifier.name, self.on, part, ())
        before = self.ledger.usage()
        method = verifier.score_steps if part == "step" else verifier.score
        asked = [each for each in opened if each.leaves]
        calls = (method(each.session, each.problem, each.leaves) for each in asked)
        ratings = list(known.ratings)
        for each, said in zip(
            asked, await asyncio.gather(*calls, return_exceptions=True), strict=True
        ):
            if isinstance(said, UsageError):
                known = replace(known, failure=said.message)
                said = [None] * len(each.leaves)
            elif isinstance(said, BaseException):
                raise said
            ratings += [
                Rating(each.id, right, score.value if score is not None else None)
                for right, score in zip(each.right, said, strict=True)
            ]
        after = self.ledger.usage()
        self.found[key] = replace(
            known,
            ratings=tuple(ratings),
            read=known.read + after.verifier.prompt_tokens - before.verifier.prompt_tokens,
            written=known.written + after.generated_tokens - before.generated_tokens,
        )


def _write(opened: OpenQuestion, planted: Planted) -> None:
    """Both solutions as branches, whole; then both up to where they part."""
    session, cut = opened.session, planted.wrong_from + 1
    for whole in (True, False):
        for right, steps in ((True, planted.right), (False, planted.wrong)):
            told = steps if whole else steps[:cut]
            text = "\n\n".join(told) + ("" if whole else "\n\n")
            finish = Finish.STOP if whole else Finish.STEP
            candidate = Candidate(
                id=len(opened.leaves),
                text=text,
                tokens=0,
                finish=finish,
                answer=read_stated(text, finish, opened.problem.answer_type),
                steps=() if whole else tuple(Step(step + "\n\n", 0) for step in told),
            )
            branch = session.append(session.root, (Span(text),))
            opened.leaves.append(Leaf(candidate, branch))
            opened.right.append(right)
