"""Asks the questions of a batch, several at once on one engine, each answer written as it ends.

Each question under way has a share of the engine's branches, so that what is found for it hangs
on itself, its seed and the size of the shares, and not on who is asked beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli import crash
from ttc_cli.errors import PromptTooLong, TtcError, UsageError
from ttc_cli.events import Event, EventStream, Warned
from ttc_cli.output import Output
from ttc_cli.signals import Interruption
from ttc_cli.solving import choosing as planning
from ttc_cli.solving import loading as searching
from ttc_cli.solving import solver as thinking
from ttc_cli.solving.batch.answers import Answers, open_answers
from ttc_cli.solving.batch.progress import Progress, Tally, show_progress
from ttc_cli.solving.batch.questions import Question, Wording, fingerprint
from ttc_cli.solving.batch.rows import Failure, Id
from ttc_cli.solving.solver import Request, Thought

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer
    from ttc_cli.engines.base import Engine

BRANCHES = 4
"""Of a question's share by default: what ``auto`` begins with."""
IN_A_ROW = 2
"""Failures of an engine in a row that are still taken for bad luck, with one question at once."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What ``--batch`` asks for. ``source`` is the file as it was named, ``output`` None stdout."""

    source: str
    questions: Sequence[Question]
    failures: Sequence[Failure]
    wording: Wording
    output: Path | None = None
    jobs: int | None = None
    min_score: float | None = None

    @property
    def longest(self) -> str:
        """The text that needs the most room."""
        return max((each.problem.text for each in self.questions), key=len, default="")


def answer_batch(
    batch: Batch, request: Request, path: Path, out: Output, interruption: Interruption, view: str
) -> int:
    """Ask all that is not answered yet, and return the exit code.

    Args:
        batch: the questions.
        request: all else that is asked for; its problem and seed are not used.
        path: the model's file.
        out: where progress and the summary go.
        interruption: must be installed; a first Ctrl-C leaves out the questions under way.
        view: ``tree`` shows a bar, ``plain`` a line now and then, ``none`` nothing.

    Raises:
        UsageError: as ``open_answers``.
        TtcError: the models cannot be loaded, or question after question fails.
        OSError: an answer cannot be written: a closed pipe, a full disk.
    """
    if batch.output is None and sys.stdout.isatty():
        view = "none"  # the rows themselves tell how far it is
    settings = fingerprint(_describe_settings(batch, request, path))
    prints = {str(each.id): each.fingerprint for each in batch.questions}
    broken = {str(each.id) for each in batch.failures}
    with open_answers(batch.output, settings, prints, broken, batch.source) as answers:
        if answers.failed:
            out.say(f"asked again, as they failed before: {len(answers.failed)}")
        todo = [each for each in batch.questions if str(each.id) not in answers.known]
        tally = Tally(batch.min_score, total=len(todo) + len(batch.failures))
        for row in answers.known.values():
            tally.count(row)
        with contextlib.ExitStack() as stack:
            # As in ``thinking.think``: the engine is closed after the event loop.
            stack.enter_context(crash.watched())
            run = _Run(request, answers, tally, settings, deque(todo))
            interruption.run(run.run(batch, path, out, interruption, view, stack))
        out.say(tally.word_summary(len(answers.known)))
        if interruption.happened:
            left = tally.total - tally.done
            again = "; the same command goes on from here" if answers.file is not None else ""
            out.say(f"stopped with {left} questions left{again}")
            return 130
        return tally.exit_code


def _describe_settings(batch: Batch, request: Request, path: Path) -> dict[str, Any]:
    """All that answers hang on, beside their questions and how many are asked at once."""
    served = request.server is not None
    return {
        "model": planning.label_model(request.model),
        "sha256": None if served else thinking.hash_file_of(request, path),
        "strategy": request.strategy,
        "knobs": dict(request.knobs),
        "verifiers": list(request.verifiers),
        "check_seconds": request.check_seconds,
        "samples": request.samples,
        "sampling": asdict(request.sampling),
        "budget": asdict(request.budget),
        "thinking": None if request.thinking is None else asdict(request.thinking),
        **batch.wording.describe(),
    }


