"""Fits a probe to pools: to the hidden states of their candidates, and whether they came out right.

``rate_held_out`` gives pools whose states are what the probe said of questions that it was not
fitted to, so that a policy can be fitted to it on the same questions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import SamplePool
from ttc_cli.bench.runner import Pools
from ttc_cli.engines.states import States
from ttc_cli.errors import UsageError
from ttc_cli.types import PROSE
from ttc_cli.verifiers.fitting import Example, Fitted, Tried, compare_choices, fit_head
from ttc_cli.verifiers.probe import VIEWS, Head, Part, Probe, View

STEP_VIEWS = (View.TAIL, View.WHOLE)
"""Of a step: the tail as it was at its end, and the mean over it."""
CHANCE = 0.5
"""AUC of a probe that tells nothing."""
Place = tuple[str, str, int]
"""A candidate of a pool: its form, its question, its index."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Examples of a form and a part, and the candidate that each is of."""

    examples: tuple[Example, ...]
    places: tuple[Place, ...]


def collect(
    pools: Pools, questions: Sequence[LabelledQuestion], comparer: Comparer
) -> dict[tuple[str, Part], Collected]:
    """The candidates that answered and whose states are known, and the steps they were made of.

    The end of a candidate is no step's: that is what the whole is scored by.
    """
    found: dict[tuple[str, Part], list[tuple[Example, Place]]] = {}
    for form, pool in pools.by_form.items():
        for question in questions:
            if question.id not in pool.questions:
                continue
            problem = resolve(question.problem)
            for sample in pool.questions[question.id].samples:
                answer = sample.read_answer(problem)
                if answer is None or sample.states is None:
                    continue
                right = comparer.grade(answer, question.answer)
                place = (form, question.id, sample.index)
                whole: list[tuple[Part, States]] = [("whole", sample.states)]
                steps: list[tuple[Part, States]] = [
                    ("step", each) for each in sample.states.of_steps()[:-1]
                ]
                for part, states in whole + steps:
                    example = Example(states, question.id, right)
                    found.setdefault((form, part), []).append((example, place))
    return {
        key: Collected(tuple(e for e, _ in pairs), tuple(p for _, p in pairs))
        for key, pairs in found.items()
    }


def fit_probe(
    pools: Pools,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    date: str,
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[Probe, dict[Place, float]]:
    """A probe for the model of ``pools``, and what it says of candidates it was not fitted to.

    That is the logit of P(right), of each whole candidate. A part of a form that has too few
    examples gets no head.

    Raises:
        UsageError: that holds for whole candidates in prose.
    """
    heads: list[Head] = []
    held_out: dict[Place, float] = {}
    for (form, part), collected in collect(pools, questions, comparer).items():
        progress(f"fitting the probe: {form}, {part}")
        try:
            fitted = fit_part(form, part, collected.examples)
        except UsageError:
            if (form, part) == (PROSE, "whole"):
                raise
            continue
        heads.append(fitted.head)
        if part == "whole":
            known = zip(collected.places, fitted.held_out, strict=True)
            held_out |= {place: value for place, value in known if value is not None}
    header = pools.prose.header
    width = next(
        (len(s.states.last) for q in pools.prose.questions.values() for s in q.samples if s.states),
        0,
    )
    if not heads:
        raise UsageError(
            "The pool holds no hidden states to fit a probe to.", "ttc verifiers fit QUESTIONS"
        )
    return Probe(header.model, header.sha256, width, date, tuple(heads)), held_out


def fit_part(form: str, part: Part, examples: Sequence[Example]) -> Fitted:
    """The head for a part of a form.

    Raises:
        UsageError: as ``fit_head``.
    """
    return fit_head(examples, form, part, views=VIEWS if part == "whole" else STEP_VIEWS)


def compare(
    pools: Pools,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    progress: Callable[[str], None] = lambda what: None,
) -> list[Tried]:
    """How each view with each objective does on held-out questions, by form and part."""
    found = []
    for (form, part), collected in collect(pools, questions, comparer).items():
        progress(f"comparing: {form}, {part}")
        with contextlib.suppress(UsageError):  # too few
            views = VIEWS if part == "whole" else STEP_VIEWS
            found += compare_choices(collected.examples, form, part, views)
    return found


def rate_held_out(pools: Pools, held_out: Mapping[Place, float]) -> Pools:
    """``pools`` with one number in place of each state, and a probe that passes it on.

    The number is what ``held_out`` says of a candidate; one that it does not know has no states.
    """

    def replace_states(form: str, pool: SamplePool) -> SamplePool:
        questions = {}
        for id, question in pool.questions.items():
            samples = tuple(
                replace(each, states=_hold(held_out.get((form, id, each.index))))
                for each in question.samples
            )
            questions[id] = replace(question, samples=samples, states=None)
        return SamplePool(pool.header, questions)

    made = [replace_states(form, pool) for form, pool in pools.by_form.items()]
    blank = {name: None for name in ("auc", "auc_within", "low", "high")}
    heads = tuple(
        Head(form, "whole", View.TAIL, "held out", 0.0, (1.0,), 0.0, 0, 0, 0.0, 0, **blank)
        for form in pools.by_form
    )
    header = pools.prose.header
    prose, *others = made
    programs = others[0] if others else None
    return Pools(prose, programs, Probe(header.model, header.sha256, 1, "", heads))


def _hold(value: float | None) -> States | None:
    if value is None:
        return None
    one = np.array([value], np.float32)
    return States(one, one, one, (), ())
