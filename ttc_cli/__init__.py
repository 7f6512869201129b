"""ttc: small local language models that think harder exactly where it pays.

::

    import ttc_cli as ttc

    with ttc.load("qwen2.5-coder-0.5b") as solver:
        print(solver.solve("What is 17 * 23?").answer)

``load`` gives a ``Solver``; its ``solve`` answers a question, ``stream`` gives the events of a
search as they happen, ``solve_many`` answers many questions in one batch. Each has a coroutine of
the same name with an ``a`` before it. What goes wrong is a ``TtcError``. See docs/python.md.

Names are imported when they are first used: ``import ttc_cli`` itself takes no time.
"""

# Nothing is imported here, not even ``__future__``: ``python -m ttc_cli`` runs this before it takes
# the working folder, which may hold a module of any name, off the import path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ttc_cli import errors, events
    from ttc_cli.errors import TtcError
    from ttc_cli.solving.face import aload, load, solve
    from ttc_cli.solving.options import Asking, Loading
    from ttc_cli.solving.solver import Solver
    from ttc_cli.types import Answer, AnswerClass, AnswerType, Candidate, Problem, Result, Usage

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerClass",
    "AnswerType",
    "Asking",
    "Candidate",
    "Loading",
    "Problem",
    "Result",
    "Solver",
    "TtcError",
    "Usage",
    "aload",
    "errors",
    "events",
    "load",
    "solve",
]

_ROOMS = {
    "solving.face": ("aload", "load", "solve"),
    "solving.options": ("Asking", "Loading"),
    "solving.solver": ("Solver",),
    "errors": ("TtcError",),
    "types": ("Answer", "AnswerClass", "AnswerType", "Candidate", "Problem", "Result", "Usage"),
}


def __getattr__(name: str) -> object:
    import importlib

    for room, names in _ROOMS.items():
        if name in names:
            found: object = getattr(importlib.import_module(f"{__name__}.{room}"), name)
            return found
    if name in ("errors", "events"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
