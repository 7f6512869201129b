"""The belief of a policy: how likely the leader of a vote is right, learned from recorded votes."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import SamplePool
from ttc_cli.errors import UsageError
from ttc_cli.policy.estimate import Belief, describe_vote, find_slipped
from ttc_cli.policy.standing import PLAIN, FormTraits, take_stand
from ttc_cli.policy.table import SHIPPED
from ttc_cli.search.conclude import is_heard
from ttc_cli.search.vote import TAIL, Weigh, discount_slips, vote, weigh_by_sureness
from ttc_cli.types import ARITHMETIC, PROSE, Candidate, Score
from ttc_cli.verifiers.arithmetic.sums import find_first
from ttc_cli.verifiers.probe import PROBE
from ttc_cli.verifiers.regression import choose_penalty, fit_logistic

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Votes in prose that the belief is fitted on."""
_ALONE = ((1, 0), (2, 0), (4, 0), (8, 0))
MIXED_SIZES = (*_ALONE, *((1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (4, 4), (8, 4), (8, 8), (8, 16)))
"""And those of so many programs and so many in prose."""
ORDERS = 8
"""Orders of the samples in which a question's votes are looked at."""
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the belief, per question."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A question with its samples as candidates, and which answers are right by its label."""

    id: str
    candidates: tuple[Candidate, ...]
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class VoteState:
    """A vote of some candidates: what it looks like, and whether the leader is right."""

    question: str
    features: tuple[float | None, ...]
    right: bool


def grade(
    pool: SamplePool,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    held_out: Mapping[tuple[str, str, int], float] | None = None,
) -> list[Graded]:
    """The samples of ``pool`` as candidates, graded by the labels of ``questions``.

    ``held_out`` is what a probe said of them that was not fitted to their question, in log-odds,
    by form, question and index.

    Those of the questions that it does not have are left out.
    """
    form, found = pool.header.form, []
    for question in questions:
        if question.id not in pool.questions:
            continue
        problem = resolve(question.problem)
        candidates = tuple(
            Candidate(
                id=sample.index,
                text="",
                tokens=sample.tokens,
                finish=sample.finish,
                answer=sample.read_answer(problem),
                confidence=sample.confidence,
                scores=(
                    *(() if form != PROSE else _check_sums(sample.text)),
                    *_read_probe((held_out or {}).get((form, question.id, sample.index))),
                ),
                form=form,
            )
            for sample in pool.questions[question.id].samples
        )
        right = frozenset(
            each.id for each in candidates if comparer.grade(each.answer, question.answer)
        )
        found.append(Graded(question.id, candidates, right))
    return found


def _check_sums(text: str) -> tuple[Score, ...]:
    return (Score(ARITHMETIC, float(find_first(text) is None), weight=0),)


def _read_probe(log_odds: float | None) -> tuple[Score, ...]:
    return () if log_odds is None else (Score(PROBE.name, 1 / (1 + math.exp(-log_odds))),)


def walk(
    graded: Graded,
    comparer: Comparer,
    sureness: float,
    slip: float = SHIPPED.slip,
    programs: Graded | None = None,
    forms: Mapping[str, FormTraits] | None = None,
    sure_by: Mapping[str, float] = TAIL,
) -> list[VoteState]:
    """The votes of ``graded`` at all ``SIZES``, over ``ORDERS`` orders of its samples.

    With ``programs`` of the same question also votes of both, at ``MIXED_SIZES``: these come
    first, as they do in a run. The others are as in ``Table``.
    """
    states: list[VoteState] = []
    draw = random.Random(f"0:{graded.id}")
    traits = forms or {}
    prose = [(each, each.id in graded.right) for each in graded.candidates]
    others = [(each, each.id in programs.right) for each in programs.candidates] if programs else []
    sizes = [(0, size) for size in SIZES] + list(MIXED_SIZES if others else ())
    for _ in range(ORDERS):
        draw.shuffle(prose)
        draw.shuffle(others)
        for of_programs, of_prose in sizes:
            if of_programs > len(others) or of_prose > len(prose):
                continue
            part = others[:of_programs] + prose[:of_prose]
            # Numbered by place: of equal votes the one that came first leads, as in a run.
            placed = [replace(each, id=place) for place, (each, _) in enumerate(part)]
            answered = [each for each in placed if each.answer is not None]
            weigh = _weigh(answered, sureness, slip, traits, sure_by)
            classes = vote(placed, comparer, weigh)
            if classes:
                right = any(part[member][1] for member in classes[0].members)
                slips = find_slipped(placed) if slip < 1.0 else frozenset[int]()
                heard = [each for each in placed if is_heard(each)]
                standing = take_stand(classes, heard, placed, traits, slips)
                features = describe_vote(classes, placed, standing, sure_by)
                states.append(VoteState(graded.id, features, right))
    return states


def _weigh(
    answered: Sequence[Candidate],
    sureness: float,
    slip: float,
    forms: Mapping[str, FormTraits],
    sure_by: Mapping[str, float],
) -> Weigh:
    votes = discount_slips(weigh_by_sureness(answered, sureness, sure_by), slip)
    return lambda each: votes(each) * forms.get(each.form, PLAIN).weight


def fit_belief(states: Sequence[VoteState]) -> Belief:
    """The regression of right on the features, L2 chosen by held-out questions.

    Raises:
        UsageError: all leaders are right, or all wrong: nothing can be told from that.
    """
    import numpy as np

    y = np.array([float(state.right) for state in states])
    if len(states) < 2 or not 0 < y.sum() < len(y):
        raise UsageError(
            "All questions got the same result, all right or all wrong: no policy can be fitted.",
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
    )
