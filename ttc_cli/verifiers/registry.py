"""The verifiers by name, and how ``--verifier NAME[=ARGUMENT][:WEIGHT]`` is read.

ttc's own are listed in ``builtin``. A verifier, its own or another package's (``plugins``), is
imported when it is asked for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from ttc_cli import plugins
from ttc_cli.builtin import VERIFIERS
from ttc_cli.engines.base import Session
from ttc_cli.errors import TtcError, UsageError
from ttc_cli.types import Score
from ttc_cli.verifiers.base import (
    Verifier,
    VerifierContext,
    VerifierEntry,
    WeightedVerifier,
    WrappedVerifier,
)

_SPEC = re.compile(r"(?P<name>[A-Za-z][\w.-]*)(?:=(?P<argument>.*?))?(?::(?P<weight>[0-9.]+))?")


@dataclass(frozen=True, slots=True)
class Spec:
    """One verifier as the user asked for it: ``judge``, ``prm=rlhflow-prm-8b``, ``judge:0.5``."""

    name: str
    argument: str | None = None
    weight: float = 1.0


def entries(warn: Callable[[str], None] = lambda text: None) -> tuple[VerifierEntry, ...]:
    """Every verifier; calls ``warn`` for those of other packages that cannot be loaded."""
    others = plugins.load_all(plugins.VERIFIERS, VerifierEntry, VERIFIERS, warn)
    return (*map(find, VERIFIERS), *(_guard(plugin, entry) for plugin, entry in others))


def find(name: str) -> VerifierEntry:
    """The verifier called ``name``.

    Raises:
        UsageError: it is unknown, or another package's and cannot be loaded.
    """
    return plugins.find_entry(plugins.VERIFIERS, name, VerifierEntry, VERIFIERS, _guard)


def _guard(plugin: plugins.Plugin, entry: VerifierEntry) -> VerifierEntry:
    """``entry`` so that no error of its package goes further than its scores."""

    def make(context: VerifierContext, argument: str | None) -> Verifier:
        try:
            return _GuardedVerifier(entry.make(context, argument), str(plugin))
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            raise plugins.refuse(plugin, f"{type(error).__name__}: {error}") from error

    return replace(entry, make=make)


class _GuardedVerifier(WrappedVerifier):
    """``verifier`` of another package: what it raises, and bad scores, become ``UsageError``.

    Searches warn of that and go on without it. Its properties are read once.

    Raises:
        AttributeError: it lacks one.
    """

    def __init__(self, verifier: Verifier, owner: str) -> None:
        super().__init__(verifier)
        self._owner = owner

    async def leave(self, session: Session) -> None:
        """As the verifier; a failure to clean up does not cost the answer."""
        with contextlib.suppress(Exception):
            await self.verifier.leave(session)

    async def _pass_on(
        self, scoring: Awaitable[list[Score | None]], count: int
    ) -> list[Score | None]:
        try:
            scores = list(await scoring)
            if len(scores) != count:
                raise ValueError(f"{len(scores)} scores for {count} candidates")
            for each in scores:
                if each is not None and not 0.0 <= each.value <= 1.0:
                    raise ValueError(f"a score of {each.value}, not in [0, 1]")
                if each is not None and not isinstance(each.remark, str):
                    raise ValueError(f"a remark that is {type(each.remark).__name__}, not a str")
            # This name keeps the scores of several verifiers apart.
            return [each and replace(each, verifier=self.name) for each in scores]
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            raise UsageError(f"{self._owner} failed: {type(error).__name__}: {error}") from error


def parse(text: str) -> Spec:
    """Read ``NAME[=ARGUMENT][:WEIGHT]``; all after ``check=`` is the command.

    Raises:
        UsageError: it has another form, the verifier is unknown, or its argument is missing,
            superfluous or plainly wrong.
    """
    if text.startswith("check="):
        found, spec = None, Spec("check", text.removeprefix("check="))
    else:
        found = _SPEC.fullmatch(text)
        spec = Spec(found["name"], found["argument"]) if found else Spec(text)
    entry = find(spec.name)
    if entry.argument is None and spec.argument is not None:
        raise UsageError(
            f"The verifier {entry.name} takes no argument.", f"--verifier {entry.name}"
        )
    if entry.argument and entry.argument[0] != "[" and not spec.argument:
        flag = "--check COMMAND" if entry.name == "check" else f"{entry.name}={entry.argument}"
        raise UsageError(f"The verifier {entry.name} needs an argument.", f"Write it as: {flag}")
    if entry.check is not None:
        entry.check(spec.argument)  # told before a model is downloaded or loaded
    try:
        weight = float(found["weight"] or 1.0) if found else 1.0
    except ValueError:
        raise UsageError(f"The weight in --verifier {text!r} is not a number.") from None
    return Spec(spec.name, spec.argument, weight)


def build(wanted: Sequence[str], context: VerifierContext) -> tuple[Verifier, ...]:
    """The verifiers that ``wanted`` name, made from ``context``.

    Raises:
        UsageError: a name is unknown, one is asked for twice, or one cannot be made.
    """
    specs = [parse(each) for each in wanted]
    if len({(spec.name, spec.argument) for spec in specs}) < len(specs):
        raise UsageError("A verifier can be asked once only.")
    made = []
    for spec in specs:
        verifier = find(spec.name).make(context, spec.argument)
        made.append(verifier if spec.weight == 1.0 else WeightedVerifier(verifier, spec.weight))
    if len({each.name for each in made}) < len(made):
        raise UsageError("Two verifiers would bear the same name in the scores.")
    return tuple(made)


def wants_certainty(wanted: Sequence[str]) -> bool:
    """Whether the engine must note self-certainty for these (``llamacpp.Settings.certainty``)."""
    return any(parse(each).argument == "self-certainty" for each in wanted)
