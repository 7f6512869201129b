"""Which answers mean the same: plain keys first, algebra in a worker process where they differ."""

from __future__ import annotations

import functools
import itertools
import math
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from ttc_cli.answers.algebra import Algebra, WorkerLostError
from ttc_cli.answers.extract import read_answer
from ttc_cli.answers.normalise import is_literal, split_joined, split_list, split_name, split_tuple
from ttc_cli.answers.numerals import is_number, write_number
from ttc_cli.types import Answer, AnswerClass, AnswerType

_ALGEBRAIC = {AnswerType.NUMBER, AnswerType.LATEX}
"""Two different keys of these may still mean the same."""
_SIGNIFICANT = 12
_CLOSE = Decimal("1e-11")
_SET = re.compile(r"[<>]|\\[lg]eq|\\cup|\\cap|\\setminus|\\mathbb")
"""A sign of a set or a relation, which a point or an interval may be compared with."""


class _UndecidedError(Exception):
    """The call was interrupted or spent its allowance before a pair was decided."""


@dataclass(slots=True)
class _Allowance:
    """What one call may still take: CPU seconds, until the next interruption."""

    seconds: float
    epoch: int


class _Value(NamedTuple):
    """What an expression comes to: the key (or a hash) of a fraction, and 15 digits."""

    exact: str | None
    near: str


class Comparer:
    """Decides which answers mean the same; owns the worker process, which starts when needed.

    Plain numbers, choices, yes/no, texts, programs and JSON are decided by their keys. Two
    different expressions are a matter for algebra in a worker, which is killed and started
    again when one request exceeds its limit; that pair then counts as different. Every outcome
    is remembered. Safe to call from several threads. A comparison may block for the limit: call
    it off the event loop, and ``interrupt`` it when time is up.

    Args:
        limit_seconds: CPU seconds that one request may take.
        call_seconds: CPU seconds that one call may take. Once spent, its undecided pairs count
            as different, so that hostile answers cannot stall a search.
    """

    def __init__(self, limit_seconds: float = 2.0, call_seconds: float = 30.0) -> None:
        self._algebra = Algebra(limit_seconds)
        self._call_seconds = call_seconds
        self._epoch = 0
        self._lock = threading.Lock()
        self._values: dict[str, _Value | None] = {}
        self._pairs: dict[tuple[str, str], bool] = {}
        self._hostile: set[str] = set()

    def __enter__(self) -> Comparer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start loading the algebra (a second of CPU time) and return at once."""
        with self._lock:
            self._algebra.start()

    def interrupt(self) -> None:
        """Stop the calls under way; whatever they had not decided counts as different for them.

        Later calls decide afresh. Safe to call from a signal handler or another thread.
        """
        self._epoch += 1
        self._algebra.kill()

    def close(self) -> None:
        """End the worker. Idempotent; a later comparison starts a new one."""
        self._algebra.kill()
        with self._lock:
            self._algebra.stop()

    def same(self, first: Answer, second: Answer) -> bool:
        """Whether two answers mean the same. Symmetric; whole texts only if identical."""
        return self._same(first, second, self._allow())

    def decides_at_once(self, answers: Iterable[Answer]) -> bool:
        """Whether ``classify`` groups these by their keys alone, so that it cannot block."""
        keys = {each.key for each in answers if each.type in _ALGEBRAIC}
        return len(keys) < 2 or all(map(_is_plain, keys))

    def classify(self, answers: Sequence[tuple[int, Answer, float]]) -> tuple[AnswerClass, ...]:
        """Group ``(candidate id, answer, weight)`` into classes, greatest weight first.

        Classes are the transitive closure of ``same``, so any order of the input gives the
        same classes in the same order: ties go to more votes, then to the smallest id. A class
        is represented by its heaviest spelling, the shortest of equals. Of type ``FREE`` every
        candidate is its own class.
        """
        ordered = sorted(answers, key=lambda row: row[0])
        groups: dict[object, list[tuple[int, Answer, float]]] = {}
        roots = self._join({a.key: a for _, a, _ in ordered if a.type is not AnswerType.FREE})
        for row in ordered:
            free = row[1].type is AnswerType.FREE
            groups.setdefault(row[0] if free else roots[row[1].key], []).append(row)
        classes = [_make_class(group) for group in groups.values()]
        return tuple(sorted(classes, key=lambda c: (-c.weight, -c.votes, c.members[0])))

    def grade(self, answer: Answer | None, reference: str) -> bool:
        """Whether ``answer`` is the one of a labelled question.

        ``reference`` is the bare answer (MATH-500) or a solution that ends in ``#### answer``
        (GSM8K).
        """
        if answer is None:
            return False
        if answer.type not in (AnswerType.CODE, AnswerType.JSON):
            reference = reference.rsplit("####", 1)[-1].strip()
        expected = _read_reference(reference, answer.type)
        return expected is not None and self.same(answer, expected)

    def _allow(self) -> _Allowance:
        return _Allowance(self._call_seconds, self._epoch)

    def _same(self, first: Answer, second: Answer, allowance: _Allowance) -> bool:
        if first.key == second.key:
            return True
        algebraic = {first.type, second.type} <= _ALGEBRAIC
        return algebraic and self._same_keys(first.key, second.key, allowance)

    def _join(self, answers: dict[str, Answer]) -> dict[str, str]:
        """Union-find over all pairs of different keys; maps each key to its class's root."""
        keys = sorted(answers)
        parents = {key: key for key in keys}
        allowance = self._allow()

        def root(key: str) -> str:
            while parents[key] != key:
                parents[key] = key = parents[parents[key]]
            return key

        for first, second in itertools.combinations(keys, 2):
            one, other = root(first), root(second)
            if one != other and self._same(answers[first], answers[second], allowance):
                parents[max(one, other)] = min(one, other)
        return {key: root(key) for key in keys}

    def _same_keys(self, first: str, second: str, allowance: _Allowance) -> bool:
        """Whether two keys mean the same: numbers, words and lists at once, the rest by algebra."""
        if first == second:
            return True
        (name, one), (other_name, other) = split_name(first), split_name(second)
        if (name or other_name) and (
            _same_names(name, other_name) if name and other_name else "=" not in one + other
        ):
            return self._same_keys(one, other, allowance)
        if _is_plain(one) and _is_plain(other):
            return False
        if (elements := _pair(first, second)) is not None:
            return self._match(*elements, allowance)
        if is_literal(first) or is_literal(second) or not _is_algebra(first, second):
            return False
        pair = (min(first, second), max(first, second))
        with self._lock:
            if pair not in self._pairs:
                try:
                    self._pairs[pair] = self._decide(*pair, allowance)
                except WorkerLostError:
                    self._pairs[pair] = False
                except _UndecidedError:
                    return False
            return self._pairs[pair]

    def _match(
        self, one: list[str], other: list[str], ordered: bool, allowance: _Allowance
    ) -> bool:
        """Whether each element has one of the other list to itself."""
        if len(one) != len(other):
            return False
        if ordered:
            return all(self._same_keys(*pair, allowance) for pair in zip(one, other, strict=True))
        left = list(other)
        for element in one:
            met = next((its for its in left if self._same_keys(element, its, allowance)), None)
            if met is None:
                return False
            left.remove(met)
        return True

    def _decide(self, first: str, second: str, allowance: _Allowance) -> bool:
        one, other = self._evaluate(first, allowance), self._evaluate(second, allowance)
        if one and other:
            if one.exact and other.exact:
                return one.exact == other.exact
            if one.near != other.near:
                return _rounds_to(first, other.near) or _rounds_to(second, one.near)
        return self._ask(allowance, "same", first, second) is True

    def _evaluate(self, key: str, allowance: _Allowance) -> _Value | None:
        if is_number(key):
            number = Fraction(key)
            digits = Decimal(number.numerator) / Decimal(number.denominator)
            return _Value(key, f"{digits:.14e} 0" if number else "0 0")
        if key in self._hostile:
            raise WorkerLostError
        if key not in self._values:
            try:
                value = self._ask(allowance, "value", key)
            except WorkerLostError:
                self._hostile.add(key)
                raise
            if value is not None:
                exact, near = value
                exact = write_number(Fraction(exact)) if exact and "/" in exact else exact
                value = _Value(exact, near)
            self._values[key] = value
        return self._values[key]

    def _ask(self, allowance: _Allowance, *request: str) -> Any:
        if allowance.seconds <= 0 or allowance.epoch != self._epoch:
            raise _UndecidedError
        try:
            return self._algebra.ask(request)
        except WorkerLostError:
            if allowance.epoch != self._epoch:
                raise _UndecidedError from None
            raise
        finally:
            allowance.seconds -= self._algebra.spent


