"""Runs programs with pydantic-monty, an interpreter of a part of Python that reaches nothing.

It is run in a child of ttc's, not in ttc: its library begins threads that can abort the process
they are in when that ends; its workers write to stderr, and inherit the environment.

What a program needs that it does not have is told from ordinary faults by the error's type and
message (``find_lack``): these say by name what is missing, and CPython would have it.

Source: pydantic-monty 1.4, whose errors were read off by running programs.
"""

from __future__ import annotations

import builtins
import re
import sys
import threading
from pathlib import Path

from ttc_cli.forms.confined import Broken, Confined
from ttc_cli.forms.running import GONE, Job, Runner, read_told
from ttc_cli.types import Execution
from ttc_cli.verifiers.checking import sandbox

SECONDS = 2.0
MEMORY = 96 << 20
"""Bytes, of a program."""
DEPTH = 1000
"""Of its calls."""
GRACE = 3.0
"""Seconds more after which a child that does not answer is given up."""
EXTRAS = ("sympy", "mpmath", "numpy")
"""What CPython has here beside its own modules."""
_LIMITS = {"nice": 0, "core": 0, "fsize": 1 << 20, "nofile": 256, "data": 2 << 30}
_EXITS = re.compile(
    r"SystemExit(: 0)?|NameError: name '(exit|quit)' is not defined"
    r"|AttributeError: module 'sys' has no attribute 'exit'"
)
"""How a program ends that only wants to end."""
_LATE = "TimeoutError: feed time limit exceeded"
_FULL = re.compile(r"MemoryError: (memory limit exceeded|the worker exceeded its memory limit)")
_MODULE = re.compile(r"ModuleNotFoundError: No module named '(\w+)")
_MEMBER = re.compile(r"ImportError: cannot import name '(\w+)' from '([\w.]+)'")
_ATTRIBUTE = re.compile(r"AttributeError: module '([\w.]+)' has no attribute '(\w+)'")
_METHOD = re.compile(r"AttributeError: (?:type object )?'(\w+)' object has no attribute '(\w+)'")
_NAME = re.compile(r"NameError: name '(\w+)' is not defined")
_FEATURE = re.compile(r"NotImplementedError: The monty syntax parser does not yet support (.+)")
_PART = re.compile(
    r"\w+: (?P<what>.+?) (?:is|are) not (?:yet )?supported(?! in this environment)"
    r"|\w+: (?P<whole>.*(?:not yet support|not implemented).*)"
)
_INVERSE = "ValueError: pow() 2nd argument cannot be negative when 3rd argument specified"


def find_lack(error: str) -> str | None:
    """What of Python a program needs that monty has not, by its error; None: the fault is its own.

    A module that CPython has or that is installed with ttc; a member of one that monty has in part;
    a built-in name, or a method of a built-in type; syntax; an argument.
    """
    if found := _MODULE.match(error):
        known = found[1] in sys.stdlib_module_names or found[1] in EXTRAS
        return found[1] if known else None
    if found := _MEMBER.match(error):
        return f"{found[2]}.{found[1]}"
    if found := _ATTRIBUTE.match(error):
        return f"{found[1]}.{found[2]}"
    if found := _METHOD.match(error):
        kind = getattr(builtins, found[1], None)
        return (
            f"{found[1]}.{found[2]}" if isinstance(kind, type) and hasattr(kind, found[2]) else None
        )
    if found := _NAME.match(error):
        return found[1] if hasattr(builtins, found[1]) else None
    if found := _FEATURE.match(error):
        return found[1]
    if found := _PART.match(error):
        return found["what"] or found["whole"]
    return "pow with a negative exponent and a modulus" if error == _INVERSE else None


class Monty(Runner):
    """Runs programs with monty; a child serves many of them, one after another.

    Args:
        seconds: of one program.
    """

    name = "monty"

    def __init__(self, *, seconds: float = SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._own = threading.local()

    def _run(self, job: Job) -> Execution:
        child: Confined | None = getattr(self._own, "child", None)
        if child is None or child not in self._children:
            child = self._own.child = self._open(job)
        job.attend(child)
        request = {
            "code": job.code, "seconds": self._seconds, "memory": MEMORY, "depth": DEPTH,
        }  # fmt: skip
        try:
            told = child.ask(request, self._seconds + GRACE)
        except Broken as error:
            self._discard(child)
            return Execution("", self._late() if error.late else GONE, self.name)
        finally:
            job.attend(None)
        ran = read_told(told, self.name)
        return Execution(ran.output, self._translate(ran.error), self.name)

    def _late(self) -> str:
        return f"stopped after {self._seconds:g} s"

    def _translate(self, error: str) -> str:
        if error.startswith(_LATE):
            return self._late()
        if _FULL.match(error):
            return f"MemoryError: more than {MEMORY >> 20} MiB"
        return "" if _EXITS.fullmatch(error) else error

    def _open(self, job: Job) -> Confined:
        """A child that is ready: in the sandbox of a check, or else without one.

        What a sandbox shows of libraries is not what every system has, and monty needs no sandbox.

        Raises:
            Broken: neither is.
        """
        said: Broken | None = None
        for confinement in dict.fromkeys((sandbox.find_sandbox(), None)):
            child = self._hold(self._start(confinement))
            job.attend(child)
            try:
                child.wait()
            except Broken as error:
                self._discard(child)
                said = said or error
                if job.dropped:
                    break
            else:
                return child
        assert said is not None
        raise said

    def _start(self, confinement: str | None) -> Confined:
        binary = _find_binary()
        return Confined(
            "monty",
            sandbox=confinement,
            packages=("pydantic_monty", "typing_extensions"),
            limits=_LIMITS,
            environment={"LANG": "C.UTF-8", "MONTY_BIN": str(binary)},
            files=(binary,),
        )


def _find_binary() -> Path:
    """Where the package's program is.

    Raises:
        Broken: it is not here.
    """
    from importlib import metadata

    try:
        files = metadata.files("pydantic-monty-runtime") or ()
    except metadata.PackageNotFoundError as error:
        raise Broken("pydantic-monty is not installed") from error
    for each in files:
        if each.name == "monty":
            return Path(str(each.locate())).resolve()
    raise Broken("pydantic-monty has no program for this machine")
