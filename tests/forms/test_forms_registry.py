"""The forms by name, and those of other packages, which cost one candidate its answer at most."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ttc_cli.builtin import FORMS
from ttc_cli.errors import UsageError
from ttc_cli.forms import registry
from ttc_cli.forms.base import FormEntry, Written
from ttc_cli.prompts import build_messages
from ttc_cli.types import AnswerType, Candidate, Execution, Finish, Problem

FORM = """
from ttc_cli.answers import read_answer
from ttc_cli.errors import TtcError
from ttc_cli.forms.base import FormEntry, Reading
from ttc_cli.prompts import Message
def ask(problem):
    return [Message("user", problem.text)]
async def read(written, interpreter):
    return Reading(read_answer(written.text, written.problem.answer_type))
async def fail(written, interpreter):
    raise ZeroDivisionError("by nothing")
async def refuse(written, interpreter):
    raise TtcError("not today")
async def give_text(written, interpreter):
    return "4"
async def give_bare(written, interpreter):
    return Reading("4")
own = FormEntry("own", "bare", ask, read, retry=lambda candidate: "go on")
failing = FormEntry("failing", "fails", ask, fail, retry=lambda candidate: "go on")
refusing = FormEntry("refusing", "refuses", ask, refuse)
texts = FormEntry("texts", "no reading", ask, give_text)
bare = FormEntry("bare", "no answer", ask, give_bare)
mute = FormEntry("mute", "asks nothing", lambda problem: [], read, retry=lambda candidate: 1 / 0)
lost = FormEntry("lost", "cannot ask", lambda problem: problem.nothing, read)
program = FormEntry("program", "takes a name", ask, fail)
"""
PROBLEM = Problem("What is 2+2?", AnswerType.NUMBER)
WRITTEN = Written(PROBLEM, "4", Finish.STOP)


class Interpreter:
    async def run(self, code: str) -> Execution:
        raise AssertionError


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a package of forms into the path."""

    def run(*names: str, source: str = FORM) -> None:
        (tmp_path / "others.py").write_text(source)
        about = tmp_path / "others-1.0.dist-info"
        about.mkdir()
        about.joinpath("METADATA").write_text("Name: others\nVersion: 1.0\n")
        lines = "".join(f"{name} = others:{name}\n" for name in names)
        about.joinpath("entry_points.txt").write_text(f"[ttc.forms]\n{lines}")
        monkeypatch.delitem(sys.modules, "others", raising=False)
        monkeypatch.syspath_prepend(str(tmp_path))

    return run


def test_each_bears_the_name_it_is_listed_by() -> None:
    assert [each.name for each in registry.entries()] == list(FORMS) == ["prose", "program"]
    assert all(registry.find(name).name == name for name in FORMS)


def test_an_unknown_one_is_told_of_the_others(install: Callable[..., None]) -> None:
    with pytest.raises(UsageError, match="no form called 'progam'") as caught:
        registry.find("progam")
    assert "Did you mean program?" in (caught.value.hint or "")
    install("own", source="import no_such_module")
    with pytest.raises(UsageError) as caught:
        registry.find("zzz")
    assert "auto, prose, program, own" in (caught.value.hint or "")
    with pytest.raises(UsageError, match=r"others 1\.0 cannot be used: Module"):
        registry.find("own")


def test_one_of_another_package_is_used(install: Callable[..., None]) -> None:
    install("own")
    form = registry.find("own")
    assert [each.content for each in form.ask(PROBLEM)] == ["What is 2+2?"]
    answer = asyncio.run(form.read(WRITTEN, Interpreter())).answer
    assert answer is not None
    assert answer.key == "4"
    assert form.retry(Candidate(0, "x", 1, Finish.STOP)) == "go on"
    assert [each.name for each in registry.entries()] == ["prose", "program", "own"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("failing", "ZeroDivisionError: by nothing"),
        ("refusing", "TtcError: not today"),
        ("texts", "it returned str, not Reading"),
        ("bare", "its answer is str, not Answer"),
    ],
)
def test_one_that_fails_costs_a_candidate_its_answer(
    install: Callable[..., None], name: str, why: str
) -> None:
    install(name)
    form = registry.find(name)
    reading = asyncio.run(form.read(WRITTEN, Interpreter()))
    assert reading.answer is None
    assert reading.ran is not None
    assert reading.ran.error.startswith(f"the form {name} of the package others 1.0 failed: ")
    assert reading.ran.error.endswith(why)
    assert form.retry(Candidate(0, "x", 1, Finish.STOP, ran=reading.ran)) is None


def test_one_that_cannot_ask_is_refused(install: Callable[..., None]) -> None:
    install("mute", "lost")
    for name, why in (("mute", "no list of messages"), ("lost", "AttributeError")):
        with pytest.raises(UsageError, match=why):
            registry.find(name).ask(PROBLEM)
    assert registry.find("mute").retry(Candidate(0, "x", 1, Finish.STOP)) is None


def test_none_takes_a_name_of_ttcs(install: Callable[..., None]) -> None:
    install("program")
    warned: list[str] = []
    assert [each.name for each in registry.entries(warned.append)] == ["prose", "program"]
    assert "ttc has a form of that name itself" in warned[0]
    assert "Python" in registry.find("program").ask(PROBLEM)[0].content


@pytest.mark.parametrize("marks", [("",), "```", ("```", "")])
def test_marks_are_texts(marks: tuple[str, ...]) -> None:
    prose = registry.find("prose")
    with pytest.raises(ValueError, match="marks"):
        FormEntry("x", "y", build_messages, prose.read, marks=marks)
