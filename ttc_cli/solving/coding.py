"""Whether a model that nothing was measured about writes programs: a test, once for each model.

``auto`` draws a program beside prose where the model's policy says so. A model without a policy is
asked two tiny questions in program form, at temperature 0: both programs must run and print the
right number. What came of it is kept in the cache, by the model's file and by how it is asked.

A server's model is not tested: it may be another one tomorrow, nothing tells, and what is asked of
a server may cost money. A model that thinks is not either: the thought is what its answers cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from ttc_cli import paths
from ttc_cli.answers import Comparer, resolve
from ttc_cli.engines.base import Engine
from ttc_cli.errors import TtcError
from ttc_cli.forms import registry as forms
from ttc_cli.forms.base import Interpreter
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.table import PROGRAMS, SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.runs.resuming import identify_file
from ttc_cli.search.sessions.thinking import find_opened_thought
from ttc_cli.solving.request import Request
from ttc_cli.types import PROGRAM, AnswerType, Budget, Problem, Result

TOKENS = 128
"""The longest program of the test; models that comment each line take 100."""
MAX_KNOWN = 200
"""Models whose outcome is remembered; the oldest is forgotten first."""
_QUESTIONS = (
    (
        "Tom has 3 apples and buys 4 bags of 5 apples. How many apples does he have now?",
        "23",
    ),
    (
        "A tank holds 240 litres. First 25% of it is used, then a third of what is left. How many "
        "litres are left?",
        "120",
    ),
)


def is_open(request: Request, table: Table) -> bool:
    """Whether it matters to ``request`` if its model writes programs, and nothing says so.

    ``table`` is from ``measured.find_table``. Programs stand beside prose, never in its place: a
    single candidate is in prose.
    """
    if 1 in (request.samples, request.budget.max_samples):
        return False
    free = request.form == "auto" and request.strategy == "auto" and table is SHIPPED
    tested = request.server is None and request.thinking is None and request.model.path is not None
    return free and tested and PROGRAMS.suits(resolve(request.problem).answer_type)


def recall(request: Request, chat: Chat) -> bool | None:
    """What the test of this model showed; None where it was never made, False where it cannot be.

    It cannot where the file is not to be read, the template cannot ask for a program, or it opens
    a thought.
    """
    name = _name(request, chat)
    return _read_known().get(name) if name else False


async def find_out(
    request: Request, chat: Chat, engine: Engine, interpreter: Interpreter, comparer: Comparer
) -> tuple[bool, str]:
    """Whether the model writes programs, and what to tell the user where that was tested now.

    Where the test was interrupted, or nothing runs programs here, the model counts as one that
    writes none, and is tested again another time.
    """
    known = recall(request, chat)
    if known is not None or not engine.info.marks:
        return known or False, ""
    began = time.monotonic()
    found = await _test(engine, chat, interpreter, comparer)
    if found is None:
        return False, ""
    _remember(_name(request, chat), found)
    seconds = time.monotonic() - began
    outcome = "it does, so auto draws one beside prose" if found else "auto draws none of them"
    said = f"{request.label} was tested, once, for writing programs ({seconds:.1f} s): {outcome}"
    return found, said


async def _test(
    engine: Engine, chat: Chat, interpreter: Interpreter, comparer: Comparer
) -> bool | None:
    """Whether both programs run and are right; None where that cannot be told."""
    stage = Stage(engine, chat, interpreter=interpreter)
    options = SearchOptions("greedy", budget=Budget(tokens_per_candidate=TOKENS), form=PROGRAM)

    async def ask(question: str) -> Result:
        problem = Problem(question, AnswerType.NUMBER)
        return await solve(problem, stage, options, comparer=comparer)

    asked = [asyncio.ensure_future(ask(question)) for question, _ in _QUESTIONS]
    try:
        results = await asyncio.gather(*asked)
    except TtcError:  # of the engine: the question itself will meet it, and say so
        return None
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    ran = [each.ran for result in results for each in result.candidates if each.ran is not None]
    if any(result.interrupted for result in results) or any(not each.interpreter for each in ran):
        return None
    rights = zip(results, (right for _, right in _QUESTIONS), strict=True)
    return all(comparer.grade(result.answer, right) for result, right in rights)


def _name(request: Request, chat: Chat) -> str:
    """What the outcome is kept under: the file, and how it is asked; empty where nothing is."""
    path, form = request.model.path, forms.find(PROGRAM)
    file = "" if path is None else identify_file(path)
    if not file:
        return ""
    try:
        opened = find_opened_thought(chat.render(form.ask(Problem("?", AnswerType.NUMBER))))
        return "" if opened else f"{file}-{form.hash_prompts(chat)}"
    except TtcError:  # the template cannot ask for a program
        return ""


def _read_known() -> dict[str, bool]:
    """What is remembered, by ``_name``, oldest first; absent or damaged is the same."""
    try:
        raw = json.loads(paths.coding_path().read_text(encoding="utf-8"))
        return {str(name): writes for name, writes in raw.items() if isinstance(writes, bool)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _remember(name: str, writes: bool) -> None:
    known = _read_known() | {name: writes}
    kept = dict(list(known.items())[-MAX_KNOWN:])
    file = paths.coding_path()
    with contextlib.suppress(OSError):  # then it is tested again next time
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.write_whole(file, json.dumps(kept, indent=1))
