"""Who stands behind the leading answer, and how often it is right: recounts of drawn candidates.

Random parts of a question's candidates of both forms vote by heads. From what comes of that a
report shows what agreement within a form and across forms is worth, and ``fit_traits`` learns what
a policy is to make of a program's vote.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.report import tabulate
from ttc_cli.bench.runner import Pools
from ttc_cli.bench.statistics import wilson
from ttc_cli.policy.standing import FormTraits, Standing
from ttc_cli.policy.stopping import settle
from ttc_cli.texts import plural
from ttc_cli.types import PROGRAM, PROSE, Answer, AnswerType

ORDERS = 8
"""Orders of the candidates in which a question's votes are counted."""
SIZES = (0, 1, 2, 3, 4, 6, 8, 12)
"""Candidates of a form that are counted, with each of the other."""

FIRST = (0.25, 0.5, 0.75, 1.0)
FURTHER = (0.1, 0.25, 0.5, 0.75, 1.0)
ACCORD = (0.0, 0.5, 1.0, 1.5)
WEIGHT = (0.5, 0.75, 1.0)
HONEST = FormTraits(first=1.0, further=0.5, accord=0.5, weight=1.0)
"""What is believed of programs before anything was measured."""
DEVIATIONS = (0.5, 0.5, 1.0)
"""Of that belief, a normal one: of first, further and accord."""
VOTES_A_QUESTION = 3.0
"""Independent observations that the recounts of one question are taken for."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a question's candidates answered, by form: a number an answer, None where none.

    ``right`` are the numbers of the right answers.
    """

    question: str
    answers: Mapping[str, tuple[int | None, ...]]
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class Side:
    """Candidates that state the same answer."""

    programs: int
    prose: int
    right: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """A vote of some programs and some candidates in prose, with its sides as they were heard."""

    programs: int
    prose: int
    sides: tuple[Side, ...]


def collect(
    pools: Pools, questions: Sequence[LabelledQuestion], comparer: Comparer
) -> list[Ballot]:
    """The ballots of those of ``questions`` that have candidates of both forms."""
    ballots = []
    for question in questions:
        if not all(question.id in pool.questions for pool in pools.by_form.values()):
            continue
        problem = resolve(question.problem)
        read: dict[str, list[Answer | None]] = {
            form: [each.read_answer(problem) for each in pool.questions[question.id].samples]
            for form, pool in pools.by_form.items()
        }
        places = [(form, n) for form, answers in read.items() for n in range(len(answers))]
        answered = [(id, a, 1.0) for id, (f, n) in enumerate(places) if (a := read[f][n])]
        classes = comparer.classify(answered)
        numbers = {id: number for number, each in enumerate(classes) for id in each.members}
        ids = {place: id for id, place in enumerate(places)}
        ballots.append(
            Ballot(
                question.id,
                {
                    form: tuple(numbers.get(ids[form, n]) for n in range(len(answers)))
                    for form, answers in read.items()
                },
                frozenset(
                    number
                    for number, each in enumerate(classes)
                    if comparer.grade(each.answer, question.answer)
                ),
            )
        )
    return ballots


def recount(ballot: Ballot, sizes: Sequence[tuple[int, int]]) -> Iterator[Tally]:
    """Votes of so many (programs, in prose) over ``ORDERS`` orders; programs are heard first."""
    draw = random.Random(f"0:{ballot.question}")
    programs, prose = (list(ballot.answers.get(form, ())) for form in (PROGRAM, PROSE))
    for _ in range(ORDERS):
        draw.shuffle(programs)
        draw.shuffle(prose)
        for of_programs, of_prose in sizes:
            if of_programs > len(programs) or of_prose > len(prose):
                continue
            by_form = [Counter(programs[:of_programs]), Counter(prose[:of_prose])]
            heard = dict.fromkeys([*by_form[0], *by_form[1]])
            yield Tally(
                of_programs,
                of_prose,
                tuple(
                    Side(by_form[0][each], by_form[1][each], each in ballot.right)
                    for each in heard
                    if each is not None
                ),
            )


