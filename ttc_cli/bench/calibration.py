"""Fits a policy to a pool of labelled questions, and says what it is worth on unseen ones.

Three things are fitted, from the pool alone:

* the *belief*: P(the leader is right | the vote), by logistic regression on votes of all sizes;
* the *gains*: for each predicted difficulty, how much of what ``expect_gain`` promises comes true;
* for each budget level the probe size and the verifiers' tilt, by running the real ``auto`` on
  ``engines/recorded`` over resampled orders, at the level's price.

Then everything is done twice more, on one half of the questions each, and judged on the other: that
is what the policy is said to do. No question chooses its own policy there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ttc_cli.bench import runner
from ttc_cli.bench.datasets import Question
from ttc_cli.bench.pool import Pool, PoolSample
from ttc_cli.bench.report import Outcome, summarise
from ttc_cli.bench.verifier_trials import Rating, Trial, separate
from ttc_cli.errors import UsageError
from ttc_cli.policy.belief import Belief, describe_vote
from ttc_cli.policy.difficulty import estimate
from ttc_cli.policy.file import Expected, Policy, Reliability, Source
from ttc_cli.policy.stopping import expect_gain
from ttc_cli.policy.table import SHIPPED, Row, Table
from ttc_cli.search.conclude import count_heard
from ttc_cli.types import AnswerClass, AnswerType, Candidate
from ttc_cli.verifiers.regression import choose_penalty, fit_logistic

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer

LEAST = 8
"""Questions that a calibration needs: below, two halves say nothing."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Votes that the belief is fitted on."""
ORDERS = 8
"""Orders of the samples in which a question's votes are looked at."""
PROBES = (2, 3, 4, 6, 8)
TILTS = (0.0, 0.1, 0.5)
PRICES = {"quick": 0.02, "normal": 0.005, "deep": 0.001}
"""What a further candidate must add to the chance of being right, by level: the definition of the
levels once gains are calibrated."""
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
PRIOR_GAIN = 5.0
"""Promised right answers that a bin's gain is drawn to the common one with."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A question with its samples as candidates, and which answers are right by its label."""

    id: str
    candidates: tuple[Candidate, ...]
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class State:
    """A vote of some candidates: what it looks like, whether the leader is right, what came after.

    ``promised`` is ``expect_gain`` for going on to ``later`` candidates, ``gained`` whether the
    leader there is right less whether this one is.
    """

    question: str
    features: tuple[float | None, ...]
    right: bool
    difficulty: int
    promised: float = 0.0
    gained: float = 0.0


def grade(pool: Pool, questions: Sequence[Question], comparer: Comparer) -> list[Graded]:
    """The samples of ``pool`` as candidates, graded by the labels of ``questions``."""
    return [
        _grade(question, pool.questions[question.id].samples, comparer) for question in questions
    ]


def label_by_majority(
    pool: Pool, questions: Sequence[Question], comparer: Comparer
) -> list[Question]:
    """``questions`` with the majority of all samples as their label; those without one are left.

    Where a model is wrong most of the time so is its label: a policy fitted to them learns to
    reach the vote of many, not the truth.
    """
    labelled = []
    for question in questions:
        drawn = pool.questions[question.id].samples
        classes = comparer.classify(
            [(s.recorded.index, s.answer, 1.0) for s in drawn if s.answer is not None]
        )
        if classes:
            labelled.append(replace(question, answer=classes[0].answer.text))
    return labelled


def _grade(question: Question, samples: Sequence[PoolSample], comparer: Comparer) -> Graded:
    candidates = tuple(
        Candidate(
            id=sample.recorded.index,
            text="",
            tokens=sample.recorded.tokens,
            finish=sample.recorded.finish,
            answer=sample.answer,
            confidence=sample.recorded.confidence,
        )
        for sample in samples
    )
    right = frozenset(
        each.id for each in candidates if comparer.grade(each.answer, question.answer)
    )
    return Graded(question.id, candidates, right)


def walk(graded: Graded, comparer: Comparer, orders: int = ORDERS, seed: int = 0) -> list[State]:
    """The votes of ``graded`` at all ``SIZES``, over several orders of its samples."""
    states: list[State] = []
    draw = random.Random(f"{seed}:{graded.id}")
    everyone = list(graded.candidates)
    for _ in range(orders):
        draw.shuffle(everyone)
        votes = [_vote(everyone[:size], comparer) for size in SIZES if size <= len(everyone)]
        for place, (classes, heard) in enumerate(votes):
            if not classes:
                continue
            state = _look(graded, everyone[: SIZES[place]], classes, heard)
            if place + 1 < len(votes):
                then, _ = votes[place + 1]
                counts = [each.votes for each in classes] + [0]
                size = SIZES[place + 1] - SIZES[place]
                state = replace(
                    state,
                    promised=expect_gain(counts[0], counts[1], heard, size),
                    gained=float(_is_right(then, graded)) - float(state.right),
                )
            states.append(state)
    return states


