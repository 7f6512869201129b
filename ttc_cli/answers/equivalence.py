"""Which answers mean the same: plain keys first, algebra in a worker process where they differ."""

from __future__ import annotations

import itertools
import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from ttc_cli.answers.algebra import Algebra, WorkerLostError
from ttc_cli.answers.extract import read_answer
from ttc_cli.answers.normalise import is_literal, is_number
from ttc_cli.types import Answer, AnswerClass, AnswerType

_ALGEBRAIC = {AnswerType.NUMBER, AnswerType.LATEX}
"""Two different keys of these may still mean the same."""


class _UndecidedError(Exception):
    """The call was interrupted or spent its allowance before a pair was decided."""


@dataclass(slots=True)
class _Allowance:
    """What one call may still take: CPU seconds, until the next interruption."""

    seconds: float
    epoch: int


class Comparer:
    """Decides which answers mean the same; owns the worker process, which starts when needed.

    Plain numbers, choices, yes/no, texts, programs and JSON are decided by their keys. Two
    different expressions are a matter for math-verify in a worker, which is killed and started
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
        self._values: dict[str, str | None] = {}
        self._pairs: dict[tuple[str, str], bool] = {}
        self._hostile: set[str] = set()

    def __enter__(self) -> Comparer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to load the algebra (a second of CPU time) and return at once."""
        with self._lock:
            self._algebra.start()

    def interrupt(self) -> None:
        """End the calls under way; what they had not decided counts as different, for them.

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
        return len(keys) < 2 or all(is_number(key) or is_literal(key) for key in keys)

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
        expected = read_answer(reference, answer.type)
        return expected is not None and self.same(answer, expected)

    def _allow(self) -> _Allowance:
        return _Allowance(self._call_seconds, self._epoch)

    def _same(self, first: Answer, second: Answer, allowance: _Allowance) -> bool:
        if first.key == second.key:
            return True
        if not {first.type, second.type} <= _ALGEBRAIC:
            return False
        one, other = sorted((first.key, second.key))
        return self._same_keys(one, other, allowance)

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
        if (is_number(first) and is_number(second)) or is_literal(first) or is_literal(second):
            return False
        shapes = {_shape(first), _shape(second)}
        if len(shapes) == 2 and ("" not in shapes or is_number(first) or is_number(second)):
            return False  # math-verify takes tuples and sets for each other
        with self._lock:
            pair = (first, second)
            if pair not in self._pairs:
                try:
                    self._pairs[pair] = self._decide(first, second, allowance)
                except WorkerLostError:
                    self._pairs[pair] = False
                except _UndecidedError:
                    return False
            return self._pairs[pair]

    def _decide(self, first: str, second: str, allowance: _Allowance) -> bool:
        one, other = self._value(first, allowance), self._value(second, allowance)
        if one and other:
            if one.removeprefix("at ") != other.removeprefix("at "):
                return False
            if one == other and not one.startswith("at "):
                return True
        if (one or other) and ("=" in first or "=" in second):
            return False  # math-verify takes "x + y = 0" for its right-hand side
        return self._ask(allowance, "same", first, second) is True

    def _value(self, key: str, allowance: _Allowance) -> str | None:
        if is_number(key):
            return f"{float(key):.10e} {0.0:.10e}"
        if key in self._hostile:
            raise WorkerLostError
        if key not in self._values:
            try:
                value = self._ask(allowance, "value", key)
            except WorkerLostError:
                self._hostile.add(key)
                raise
            self._values[key] = value if isinstance(value, str) else None
        return self._values[key]

    def _ask(self, allowance: _Allowance, *request: str) -> object:
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


def _shape(key: str) -> str:
    if key[:1] in "([" and key[-1:] in ")]" and "," in key:
        return "tuple"
    return "set" if r"\pm" in key or ("," in key and "(" not in key) else ""


def _make_class(rows: Iterable[tuple[int, Answer, float]]) -> AnswerClass:
    rows = list(rows)
    spellings: defaultdict[str, float] = defaultdict(float)
    for _, answer, weight in rows:
        spellings[answer.text] += weight
    text = min(spellings, key=lambda spelling: (-spellings[spelling], len(spelling), spelling))
    answer = next(a for _, a, _ in rows if a.text == text)
    members = tuple(candidate for candidate, _, _ in rows)
    return AnswerClass(answer, members, math.fsum(weight for _, _, weight in rows))
