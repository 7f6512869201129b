r"""Programs: the model writes a short Python program, whose last printed line is the answer.

PAL (arXiv 2211.10435) and Program of Thoughts (2211.12588). The model's turn is begun with a fence:
without it models explain first, and then invent what their program prints. A candidate's text is
what was written after that fence, the closing one included. After a repair it holds several
blocks, each program followed by what came of it.
"""

from __future__ import annotations

import re

from ttc_cli.answers.printed import STATED, find_last_line, read_printed
from ttc_cli.forms.base import FormEntry, Interpreter, Reading, Written
from ttc_cli.forms.passages import BEGINNING, FENCE, OUTPUT, part_program
from ttc_cli.texts import fence_in
from ttc_cli.types import (
    PROGRAM,
    Answer,
    AnswerType,
    Candidate,
    Execution,
    Finish,
    Message,
    Problem,
)

_WRITE = "You solve problems by writing short Python programs."
_STEPS = "compute step by step, and end by printing"
_INSTRUCTIONS = {
    AnswerType.NUMBER: f"{_WRITE} Give each number of the question a telling name, {_STEPS} the "
    "final answer, a number only.",
    AnswerType.LATEX: f"{_WRITE} Give each number of the question a telling name, {_STEPS} the "
    "final answer alone, exactly as it should be stated. Use sympy where that helps.",
    AnswerType.CHOICE: f"{_WRITE} Give each number of the question a telling name, {_STEPS} the "
    "letter of the right option, and nothing else.",
    AnswerType.BOOLEAN: f"{_WRITE} Give each number of the question a telling name, {_STEPS} Yes "
    "or No.",
    AnswerType.TEXT: f"{_WRITE} Give each fact of the question a telling name, {_STEPS} the final "
    "answer in as few words as possible.",
}

TEMPERATURE = 0.6
MAX_RETRIES = 2
_MAX_TOLD = 300
"""Characters of an error or of an output that the model is shown."""


def ask(problem: Problem) -> list[Message]:
    """The conversation that asks for a program; the problem's own system text comes first.

    Raises:
        KeyError: a program cannot state answers of this type.
    """
    instruction = _INSTRUCTIONS[problem.answer_type]
    system = f"{problem.system}\n\n{instruction}" if problem.system else instruction
    return [Message("system", system), Message("user", problem.text)]


def find_program(text: str, finish: Finish = Finish.MARK) -> str | None:
    """The program that a candidate wrote, or its last one; None where it came to no end.

    It ends at the closing fence, or, where the model (or a server that swallows the fence) ended
    its turn without one, with the text.
    """
    last = text[text.rfind(f"\n{BEGINNING}") + 1 :].removeprefix(BEGINNING)
    program, fence, _ = last.partition(FENCE)
    if not fence and finish not in (Finish.STOP, Finish.MARK):
        return None
    return _mend_indents(program) if program.strip() else None


def _mend_indents(program: str) -> str:
    """``program`` without single blanks in front of statements that stand in no block.

    Small models write them before names that their vocabulary has with a blank only: one program
    in a hundred.
    """
    if '"""' in program or "'''" in program:
        return program
    lines, inside = program.split("\n"), False
    for place, line in enumerate(lines):
        if line.startswith(" ") and line[1:2].strip() and not inside:
            lines[place] = line[1:]
        code = lines[place].partition("#")[0].rstrip()
        if code:
            ends = (code[-1], lines[place].rstrip()[-1])  # a # may stand in a string
            inside = code[0].isspace() or any(end in ":([{,\\" for end in ends)
    return "\n".join(lines)


async def read(written: Written, interpreter: Interpreter) -> Reading:
    """Run the program, and read the last line that it printed. One that failed has no answer."""
    code = find_program(written.text[written.thought :], written.finish)
    if code is None:
        return Reading(None)
    ran = await interpreter.run(code)
    return Reading(read_ran(ran, written.problem), ran)


def read_ran(ran: Execution, problem: Problem) -> Answer | None:
    """The answer of a program that ran so: the last line that it printed, unless it failed."""
    return None if ran.error else read_printed(ran.output, problem.answer_type, problem.text)


def retry(candidate: Candidate) -> str | None:
    """What its program came to, and the beginning of another; None where that is of no use.

    It goes behind the candidate's text, whether that ends in its closing fence, in a newline
    after it, or without one.
    """
    ran, text = candidate.ran, candidate.text
    if ran is None or candidate.answer is not None or count_retries(text) >= MAX_RETRIES:
        return None
    body = text.rstrip("\n")
    close = "" if body.endswith(FENCE) else f"\n{FENCE}"
    if not close:
        gap = "\n" * max(0, 2 - (len(text) - len(body)))
    else:
        close = close.removeprefix("\n" if text.endswith("\n") else "")
        gap = "\n\n"
    return f"{close}{gap}{OUTPUT}{_tell(ran)}\n{FENCE}\n\n{BEGINNING}"


def count_retries(text: str) -> int:
    """How many times a candidate of this text went on behind what its program came to."""
    return text.count(f"\n{OUTPUT}")


def _tell(ran: Execution) -> str:
    """The last line of the error, or the end of what was printed, without any fence in it."""
    told = find_last_line(ran.error) or ran.output.strip()[-_MAX_TOLD:] or "(nothing was printed)"
    return re.sub(r"[^\x20-\x7e\n]|`", _soften, told)[:_MAX_TOLD].strip()


def _soften(match: re.Match[str]) -> str:
    char = match[0]
    return "'" if char == "`" else char if char.isprintable() else " "


def show_solution(candidate: Candidate) -> str:
    """What ``candidate`` wrote after its thought; a program as a person checks it.

    That is the program that was run in a fenced block, and what it printed in another.
    """
    said = candidate.text[candidate.thought :].lstrip() if candidate.thought else candidate.text
    code = find_program(said, candidate.finish) if candidate.form == PROGRAM else None
    if code is None or candidate.ran is None:
        return said
    printed = "\n".join(each.text for each in part_program("", candidate.ran))
    return f"{fence_in(code, 'python')}\n\n{fence_in(printed, 'output')}"


PROGRAM_FORM = FormEntry(
    name=PROGRAM,
    summary="writes a short Python program, whose last printed line is the answer",
    ask=ask,
    read=read,
    beginning=BEGINNING,
    marks=(FENCE,),
    types=STATED,
    retry=retry,
    temperature=TEMPERATURE,
)
