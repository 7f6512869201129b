"""Serves samples drawn earlier, through the ordinary engine protocol.

A policy that runs here is the one that runs live: it grows, limits, cancels and scores as ever,
and is charged the tokens that the recorded samples really had. Live branches advance in lockstep,
one token a decode step, over ``parallel`` slots, so that a cancellation costs what it would have
cost. Each request draws, without replacement, one of the question's recorded samples.

Not covered: only whole candidates from the root were recorded, and how those with a wrong sum went
on from there when it was corrected. So there are no steps and no other way to go on, and sampling
other than the recorded one is refused. No time passes: wall seconds in the ledger are those of the
simulation and mean nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ttc_cli.bench.pool import (
    RecordedMend,
    RecordedQuestion,
    RecordedSample,
    RecordedScore,
    Recording,
    row_key,
)
from ttc_cli.engines.base import Branch, Grow, Growth, Meter, Prompt, ScoreRow, States, Then, Until
from ttc_cli.engines.branches import BranchedSession, GrowthStream
from ttc_cli.errors import EngineError, UsageError
from ttc_cli.events import Grew
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import prompt_key
from ttc_cli.types import Finish, Role


class RecordedEngine:
    """An ``Engine`` over a ``Recording``; its information is the recorded model's.

    Args:
        recordings: what was drawn of one model, one for each form. The first gives the model's
            information.
        trajectory: another number serves the samples in another order.
        parallel: how many branches grow at once; None is what the live engine had.
        jump: go from one end of a candidate to the next at once where no cap asks for single
            steps. ``Grew`` events then come once a jump, not once a step: for thousands of runs.
    """

    def __init__(
        self,
        *recordings: Recording,
        trajectory: int = 0,
        parallel: int | None = None,
        jump: bool = False,
    ) -> None:
        samples = [
            sample
            for recording in recordings
            for question in recording.questions.values()
            for sample in question.samples
        ]
        info = recordings[0].info
        self.info = replace(
            info,
            name="recorded",
            parallel=parallel or info.parallel,
            scores=any(sample.scores for sample in samples),
            steps=False,
            states=next((len(each.states.last) for each in samples if each.states), 0),
        )
        self._recordings = recordings
        self.trajectory = trajectory
        self.jump = jump
        self.interrupted = False
        self._open: set[RecordedSession] = set()

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> RecordedSession:
        """Find the recorded samples of ``prompt``.

        Raises:
            UsageError: nothing was recorded for this prompt.
        """
        session = RecordedSession(self, self.find(prompt), meter, observe)
        self._open.add(session)
        return session

    def find(self, prompt: Prompt) -> _Source:
        """What was recorded of ``prompt``.

        Raises:
            UsageError: nothing was.
        """
        key = prompt_key(prompt)
        for recording in self._recordings:
            if key in recording.questions:
                return _Source(recording, recording.questions[key])
        raise UsageError(
            "The pool holds no samples for this prompt: the question, the chat template or "
            "the wording around it changed since it was recorded.",
            hint="ttc bench DATA draws a new one.",
        )

    def forget(self, session: RecordedSession) -> None:
        """Called by a session that closes."""
        self._open.discard(session)
        if not self._open:
            self.interrupted = False

    def interrupt(self) -> None:
        """End all growing, as ``Finish.CANCELLED``, until every session is closed."""
        self.interrupted = bool(self._open)

    def close(self) -> None:
        """Nothing is held."""


class _Source:
    """A recorded question, how it was drawn, and which of its samples nobody has taken."""

    def __init__(self, recording: Recording, question: RecordedQuestion) -> None:
        self.recording = recording
        self.question = question
        self.untaken = sorted(question.samples, key=lambda sample: sample.index)

    def take(self, order: str, seed: int) -> RecordedSample:
        """One of those left, as ``order`` and ``seed`` have it."""
        draw = random.Random(f"{order}:{self.question.key}:{seed}")
        return self.untaken.pop(draw.randrange(len(self.untaken)))


@dataclass(slots=True, eq=False)
class _Run:
    """A request under way or over: ``end`` is where it stops, ``grown`` where it is."""

    request: Grow
    sample: RecordedSample
    end: int
    ended: deque[Growth]
    grown: int = 0
    finish: Finish | None = None

    @property
    def whole(self) -> bool:
        """Whether it has grown as far as was recorded."""
        return self.grown >= self.sample.tokens

    def close(self, finish: Finish) -> None:
        """Report how it ended."""
        self.finish = finish
        self.ended.append(
            Growth(
                self.request.branch,
                self.request.label,
                self.sample.text_until(self.grown),
                self.grown,
                finish,
                self.sample.confidence if self.whole else None,
            )
        )


@dataclass(slots=True)
class _Place:
    """Where a branch of ``source`` stands: at the prompt, after ``run``, or before ``mend``.

    ``written`` is what is left of a candidate that was cut, before its correction is added.
    """

    source: _Source
    run: _Run | None = None
    mend: RecordedMend | None = None
    written: str | None = None


class RecordedSession(BranchedSession[_Place]):
    """One recorded question, in one form or several, and the candidates taken from it."""

    def __init__(
        self,
        engine: RecordedEngine,
        source: _Source,
        meter: Meter,
        observe: Callable[[Grew], None] | None,
    ) -> None:
        super().__init__(meter, _Place(source))
        self._engine = engine
        self._observe = observe
        self._read = source.question.prompt_tokens
        self._live: list[_Run] = []
        self._queue: deque[_Run] = deque()
        # Steps need no counting where none of them can be the one that reaches a cap.
        budget = meter.budget if isinstance(meter, Ledger) else None
        caps = budget and (budget.max_tokens, budget.max_flops, budget.max_seconds)
        self._jumps = engine.jump and caps == (None, None, None)
        self._charge_reading(Role.GENERATOR, self._read)

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """Find the recorded samples of a further prompt, and charge reading it.

        Raises:
            UsageError: nothing was recorded for it.
        """
        self._check_open()
        source = self._engine.find(prompt)
        self._read += source.question.prompt_tokens
        self._charge_reading(Role.GENERATOR, source.question.prompt_tokens)
        return self._keep(_Place(source))

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """Only the recorded correction can be added, to a candidate that was cut there or failed.

        Raises:
            UsageError: nothing was recorded for it.
        """
        place, added = self._path(branch), "".join(span.text for span in text)
        mend, written = place.mend, place.written
        if place.run is not None and place.run.whole:  # it goes on behind its end
            mend, written = place.run.sample.mended, place.run.sample.text
        if mend is None or written is None or written + added != mend.written:
            raise UsageError(
                "A recorded pool holds whole candidates: nothing can be added to them."
            )
        return self._keep(_Place(place.source, mend=mend))

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """The recorded states, of the prompt and of whole candidates.

        Those that were not pooled are charged as if they were read again. A candidate that was
        cut shorter than it was recorded gives None.

        Raises:
            UsageError: no hidden state was recorded for one of these.
        """
        await asyncio.sleep(0)
        late = self._engine.interrupted or bool(self.meter.exhausted())
        found: list[States | None] = []
        read = reused = 0
        for branch in branches:
            place = self._path(branch)
            run, question = place.run, place.source.question
            states = run.sample.states if run is not None else question.states
            pooled = run is not None and run.request.pool
            if (run is not None and not run.whole) or (late and not pooled):
                found.append(None)
                continue
            if states is None:
                raise UsageError("The pool holds no hidden states of this candidate.")
            found.append(states)
            if not pooled:
                again = run.grown if run is not None else 1
                read += again
                reused += question.prompt_tokens - (run is None)
        if read:
            self._charge_reading(Role.VERIFIER, read, reused)
        return found

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches at ``branch``; those of a grown one can be scored, not grown."""
        place = self._path(branch)
        return [self._keep(replace(place)) for _ in range(count)]

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A whole candidate can be cut where it was mended, and nowhere else.

        Raises:
            UsageError: nothing was recorded that goes on from there.
        """
        source, run = self._path(branch).source, self._path(branch).run
        mend = run.sample.mended if run is not None and run.whole else None
        written = run.sample.text.removesuffix(mark) if run is not None else ""
        if mend is None or not mark or not mend.written.startswith(written):
            raise UsageError("A recorded pool holds whole candidates: none can be cut.")
        return self._keep(_Place(source, mend=mend, written=written))

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Serve one untaken sample a request.

        Raises:
            UsageError: the recording cannot answer this truthfully: other sampling, a token limit
                beyond the recorded one, a step, a branch that has grown, or no sample left.
        """
        return GrowthStream(requests, then, self._submit, self._advance, self.cancel)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now, charged for what they had grown."""
        wanted = set(branches)
        self._end([run for run in self._running() if run.request.branch in wanted])

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of these."""
        wanted = set(branches)
        for run in self._running():
            if run.request.branch in wanted:
                run.end = max(run.grown, min(run.end, max_tokens))

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """The recorded probabilities, charged with the recorded suffix tokens.

        A candidate that was cut shorter than it was recorded gives ``()``: what a verifier said of
        the whole says nothing about a part. So does every row once a cap is reached.

        Raises:
            EngineError: this verifier's question was not recorded for this candidate.
        """
        await asyncio.sleep(0)
        if self._engine.interrupted or self.meter.exhausted():
            return [()] * len(rows)
        found: list[RecordedScore | None] = []
        reused = 0
        for row in rows:
            source, run = self._path(row.branch).source, self._path(row.branch).run
            score = run.sample.scores.get(row_key(row)) if run else None
            if run is None or score is None:
                raise EngineError(
                    "The pool holds no recorded score for this candidate and verifier question.",
                    hint="Use --verifier judge as it was when the pool was drawn.",
                )
            found.append(score if run.whole else None)
            reused += source.question.prompt_tokens + run.grown if run.whole else 0
        read = sum(score.suffix_tokens for score in found if score)
        if read:
            self._charge_reading(Role.VERIFIER, read, reused)
        return [score.probabilities if score else () for score in found]

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these; growing ones are cancelled first."""
        gone = set(branches) - {self.root}
        self.cancel(gone)
        for branch in gone:
            self._paths.pop(branch, None)

    async def _leave(self) -> None:
        self._end(self._running())
        self._engine.forget(self)

    async def _advance(self, ended: deque[Growth]) -> None:
        await asyncio.sleep(0)
        while not ended:
            self._step()

    def _step(self) -> None:
        """Decode until at least one run ends: or one step."""
        if self._engine.interrupted or self._closed:
            self._end(self._running())
            return
        while self._queue and len(self._live) < self._engine.info.parallel:
            self._live.append(self._queue.popleft())
        if self.meter.exhausted():
            self._end(self._running(), Finish.BUDGET)
            return
        least = min(run.end - run.grown for run in self._live)
        steps = least if self._jumps else min(least, 1)
        if steps:
            tokens = steps * len(self._live)
            self.meter.charge(
                Role.GENERATOR,
                generated_tokens=tokens,
                decode_calls=steps,
                flops=2.0 * self._engine.info.parameters * tokens,
            )
            self._report(steps)
            for run in self._live:
                run.grown += steps
        for run in [run for run in self._live if run.grown >= run.end]:
            self._end([run], run.sample.finish if run.whole else Finish.LENGTH)

    def _submit(self, requests: Sequence[Grow], ended: deque[Growth]) -> list[_Run]:
        """Take a sample for each of ``requests``; they report to ``ended``."""
        places = [self._check(request) for request in requests]
        if len({request.branch for request in requests}) < len(requests):
            raise UsageError("A branch can only grow once at a time.")
        fresh = Counter(place.source for place in places if place.mend is None)
        for source, wanted in fresh.items():
            held, left = len(source.question.samples), len(source.untaken)
            if wanted > left:
                raise UsageError(
                    f"The pool holds {held} samples of this question and "
                    f"{held - left if left else 'all'} are taken; {wanted} more were asked for.",
                    hint="ttc bench DATA --samples N draws more.",
                )
        runs = []
        for request, place in zip(requests, places, strict=True):
            if place.mend is not None:
                self._charge_reading(Role.GENERATOR, place.mend.read)
                sample = place.mend.sample
            else:
                sample = place.source.take(str(self._engine.trajectory), request.seed)
            place.run = _Run(request, sample, min(request.max_tokens, sample.tokens), ended)
            place.mend = None
            runs.append(place.run)
        self._queue.extend(runs)
        return runs

    def _check(self, request: Grow) -> _Place:
        """Where the branch of ``request`` stands, if it can be served."""
        if request.until is Until.STEP:
            raise UsageError("A recorded pool holds whole candidates, not steps.")
        if request.grammar is not None:
            raise UsageError("A recorded pool holds what was drawn freely, not under a schema.")
        place = self._path(request.branch)
        recording = place.source.recording
        if place.run is not None or place.written is not None or request.branch is self.root:
            raise UsageError("A recorded pool can grow a fork of the prompt once, nothing else.")
        if request.sampling != recording.sampling:
            raise UsageError(
                f"The pool was drawn with {recording.sampling}, not {request.sampling}."
            )
        if request.max_tokens > recording.max_tokens:
            raise UsageError(
                f"The pool was drawn with at most {recording.max_tokens} tokens a candidate; "
                f"{request.max_tokens} cannot be served from it.",
            )
        return place

    def _charge_reading(self, role: Role, tokens: int, reused: int = 0) -> None:
        self.meter.charge(
            role,
            prompt_tokens=tokens,
            reused_tokens=reused,
            decode_calls=1,
            flops=2.0 * self._engine.info.parameters * tokens,
        )

    def _running(self) -> list[_Run]:
        return [*self._live, *self._queue]

    def _end(self, runs: Sequence[_Run], finish: Finish = Finish.CANCELLED) -> None:
        for run in runs:
            if run in self._live:
                self._live.remove(run)
            else:
                self._queue.remove(run)
            run.close(finish)

    def _report(self, steps: int) -> None:
        if self._observe is None:
            return
        texts = {
            run.request.label: run.sample.text_until(run.grown + steps)[
                len(run.sample.text_until(run.grown)) :
            ]
            for run in self._live
        }
        used = self._read + sum(run.grown + steps for run in self._live)
        info = self._engine.info
        self._observe(Grew(texts, len(self._live), len(self._queue), used, info.context))
