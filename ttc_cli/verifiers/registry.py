"""The verifiers by name, and how ``--verifier NAME[=ARGUMENT][:WEIGHT]`` is read.

Those of other packages (``plugins``) are known by name, and imported when they are asked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ttc_cli import plugins
from ttc_cli.errors import TtcError, UsageError, suggest
from ttc_cli.verifiers.arithmetic.verifier import ArithmeticVerifier
from ttc_cli.verifiers.base import Verifier, WeightedVerifier
from ttc_cli.verifiers.confidence import STATISTICS, ConfidenceVerifier, Statistic
from ttc_cli.verifiers.guard import GuardedVerifier
from ttc_cli.verifiers.judge import JudgeVerifier
from ttc_cli.verifiers.names import BUILT_IN

if TYPE_CHECKING:
    from ttc_cli.engines.base import Engine
    from ttc_cli.prompts import Chat

_SPEC = re.compile(r"(?P<name>[A-Za-z][\w.-]*)(?:=(?P<argument>.*?))?(?::(?P<weight>[0-9.]+))?")

CHECK_SECONDS = 10.0
"""Time limit of one ``--check``."""


@dataclass(frozen=True, slots=True)
class Means:
    """What verifiers are made from.

    ``chat`` speaks to the generator, ``engine`` is its own. ``load`` gives the engine of another
    model by its name; the generator's where it is the same file, so that nothing is loaded twice.
    ``fingerprint`` gives the sha256 of the generator's file. A ``--check`` may take
    ``check_seconds``, in ``sandbox`` (as ``find_sandbox`` says), ``parallel`` at once;
    ``stopped`` ends those under way when it is set.
    """

    chat: Chat
    load: Callable[[str], Engine] | None = None
    engine: Engine | None = None
    fingerprint: Callable[[], str] | None = None
    check_seconds: float = CHECK_SECONDS
    sandbox: str | None = None
    parallel: int = 1
    stopped: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """One verifier as the user asked for it: ``judge``, ``prm=rlhflow-prm-8b``, ``judge:0.5``."""

    name: str
    argument: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A verifier as ``ttc verifiers list`` shows it.

    ``argument`` is what may stand behind ``=``, in brackets where it may be left out. ``reads``:
    the candidate's text, or how it was drawn (which a planted solution cannot show).
    """

    name: str
    make: Callable[[Means, str | None], Verifier]
    summary: str
    scores: str
    cost: str
    argument: str | None = None
    reads: Literal["text", "sampling"] = "text"


def _make_judge(means: Means, argument: str | None) -> Verifier:
    return JudgeVerifier(means.chat)


def _make_confidence(means: Means, argument: str | None) -> Verifier:
    return ConfidenceVerifier(_read_statistic(argument))


def _read_statistic(argument: str | None) -> Statistic:
    for statistic in STATISTICS:
        if statistic == (argument or "tail"):
            return statistic
    hint = suggest(argument or "", STATISTICS, f"Choose one of {', '.join(STATISTICS)}.")
    raise UsageError(f"There is no confidence called {argument!r}.", hint)


def _make_prm(means: Means, argument: str | None) -> Verifier:
    from ttc_cli.verifiers.prm import make_prm

    return make_prm(argument, means.load)


def _make_probe(means: Means, argument: str | None) -> Verifier:
    from ttc_cli.verifiers.probe import make_probe

    states = means.engine.info.states if means.engine is not None else 0
    return make_probe(argument, means.fingerprint, states)


def _make_generative(means: Means, argument: str | None) -> Verifier:
    from ttc_cli.verifiers.generative import make_generative

    return make_generative(argument, means.engine, means.chat, means.load)


def _make_check(means: Means, argument: str | None) -> Verifier:
    from ttc_cli.verifiers.checking.command import CommandVerifier, read_command

    if not argument:
        raise UsageError("A check needs its command.", "--check 'python3 check.py {file}'")
    return CommandVerifier(
        read_command(argument),
        seconds=means.check_seconds,
        sandbox=means.sandbox,
        parallel=means.parallel,
        stopped=means.stopped,
    )


_ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "judge",
            _make_judge,
            "the generator says yes or no",
            "steps and whole",
            "some 30 tokens a score",
        ),
        Entry(
            "confidence",
            _make_confidence,
            "how sure the model was of its own tokens",
            "steps and whole",
            "nothing",
            "[STATISTIC]",
            reads="sampling",
        ),
        Entry(
            "prm",
            _make_prm,
            "a process reward model",
            "steps and whole",
            "each step's tokens, by the other model",
            "MODEL[@FORMAT]",
        ),
        Entry(
            "probe",
            _make_probe,
            "a regression on the model's hidden state",
            "whole, steps if fitted for them",
            "one token a score",
            "FILE",
        ),
        Entry(
            "generative",
            _make_generative,
            "a critique in words, then its verdict",
            "steps and whole",
            "hundreds of tokens a score",
            "[MODEL@FORMAT]",
        ),
        Entry(
            "check",
            _make_check,
            "your own command's exit status",
            "whole",
            "no tokens; the command's time",
            "COMMAND",
        ),
        Entry(
            "arithmetic",
            lambda means, argument: ArithmeticVerifier(),
            "works out the sums that a candidate wrote",
            "steps and whole",
            "nothing",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Every verifier's name, those of other packages last."""
    return (*BUILT_IN, *plugins.list_names(plugins.VERIFIERS, BUILT_IN))


def entries(warn: Callable[[str], None] = lambda text: None) -> tuple[Entry, ...]:
    """Every verifier; ``warn`` is told of those of other packages that cannot be loaded."""
    others = plugins.load_all(plugins.VERIFIERS, Entry, BUILT_IN, warn)
    return (*_ENTRIES.values(), *(_guard(plugin, entry) for plugin, entry in others))


def find(name: str) -> Entry:
    """The verifier called ``name``.

    Raises:
        UsageError: there is none, or it is another package's and cannot be loaded.
    """
    if name in _ENTRIES:
        return _ENTRIES[name]
    plugin = plugins.find_plugin(plugins.VERIFIERS, name)
    if plugin is not None:
        return _guard(plugin, plugins.load(plugin, Entry))
    known = names()
    hint = suggest(name, known, f"Choose one of {', '.join(known)}.")
    raise UsageError(f"There is no verifier called {name!r}.", hint)


def _guard(plugin: plugins.Plugin, entry: Entry) -> Entry:
    """``entry`` so that no error of its package goes further than its scores."""

    def make(means: Means, argument: str | None) -> Verifier:
        try:
            return GuardedVerifier.wrap(entry.make(means, argument), str(plugin))
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            raise plugins.refuse(plugin, f"{type(error).__name__}: {error}") from error

    return replace(entry, make=make)


def parse(text: str) -> Spec:
    """Read ``NAME[=ARGUMENT][:WEIGHT]``; all behind ``check=`` is the command.

    Raises:
        UsageError: it is not of that form, there is no verifier of that name, or its argument is
            missing, superfluous or plainly wrong.
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
    if entry.name == "check" and spec.argument:
        from ttc_cli.verifiers.checking.command import read_command

        read_command(spec.argument)  # told before a model is downloaded or loaded
    if entry.name == "confidence":
        _read_statistic(spec.argument)
    if entry.name == "prm":
        from ttc_cli.verifiers.prm import read_request

        read_request(spec.argument)
    try:
        weight = float(found["weight"] or 1.0) if found else 1.0
    except ValueError:
        raise UsageError(f"The weight in --verifier {text!r} is no number.") from None
    return Spec(spec.name, spec.argument, weight)


def build(wanted: Sequence[str], means: Means) -> tuple[Verifier, ...]:
    """The verifiers that ``wanted`` name, made from ``means``.

    Raises:
        UsageError: there is none of such a name, one is asked for twice, or one cannot be made.
    """
    specs = [parse(each) for each in wanted]
    if len({(spec.name, spec.argument) for spec in specs}) < len(specs):
        raise UsageError("A verifier can be asked once only.")
    made = []
    for spec in specs:
        verifier = find(spec.name).make(means, spec.argument)
        made.append(verifier if spec.weight == 1.0 else WeightedVerifier(verifier, spec.weight))
    if len({each.name for each in made}) < len(made):
        raise UsageError("Two verifiers would bear the same name in the scores.")
    return tuple(made)


def wants_certainty(wanted: Sequence[str]) -> bool:
    """Whether the engine must note self-certainty for these (``llamacpp.Settings.certainty``)."""
    return any(parse(each).argument == "self-certainty" for each in wanted)
