"""The forms by name. ``auto`` is not one of them: it is the policy that mixes them.

ttc's own are listed in ``builtin``. A form, its own or another package's (``plugins``), is imported
when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ttc_cli import plugins
from ttc_cli.builtin import FORMS
from ttc_cli.errors import TtcError
from ttc_cli.forms.base import FormEntry, Interpreter, Reading, Written
from ttc_cli.types import Answer, Candidate, Execution, Message, Problem


def entries(warn: Callable[[str], None] = lambda text: None) -> tuple[FormEntry, ...]:
    """Every form; calls ``warn`` for those of other packages that cannot be loaded."""
    others = plugins.load_all(plugins.FORMS, FormEntry, ("auto", *FORMS), warn)
    return (*map(find, FORMS), *(_guard(plugin, entry) for plugin, entry in others))


def find(name: str) -> FormEntry:
    """The form called ``name``.

    Raises:
        UsageError: it is unknown, or another package's and cannot be loaded.
    """
    return plugins.find_entry(plugins.FORMS, name, FormEntry, FORMS, _guard, also=("auto",))


def _guard(plugin: plugins.Plugin, entry: FormEntry) -> FormEntry:
    """``entry`` so that an error of its package costs one candidate its answer, and no more.

    That candidate's ``Execution`` says what failed. A question that it cannot ask is refused.
    """
    failed = f"{plugin} failed: "

    def ask(problem: Problem) -> list[Message]:
        try:
            messages = entry.ask(problem)
            if not messages or not all(isinstance(each, Message) for each in messages):
                raise TypeError("it gave no list of messages")
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            raise plugins.refuse(plugin, f"{type(error).__name__}: {error}") from error
        return list(messages)

    async def read(written: Written, interpreter: Interpreter) -> Reading:
        try:
            reading = await entry.read(written, interpreter)
            if not isinstance(reading, Reading):
                raise TypeError(f"it returned {type(reading).__name__}, not Reading")
            if not isinstance(reading.answer, (Answer, type(None))):
                raise TypeError(f"its answer is {type(reading.answer).__name__}, not Answer")
        except Exception as error:
            return Reading(None, Execution("", f"{failed}{type(error).__name__}: {error}"))
        return reading

    def retry(candidate: Candidate) -> str | None:
        if candidate.ran is not None and candidate.ran.error.startswith(failed):
            return None
        try:
            told = entry.retry(candidate)
        except Exception:
            return None
        return told if isinstance(told, str) else None

    return replace(entry, ask=ask, read=read, retry=retry)