def _vote(
    candidates: Sequence[Candidate], comparer: Comparer
) -> tuple[tuple[AnswerClass, ...], int]:
    told = [(place, each.answer, 1.0) for place, each in enumerate(candidates) if each.answer]
    classes = tuple(
        replace(each, members=tuple(candidates[place].id for place in each.members))
        for each in comparer.classify(told)
    )
    return classes, count_heard(candidates)


def _is_right(classes: Sequence[AnswerClass], graded: Graded) -> bool:
    return bool(classes) and any(member in graded.right for member in classes[0].members)


def _look(
    graded: Graded,
    candidates: Sequence[Candidate],
    classes: Sequence[AnswerClass],
    heard: int,
) -> State:
    return State(
        graded.id,
        describe_vote(classes, candidates, heard),
        _is_right(classes, graded),
        estimate(classes, heard).difficulty,
    )


def fit_belief(states: Sequence[State]) -> Belief:
    """The regression of right on the features, L2 chosen by held-out questions, and the gains.

    Raises:
        UsageError: all leaders are right, or all wrong: nothing can be told from that.
    """
    import numpy as np

    y = np.array([float(state.right) for state in states])
    if len(states) < 2 or not 0 < y.sum() < len(y):
        raise UsageError(
            "All questions were answered alike, all right or all wrong: no policy can be fitted.",
            "Give questions that the model finds neither trivial nor impossible, or more of them.",
        )
    raw = np.array(
        [[np.nan if x is None else x for x in state.features] for state in states], dtype=float
    )
    known = ~np.isnan(raw)
    counts = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, raw, 0.0).sum(axis=0) / counts
    filled = np.where(known, raw, centre)
    scale = filled.std(axis=0)
    scale[scale < 1e-9] = 1.0
    x = (filled - centre) / scale
    places = {name: i for i, name in enumerate(dict.fromkeys(s.question for s in states))}
    groups = np.array([places[state.question] for state in states])
    # Votes of one question are one draw: a penalty as for that many independent ones.
    each = len(states) / max(1, len(places))
    penalty = choose_penalty(x, y, groups, [each * strength for strength in PENALTIES])
    weights, bias = fit_logistic(x, y, penalty)
    return Belief(
        tuple(weights.tolist()),
        float(bias),
        tuple(centre.tolist()),
        tuple(scale.tolist()),
        fit_gains(states),
    )


def fit_gains(states: Sequence[State]) -> tuple[float, ...]:
    """By difficulty bin: gained over promised, drawn towards the same over all bins; ≥ 0."""
    promised = sum(state.promised for state in states)
    common = max(0.0, sum(state.gained for state in states) / promised) if promised else 1.0
    # Several orders of one question count once.
    repeats = len(states) / max(1, len({state.question for state in states}))
    found = []
    for number in range(1, 6):
        inside = [state for state in states if state.difficulty == number]
        due = sum(state.promised for state in inside) / repeats
        came = sum(state.gained for state in inside) / repeats
        found.append(max(0.0, (came + PRIOR_GAIN * common) / (due + PRIOR_GAIN)))
    return tuple(found)


def measure_reliability(pool: Pool, graded: Sequence[Graded]) -> tuple[Reliability, ...]:
    """AUC of the judge and of each statistic of confidence over the candidates that answered."""
    scores: dict[str, list[Rating]] = {}
    for question in graded:
        for sample in pool.questions[question.id].samples:
            recorded = sample.recorded
            if sample.answer is None:
                continue
            right = recorded.index in question.right
            if sample.judge is not None:
                scores.setdefault("judge", []).append(Rating(question.id, right, sample.judge))
            if recorded.confidence is not None:
                for name in ("mean_logprob", "lowest_group", "tail_group"):
                    value = getattr(recorded.confidence, name)
                    key = f"confidence ({name.replace('_', ' ')})"
                    scores.setdefault(key, []).append(Rating(question.id, right, value))
    return tuple(_rate(name, ratings) for name, ratings in scores.items())


def _rate(name: str, ratings: Sequence[Rating]) -> Reliability:
    found = separate(Trial(name, "sampled", "whole", tuple(ratings)))
    return Reliability(
        name, found.auc, found.auc_within, found.low, found.high, found.compared, found.trusted
    )