@functools.lru_cache(maxsize=4096)
def _read_reference(reference: str, type: AnswerType) -> Answer | None:
    return read_answer(reference, type)


@functools.lru_cache(maxsize=4096)
def _is_plain(key: str) -> bool:
    """Whether keys of this kind are equal only if they are identical."""
    return all(is_number(each) or is_literal(each) for each in split_list(split_name(key)[1]))


def _same_names(one: str, other: str) -> bool:
    """Whether two names are the same, ``y`` and ``f(x)`` included."""
    return one == other or all(
        each == "y" or re.fullmatch(r"\w\(\w\)", each) for each in (one, other)
    )


def _pair(first: str, second: str) -> tuple[list[str], list[str], bool] | None:
    """The elements of two lists, or of two tuples of one kind, and whether their order counts."""
    lists = split_list(first), split_list(second)
    if max(map(len, lists)) > 1:
        left, right = (split_joined(each[0]) if len(each) == 1 else each for each in lists)
        return left, right, False
    one, other = split_tuple(first), split_tuple(second)
    if one is None or other is None:
        return None
    return (one[1], other[1], True) if one[::2] == other[::2] else ([], [""], True)


def _is_algebra(first: str, second: str) -> bool:
    """Whether algebra may be asked: of points and intervals only beside a set or a relation."""
    tuples = [split_tuple(key) is not None for key in (first, second)]
    return not any(tuples) or _SET.search(second if tuples[0] else first) is not None


def _rounds_to(key: str, near: str) -> bool:
    """Whether a decimal of many digits is what an irrational number rounds to."""
    digits = len(key.replace("-", "").replace("0.", ""))
    if not is_number(key) or "/" in key or digits < _SIGNIFICANT:
        return False
    real, imaginary = map(Decimal, near.split())
    return imaginary == 0 and abs(Decimal(key) - real) <= abs(real) * _CLOSE


def _make_class(rows: Iterable[tuple[int, Answer, float]]) -> AnswerClass:
    rows = list(rows)
    spellings: defaultdict[str, float] = defaultdict(float)
    for _, answer, weight in rows:
        spellings[answer.text] += weight
    text = min(spellings, key=lambda spelling: (-spellings[spelling], len(spelling), spelling))
    answer = next(a for _, a, _ in rows if a.text == text)
    members = tuple(candidate for candidate, _, _ in rows)
    return AnswerClass(answer, members, math.fsum(weight for _, _, weight in rows))