_ONE_FORM = ((1, 0), (0, 1), (2, 0), (0, 2), (3, 0), (0, 3), (4, 0), (0, 4))
_SHOWN = (*_ONE_FORM, (1, 1), (2, 1), (1, 2), (2, 2), (4, 2), (4, 4))
_COMMON = 0.05
"""Of the votes of a size, how many must have come out in one way for that to be told."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the leader is right where so many stand behind it and so many were heard.

    Each is (programs, in prose). ``right`` is the mean over ``questions`` at which it came so, and
    ``common`` the share of the votes of that size that did.
    """

    heard: tuple[int, int]
    behind: tuple[int, int]
    right: float
    questions: int
    common: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson, over questions."""
        return wilson(self.right, self.questions)


def measure_agreement(ballots: Sequence[Ballot]) -> list[Agreement]:
    """By who was heard and who stands behind the leader; what is rare is left out."""
    seen: dict[tuple[tuple[int, int], tuple[int, int]], dict[str, list[bool]]] = {}
    votes: Counter[tuple[int, int]] = Counter()
    for ballot in ballots:
        for tally in recount(ballot, _SHOWN):
            heard = (tally.programs, tally.prose)
            votes[heard] += 1
            if tally.sides:
                leader = max(tally.sides, key=lambda side: side.programs + side.prose)
                key = (heard, (leader.programs, leader.prose))
                seen.setdefault(key, {}).setdefault(ballot.question, []).append(leader.right)
    rows = [
        Agreement(
            heard,
            behind,
            sum(sum(each) / len(each) for each in found.values()) / len(found),
            len(found),
            sum(map(len, found.values())) / votes[heard],
        )
        for (heard, behind), found in seen.items()
        if len(found) >= 3 and sum(map(len, found.values())) >= _COMMON * votes[heard]
    ]
    order = {heard: place for place, heard in enumerate(_SHOWN)}
    return sorted(rows, key=lambda row: (order[row.heard], -sum(row.behind), -row.behind[0]))


def tabulate_agreement(rows: Sequence[Agreement]) -> str:
    """How often the leading answer is right by who stands behind it, as Markdown."""
    lines = [["heard", "behind the leader", "right", "95 % interval", "questions", "of the votes"]]
    for row in rows:
        low, high = row.interval
        lines.append(
            [
                _word_votes(row.heard),
                _word_votes(row.behind),
                f"{row.right:.0%}",
                f"{low:.0%} – {high:.0%}",
                str(row.questions),
                f"{row.common:.0%}",
            ]
        )
    title = "How often the leading answer is right, by who stands behind it (random parts of both"
    return f"{title} pools, heads counted; the interval is over questions):\n\n{tabulate(lines)}"


def _word_votes(votes: tuple[int, int]) -> str:
    programs, prose = votes
    counts = [plural(programs, "program")] * bool(programs) + [f"{prose} in prose"] * bool(prose)
    return " + ".join(counts)


def fit_traits(
    ballots: Sequence[Ballot], cost: float, types: Sequence[AnswerType] = ()
) -> FormTraits:
    """What a program's vote is worth, by the likelihood of who was right, drawn to ``HONEST``.

    How likely a leader is right follows from how settled its vote is, through a logistic link that
    is fitted to votes in prose alone: a program's vote is thus measured in votes of prose, whatever
    these are worth with this model. ``cost`` is of one program, in candidates in prose.
    """
    prose = [(0, each) for each in SIZES if each]
    offset, slope = _link([t for each in ballots for t in recount(each, prose)])
    sizes = [size for size in product(SIZES, SIZES) if size[0]]
    mixed = {
        each.question: Counter(t.sides for t in recount(each, sizes) if t.sides) for each in ballots
    }
    weight = _choose_weight(list(mixed.values()))
    votes = Counter[tuple[tuple[int, int], tuple[tuple[int, int], ...], bool]]()
    for counted in mixed.values():
        for sides, count in counted.items():
            first = _lead(sides, weight)
            rest = {(side.programs, side.prose) for side in sides if side is not first}
            key = ((first.programs, first.prose), tuple(sorted(rest)), first.right)
            votes[key] += count
    scale = VOTES_A_QUESTION * len(ballots) / max(1, votes.total())
    best, most = HONEST, -math.inf
    for one, further, accord in product(FIRST, FURTHER, ACCORD):
        traits = FormTraits(cost, one, further, accord, weight, tuple(types))
        weigh = Standing(traits={PROGRAM: traits}).weigh
        worth = {
            (programs, prose): weigh({PROGRAM: programs, PROSE: prose})
            for leader, others, _ in votes
            for programs, prose in (leader, *others)
        }
        likelihood = 0.0
        for (leader, others, right), count in votes.items():
            strongest = max((worth[each] for each in others), default=0.0)
            value = offset + slope * _logit(settle(worth[leader], strongest))
            likelihood -= count * _softplus(-value if right else value)
        found = scale * likelihood - _doubt(traits)
        if found > most:
            best, most = traits, found
    return best


def _choose_weight(votes: Sequence[Counter[tuple[Side, ...]]]) -> float:
    """Of a program's vote where the answer is chosen: 1, unless less chooses better beyond chance.

    ``votes`` are by question. By two standard errors, since two others are tried.
    """

    def rate(weight: float) -> list[float]:
        return [
            sum(count for sides, count in each.items() if _lead(sides, weight).right) / each.total()
            for each in votes
            if each
        ]

    usual = rate(1.0)
    best, most = 1.0, 0.0
    for weight in WEIGHT:
        gains = [one - other for one, other in zip(rate(weight), usual, strict=True)]
        mean = sum(gains) / max(1, len(gains))
        spread = sum((gain - mean) ** 2 for gain in gains)
        error = math.sqrt(spread / max(1, len(gains) - 1) / max(1, len(gains)))
        if mean > max(most, 2 * error):
            best, most = weight, mean
    return best


def _lead(sides: Sequence[Side], weight: float) -> Side:
    return max(sides, key=lambda side: side.prose + weight * side.programs)


def _doubt(traits: FormTraits) -> float:
    """How far ``traits`` are from what is believed beforehand, as −log of its density."""
    found, honest = ((each.first, each.further, each.accord) for each in (traits, HONEST))
    return sum(
        0.5 * ((one - other) / deviation) ** 2
        for one, other, deviation in zip(found, honest, DEVIATIONS, strict=True)
    )


def _link(tallies: Sequence[Tally]) -> tuple[float, float]:
    """Offset and slope of the logit of right on that of settled; (0, 1) where nothing tells."""
    import numpy as np

    from ttc_cli.verifiers.regression import fit_logistic

    rows = []
    for tally in tallies:
        counts = sorted((side.prose for side in tally.sides), reverse=True)
        if counts:
            leader = max(tally.sides, key=lambda side: side.prose)
            second = counts[1] if len(counts) > 1 else 0
            rows.append((_logit(settle(counts[0], second)), leader.right))
    right = sum(each for _, each in rows)
    if not 0 < right < len(rows):
        return 0.0, 1.0
    x = np.array([[each] for each, _ in rows])
    y = np.array([float(each) for _, each in rows])
    weights, offset = fit_logistic(x, y, 1.0)
    return float(offset), max(0.1, float(weights[0]))


def _logit(share: float) -> float:
    share = min(max(share, 1e-9), 1 - 1e-9)
    return math.log(share / (1 - share))


def _softplus(value: float) -> float:
    return max(0.0, value) + math.log1p(math.exp(-abs(value)))
