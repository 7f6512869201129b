"""Asks the questions of a batch, several at once on one engine, each answer written as it ends."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import PromptTooLong, TtcError, UsageError
from ttc_cli.events import Event, Warned
from ttc_cli.models import files
from ttc_cli.output import Output
from ttc_cli.signals import Interruption
from ttc_cli.solving.batch.answers import Answers, open_answers
from ttc_cli.solving.batch.progress import Progress, Tally, show_progress
from ttc_cli.solving.batch.questions import Question, Wording, fingerprint
from ttc_cli.solving.batch.rows import Failure, Id
from ttc_cli.solving.request import Request
from ttc_cli.solving.running import opening
from ttc_cli.types import Result
from ttc_cli.views.jsonl import result_json

if TYPE_CHECKING:
    from ttc_cli.solving.solver import Solver

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
    batch: Batch, request: Request, out: Output, interruption: Interruption, view: str
) -> int:
    """Ask all that is not answered yet, and return the exit code.

    ``request`` is everything else that is asked; its problem and seed are not used.
    ``interruption`` must be installed: a first Ctrl-C leaves out the questions under way. ``view``
    is as for ``show_progress``.

    Raises:
        UsageError: as ``open_answers``.
        TtcError: the models cannot be loaded, or question after question fails.
        OSError: an answer cannot be written: a closed pipe, a full disk.
    """
    if batch.output is None and sys.stdout.isatty():
        view = "none"  # the rows themselves tell how far it is
    settings = fingerprint(_describe_settings(batch, request))
    prints = {str(each.id): each.fingerprint for each in batch.questions}
    broken = {str(each.id) for each in batch.failures}
    with open_answers(batch.output, settings, prints, broken, batch.source) as answers:
        if answers.failed:
            out.say(f"asked again because they failed before: {len(answers.failed)}")
        todo = [each for each in batch.questions if str(each.id) not in answers.known]
        tally = Tally(batch.min_score, total=len(todo) + len(batch.failures))
        for row in answers.known.values():
            tally.count(row)
        with opening(request, out, interruption) as open_solver:
            run = _Run(request, answers, tally, settings, todo)
            interruption.run(run.run(batch, out, view, open_solver))
        out.say(tally.word_summary(len(answers.known)))
        if interruption.happened:
            left = tally.total - tally.done
            again = "; the same command goes on from here" if answers.file is not None else ""
            out.say(f"stopped with {left} questions left{again}")
            return 130
        return tally.exit_code


def _describe_settings(batch: Batch, request: Request) -> dict[str, Any]:
    """All that answers depend on, beside their questions and how many are asked at once."""
    return {
        "model": request.label,
        "sha256": None if request.server is not None else files.read_hash(request.model),
        "strategy": request.strategy,
        "knobs": dict(request.knobs),
        "verifiers": list(request.verifiers),
        # Files that were begun before there were forms go on under auto, as under a new policy.
        **({} if request.form == "auto" else {"form": request.form}),
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
    todo: Sequence[Question]
    in_a_row: int = 0

    async def run(
        self, batch: Batch, out: Output, view: str, open_solver: Callable[[], Awaitable[Solver]]
    ) -> None:
        with show_progress(out, view) as progress:
            for failure in batch.failures:
                self._write(_describe_failure(failure.id, failure.error), progress)
        if not self.todo:
            return
        solver = await open_solver()
        with show_progress(out, view) as progress:
            await self._ask_all(solver, batch.jobs, progress)

    async def _ask_all(self, solver: Solver, jobs: int | None, progress: Progress) -> None:
        warned: set[str] = set()

        def hear(event: Event) -> None:
            if isinstance(event, Warned) and event.message not in warned:
                warned.add(event.message)
                progress.warn(event.message)

        self.tally.started = time.monotonic()
        progress.tell(self.tally)
        requests = (
            replace(self.request, problem=each.problem, seed=each.seed) for each in self.todo
        )
        async with contextlib.aclosing(solver.answer_many(requests, jobs, hear)) as ended:
            async for place, outcome in ended:
                question = self.todo[place]
                if isinstance(outcome, Exception):
                    row = self._note(question.id, outcome)
                elif outcome.interrupted:
                    continue
                else:
                    self.in_a_row = 0
                    row = self._describe(question, outcome)
                self._write(row, progress)
                self._give_up(row, solver.count_jobs(jobs))

    def _describe(self, question: Question, result: Result) -> dict[str, Any]:
        prints = {"question": question.fingerprint, "settings": self.settings}
        told = result_json(
            result, question=question.problem.text, model=self.request.label, seed=question.seed
        )
        return {"id": question.id, **told, "row": question.row, "fingerprint": prints}

    def _note(self, id: Id, error: Exception) -> dict[str, Any]:
        """The row of a question that failed; whose fault it is decides whether to go on."""
        self.in_a_row = 0 if isinstance(error, UsageError | PromptTooLong) else self.in_a_row + 1
        return _describe_failure(id, error)

    def _give_up(self, row: dict[str, Any], jobs: int) -> None:
        """End a batch whose engine or server no question gets through any more."""
        if self.in_a_row <= max(IN_A_ROW, jobs):
            return
        again = "repeat the command when that is fixed: it goes on from here"
        raise TtcError(
            f"{self.in_a_row} questions failed in a row: {row['error']}",
            again if self.answers.file is not None else "with --output FILE a batch can be resumed",
        )

    def _write(self, row: dict[str, Any], progress: Progress) -> None:
        self.answers.append(row)
        self.tally.add(row)
        if row["type"] == "error":
            progress.say(f"question {row['id']}: {row['error']}")
        progress.tell(self.tally)


def _describe_failure(id: Id, error: Exception) -> dict[str, Any]:
    if not isinstance(error, TtcError):
        error = TtcError(
            f"The question failed unexpectedly: {type(error).__name__}: {error}",
            "ttc solve with this question alone and TTC_DEBUG=1 shows where",
        )
    return {
        "id": id,
        "type": "error",
        "error": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
