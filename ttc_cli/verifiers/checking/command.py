"""The user's own check: the exit status of its command is the outcome reward of a candidate.

``--check 'pytest -q {file}'`` writes each candidate's program (or, without one, its stated
answer) to a file and runs the command on it; exit status 0 scores 1, any other 0. The
command is the user's, split once by ``shlex`` and never given to a shell; model text gets into
the file alone, not into an argument or a name.

Model-written code is hostile. A check runs in an empty folder of its own, without the user's
environment, with a time limit, limits on memory, files, processes and processor time, at the
lowest priority; its whole process group is killed at the end. Where bubblewrap works it also has
no network, no socket of another program's, a read-only file system and a process space of its own.
Without it Linux keeps it from most of that, but for reading the user's files. Where neither works
the code has the user's rights, and a process that leaves its group outlives the check by at most
its processor time. ``find_sandbox`` says which, and the command line warns.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shlex
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ttc_cli.answers.fences import find_blocks
from ttc_cli.answers.programs import pick_program
from ttc_cli.children import find_program
from ttc_cli.engines.base import Session
from ttc_cli.errors import UsageError
from ttc_cli.sanitise import clean
from ttc_cli.types import CHECK, AnswerType, Candidate, Problem, Score
from ttc_cli.verifiers.base import (
    CHECK_SECONDS,
    Leaf,
    Verifier,
    VerifierContext,
    VerifierEntry,
    WholeVerifier,
)
from ttc_cli.verifiers.checking.sandbox import (
    FILE,
    Checked,
    Command,
    count_processes,
    run_check,
)

REMARK = 1000
"""Characters of what a check printed that its remark holds, the last ones: that is where test
runners sum up and where a traceback names its error."""

SUFFIXES: Mapping[str, str] = {
    "bash": ".sh", "c": ".c", "c++": ".cpp", "cpp": ".cpp", "csharp": ".cs", "css": ".css",
    "go": ".go", "haskell": ".hs", "html": ".html", "java": ".java", "javascript": ".js",
    "js": ".js", "json": ".json", "julia": ".jl", "kotlin": ".kt", "lean": ".lean", "lua": ".lua",
    "ocaml": ".ml", "perl": ".pl", "php": ".php", "py": ".py", "python": ".py", "python3": ".py",
    "r": ".r", "ruby": ".rb", "rust": ".rs", "scala": ".scala", "sh": ".sh", "sql": ".sql",
    "swift": ".swift", "ts": ".ts", "typescript": ".ts", "xml": ".xml", "yaml": ".yaml",
}  # fmt: skip
"""The file's ending by a fence's language; anything else, and an answer, is ``.txt``."""


def read_command(text: str) -> Command:
    """Split ``text`` as a shell would and make its program and scripts findable from anywhere.

    A check does not run in the user's folder. So the program, and an argument that names a file
    there by a path with a slash or a script's ending (``check.py``), become absolute paths.

    ``{file}`` or ``{file.py}`` stand where the file's path goes.

    Raises:
        UsageError: it is empty, its quotes do not match, ``{file}`` is missing, or there is no
            such program.
    """
    example = "Write it as: --check 'python3 check.py {file}'"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"The check {text!r} cannot be split: {error}.", example) from error
    if not words:
        raise UsageError("The check is empty.", example)
    if not any(FILE.search(word) for word in words[1:]):
        raise UsageError(
            f"The check {text!r} has no {{file}}: it would not see the candidates.", example
        )
    folder = Path.cwd()
    name = str(folder / words[0]) if os.sep in words[0] else words[0]
    program = find_program(name)
    if program is None:
        raise UsageError(f"There is no program {words[0]!r} to check with.", example)
    return Command((program, *(_locate(word, folder) for word in words[1:])))


def _locate(word: str, folder: Path) -> str:
    named = os.sep in word or Path(word).suffix in SUFFIXES.values()
    path = folder / word
    return str(path) if named and not FILE.search(word) and path.is_file() else word


def pick_content(candidate: Candidate) -> tuple[str, str]:
    """What of ``candidate`` is checked, and the ending of its file.

    An answer that is code or JSON; else the program in its text, its last fenced block, its
    stated answer, or all of its text.
    """
    text, stated = candidate.text[candidate.thought :], candidate.answer
    if stated is not None and stated.type is AnswerType.JSON:
        return stated.text + "\n", SUFFIXES["json"]
    blocks = find_blocks(text)
    block = pick_program(text) if blocks or stated is not None else None
    if stated is not None and stated.type is AnswerType.CODE:
        return stated.text + "\n", SUFFIXES.get(block.language if block else "", ".txt")
    if blocks:
        block = block or blocks[-1]
        return block.content, SUFFIXES.get(block.language, ".txt")
    return (text if stated is None else stated.text) + "\n", ".txt"


def word_failure(found: Checked, seconds: float) -> str:
    """What a check that failed says, for the model and for a person: how it ended, what it printed.

    Empty where it passed. The printed text is what a program of the model's own may have written:
    cleaned and cut, but hostile. ``seconds`` was its time limit.
    """
    if found.passed:
        return ""
    if found.excess is not None:
        end = f"It used too much of its {found.excess} and was stopped"
    elif found.code is None:
        end = f"It took longer than {seconds:g} s and was stopped"
    else:
        end = f"It ended with {_name_end(found.code)}"
    output = found.output
    if found.folder:
        # Where it ran means nothing to anybody: of that path only the file's name stays.
        output = re.sub(rf"(?:/private)?{re.escape(found.folder)}/?", "", output)
    printed = _cut(clean(output).strip())
    return f"{end}. It printed:\n\n{printed}" if printed else f"{end}. It printed nothing."


def _name_end(code: int) -> str:
    """An exit status in words; above 128 it stands for a signal where there is one of that number.

    That is how shells and bubblewrap pass on what ended the program within.
    """
    number = -code if code < 0 else code - 128
    try:
        return f"the signal {signal.Signals(number).name}" if number > 0 else f"exit status {code}"
    except ValueError:
        return f"exit status {code}"


def _cut(text: str) -> str:
    """The last ``REMARK`` characters of ``text``, from the beginning of a line if one is near."""
    if len(text) <= REMARK:
        return text
    kept = text[-REMARK:]
    _, found, lines = kept.partition("\n")
    return "…\n" + (lines if found and len(lines) > REMARK // 2 else kept)


class CommandVerifier(WholeVerifier):
    """Scores candidates by the exit status of the user's command.

    Args:
        command: from ``read_command``.
        seconds: time limit of one check; the run's own time cap holds beside it.
        sandbox: what ``find_sandbox`` said, or None to run without.
        parallel: checks that run at once.
        tells: whether scores say what the command printed. What a model wrote may read files and
            print them: a model elsewhere must not be told.
        stopped: set by whoever ends the run; checks under way are killed, others not begun.
    """

    name = CHECK

    def __init__(
        self,
        command: Command,
        *,
        seconds: float = CHECK_SECONDS,
        sandbox: str | None,
        parallel: int = 1,
        tells: bool = True,
        stopped: threading.Event | None = None,
    ) -> None:
        self._command = command
        self._seconds = seconds
        self._sandbox = sandbox
        self._parallel = max(1, parallel)
        self._tells = tells
        self._stopped = stopped or threading.Event()
        self._known: dict[int, dict[str, Score]] = {}

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """1 where the command exits with status 0, else 0; None where it did not get to it.

        That is where a cap or the user came first, and where the check could not be started, for
        which the candidate is not to blame. Equal contents are checked once per question. The
        remark on one that failed is what the command printed.

        Raises:
            UsageError: no check of the question could be started.
        """
        known = self._known.setdefault(id(session), {})
        keys, missing = [], {}
        for leaf in leaves:
            content, suffix = pick_content(leaf.candidate)
            data = content.encode("utf-8", "surrogatepass")
            suffix = self._command.suffix or suffix
            keys.append(hashlib.sha256(suffix.encode() + b"\0" + data).hexdigest())
            if keys[-1] not in known:
                missing[keys[-1]] = (data, suffix)
        gate = asyncio.Semaphore(self._parallel)
        processes = count_processes() if missing else None
        unstarted = ""

        async def check(key: str, data: bytes, suffix: str) -> None:
            nonlocal unstarted
            async with gate:
                left = session.meter.remaining_seconds()
                limit = self._seconds if left is None else min(self._seconds, left)
                if limit <= 0 or session.meter.exhausted() or self._stopped.is_set():
                    return
                found = await run_check(
                    self._command,
                    data,
                    suffix,
                    seconds=limit,
                    sandbox=self._sandbox,
                    processes=processes,
                    stopped=self._stopped,
                )
            if found.code is None and (limit < self._seconds or self._stopped.is_set()):
                return  # the run ended, not the check's time
            if not found.started:
                end = f"not in {limit:g} s" if found.code is None else f"exit status {found.code}"
                unstarted = found.output.strip().rpartition("\n")[2] or end
                return
            remark = word_failure(found, limit) if self._tells else ""
            known[key] = Score(self.name, float(found.passed), remark=remark)

        await asyncio.gather(*(check(key, *each) for key, each in missing.items()))
        if unstarted and not known:
            raise UsageError(
                f"The check could not be started: {self._command.words[0]}: {unstarted}.",
                "Try the command by itself; what its sandbox needs is in docs/verifiers.md.",
            )
        return [known.get(key) for key in keys]

    async def leave(self, session: Session) -> None:
        """Forget the results."""
        self._known.pop(id(session), None)


def _make(context: VerifierContext, argument: str | None) -> Verifier:
    if not argument:
        raise UsageError("A check needs its command.", "--check 'python3 check.py {file}'")
    return CommandVerifier(
        read_command(argument),
        seconds=context.check_seconds,
        sandbox=context.sandbox,
        parallel=context.parallel,
        tells=context.engine is None or not context.engine.info.elsewhere,
        stopped=context.stopped,
    )


CHECK_COMMAND = VerifierEntry(
    CHECK,
    _make,
    "your own command's exit status",
    "whole",
    "no tokens; the command's time",
    "COMMAND",
    check=lambda argument: read_command(argument or ""),
)