@dataclass(slots=True)
class _Run:
    """One run over the questions ``todo``."""

    request: Request
    answers: Answers
    tally: Tally
    settings: str
    todo: deque[Question]
    in_a_row: int = 0

    async def run(
        self,
        batch: Batch,
        path: Path,
        out: Output,
        interruption: Interruption,
        view: str,
        stack: contextlib.ExitStack,
    ) -> None:
        with show_progress(out, view) as progress:
            for failure in batch.failures:
                self._write(_describe_failure(failure.id, failure.error), progress)
        if not self.todo:
            return
        loading = searching.start_loading(self.request, path, out)
        import ttc_cli.policy.run  # noqa: F401
        from ttc_cli.answers import Comparer

        loaded = await loading
        stack.callback(loaded.close)
        out.status("")
        if self.request.server is not None:
            from ttc_cli.solving import serving

            serving.tell_limits(loaded.engine, out)
            stack.callback(serving.tell_trouble, loaded.engine, out)
        ground = searching.survey(self.request, path, loaded)
        with (
            _stopping(interruption, loaded),
            Comparer() as comparer,
            show_progress(out, view) as progress,
        ):
            await self._ask_all(batch.jobs, ground, comparer, progress)

    async def _ask_all(
        self,
        wanted: int | None,
        ground: searching.Ground,
        comparer: Comparer,
        progress: Progress,
    ) -> None:
        from ttc_cli.engines.share import EngineShare
        from ttc_cli.models import hardware

        whole = ground.loaded.engine
        parallel = whole.info.parallel
        jobs = min(wanted or max(1, parallel // BRANCHES), parallel)
        if len(ground.loaded.all) > 1 and jobs > 1:
            # An engine decodes when every run waits for it: one that grows on the generator and
            # one that asks the verifier's model would wait for each other for ever.
            jobs = 1
            if wanted is not None:
                progress.warn("a verifier's own model is asked for one question at once")
        share: Engine = EngineShare(whole, parallel // jobs)
        checks = max(1, hardware.count_cores() // jobs)
        warned: set[str] = set()

        def hear(event: Event) -> None:
            if isinstance(event, Warned) and event.message not in warned:
                warned.add(event.message)
                progress.warn(event.message)

        async def ask(question: Question) -> dict[str, Any] | None:
            own = replace(self.request, problem=question.problem, seed=question.seed)
            events = EventStream([hear])
            try:
                result = await searching.search(
                    own, ground, comparer, events, engine=share, checks=checks
                )
            except Exception as error:
                return None if ground.loaded.stopped.is_set() else self._note(question.id, error)
            if result.interrupted:
                return None
            self.in_a_row = 0
            prints = {"question": question.fingerprint, "settings": self.settings}
            described = thinking.describe(Thought(result, ()), own)
            return {"id": question.id, **described, "row": question.row, "fingerprint": prints}

        async def work() -> None:
            while self.todo and not ground.loaded.stopped.is_set():
                row = await ask(self.todo.popleft())
                if row is not None:
                    self._write(row, progress)
                    self._give_up(row, jobs)

        self.tally.started = time.monotonic()
        progress.tell(self.tally)
        await asyncio.gather(*(work() for _ in range(min(jobs, len(self.todo)))))

    def _note(self, id: Id, error: Exception) -> dict[str, Any]:
        """The row of a question that failed; whose fault it is decides whether to go on."""
        self.in_a_row = 0 if isinstance(error, UsageError | PromptTooLong) else self.in_a_row + 1
        return _describe_failure(id, error)

    def _give_up(self, row: dict[str, Any], jobs: int) -> None:
        """End a batch whose engine or server no question gets through any more."""
        if self.in_a_row <= max(IN_A_ROW, jobs):
            return
        again = "repeat the command when that is mended: it goes on from here"
        raise TtcError(
            f"{self.in_a_row} questions failed one after the other: {row['error']}",
            again if self.answers.file is not None else "with --output FILE a batch can be resumed",
        )

    def _write(self, row: dict[str, Any], progress: Progress) -> None:
        self.answers.append(row)
        self.tally.add(row)
        if row["type"] == "error":
            progress.say(f"question {row['id']}: {row['error']}")
        progress.tell(self.tally)


@contextmanager
def _stopping(interruption: Interruption, loaded: searching.Loaded) -> Iterator[None]:
    """A first Ctrl-C ends what grows on ``loaded`` while this is open."""
    interruption.stop = loaded.interrupt
    try:
        yield
    finally:
        interruption.rest()


def _describe_failure(id: Id, error: Exception) -> dict[str, Any]:
    if not isinstance(error, TtcError):
        error = TtcError(
            f"The question failed in a way that ttc did not expect: {type(error).__name__}: "
            f"{error}",
            "ttc solve with this question alone and TTC_DEBUG=1 shows where",
        )
    return {
        "id": id,
        "type": "error",
        "error": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