async def calibrate(
    pool: Pool,
    questions: Sequence[Question],
    comparer: Comparer,
    *,
    name: str,
    data: str,
    date: str,
    labels: str = "given",
    runs: int = 4,
    told: Callable[[str], None] = lambda what: None,
) -> Policy:
    """Fit a policy to ``pool``, whose every question must hold as many samples as the others.

    Args:
        pool: drawn as ``auto`` would draw.
        questions: with their labels.
        comparer: decides which answers mean the same.
        name: of the policy.
        data: what the questions are called.
        date: of today, as 2026-01-31.
        labels: where they come from, ``given`` or ``majority``.
        runs: orders of the samples that each setting is tried over.
        told: called with what is being done.

    Raises:
        UsageError: too few questions, or questions that are all alike to this model.
    """
    if len(questions) < LEAST:
        raise UsageError(
            f"{len(questions)} questions are too few for a policy; it needs {LEAST}, and means "
            "little below a hundred.",
            "Raise --limit, or give more questions.",
        )
    if any(question.problem.answer_type is AnswerType.FREE for question in questions):
        raise UsageError(
            "Free-form questions have no vote to calibrate.", "Leave them out of the data."
        )
    header = pool.header
    samples = min(len(pool.questions[question.id].samples) for question in questions)
    told("grading …")
    graded = grade(pool, questions, comparer)
    states = {each.id: walk(each, comparer) for each in graded}
    fitter = _Fitter(pool, comparer, samples, runs, states, told)
    table = await fitter.fit(questions, "all questions")
    halves = [list(questions[0::2]), list(questions[1::2])]
    held_out: dict[str, list[Outcome]] = {}
    for judged, fitting, said in (
        (halves[0], halves[1], "one half"),
        (halves[1], halves[0], "the other half"),
    ):
        other = await fitter.fit(fitting, said)
        for level in PRICES:
            held_out.setdefault(level, []).extend(await fitter.run(judged, level, other))
    expected = []
    for level in PRICES:
        told(f"{level} before and after …")
        now = summarise(level, held_out[level])
        before = summarise(level, await fitter.run(questions, level, SHIPPED))
        expected.append(
            Expected(level, now.accuracy, now.flops, now.samples, before.accuracy, before.flops)
        )
    source = Source(
        data=data,
        questions=len(questions),
        samples=samples,
        seed=header.seed,
        temperature=header.sampling.temperature,
        max_tokens=header.max_tokens,
        labels=labels,
    )
    return Policy(
        name=name,
        model=header.model,
        sha256=header.sha256,
        prompt_format=header.prompt_format,
        date=date,
        source=source,
        table=replace(table, name=name),
        reliability=measure_reliability(pool, graded),
        expected=tuple(expected),
    )


@dataclass(slots=True)
class _Fitter:
    """Fits tables to parts of the questions; what was simulated once is not simulated again."""

    pool: Pool
    comparer: Comparer
    samples: int
    runs: int
    states: Mapping[str, list[State]]
    told: Callable[[str], None]

    async def fit(self, questions: Sequence[Question], said: str) -> Table:
        """The table for ``questions``."""
        belief = fit_belief([s for question in questions for s in self.states[question.id]])
        rows: dict[str, Row] = dict(SHIPPED.rows)
        tried: dict[float, dict[str, tuple[float, Row]]] = {}
        for tilt in TILTS:
            best = tried.setdefault(tilt, {})
            for level, row in self._settings():
                self.told(f"fitting to {said}: {level}, probe {row.probe}, tilt {tilt:g} …")
                table = Table("fitting", {level: row}, tilt=tilt, belief=belief)
                outcomes = await self.run(questions, level, table)
                value = self._value(level, outcomes)
                if level not in best or value > best[level][0]:
                    best[level] = (value, row)
        tilt = max(TILTS, key=lambda each: (sum(v for v, _ in tried[each].values()), -each))
        rows |= {level: row for level, (_, row) in tried[tilt].items()}
        return Table("fitted", rows, tilt=tilt, belief=belief)

    def _settings(self) -> Iterator[tuple[str, Row]]:
        for level, price in PRICES.items():
            cap = min(SHIPPED.row(level).cap, self.samples)
            for probe in (each for each in PROBES if each <= cap):
                # The price alone decides: what is as good as certain gains nothing more.
                yield level, replace(SHIPPED.row(level), probe=probe, threshold=None, price=price)

    def _value(self, level: str, outcomes: Sequence[Outcome]) -> float:
        """Accuracy less what was spent, at the level's price of a candidate."""
        row = summarise(level, outcomes)
        return row.accuracy - PRICES[level] * row.flops / self._flops_a_sample()

    def _flops_a_sample(self) -> float:
        drawn = [s.recorded.tokens for q in self.pool.questions.values() for s in q.samples]
        return 2.0 * self.pool.header.parameters * sum(drawn) / len(drawn)

    async def run(self, questions: Sequence[Question], level: str, table: Table) -> list[Outcome]:
        """``auto`` on the recorded samples."""
        cap = min(SHIPPED.row(level).cap, self.samples)
        return await runner.simulate(
            self.pool,
            questions,
            self.comparer,
            strategy="auto",
            level=level,
            samples=cap,
            trajectories=self.runs,
            table=table,
        )
