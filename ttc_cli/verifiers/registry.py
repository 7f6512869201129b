"""The verifiers by name, and how ``--verifier NAME[=ARGUMENT][:WEIGHT]`` is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttc_cli.errors import UsageError
from ttc_cli.verifiers.base import Verifier, WeightedVerifier
from ttc_cli.verifiers.confidence import ConfidenceVerifier
from ttc_cli.verifiers.judge import JudgeVerifier

if TYPE_CHECKING:
    from ttc_cli.engines.base import Engine
    from ttc_cli.prompts import Chat

_SPEC = re.compile(r"(?P<name>[A-Za-z][\w.-]*)(?:=(?P<argument>.*?))?(?::(?P<weight>[0-9.]+))?")


@dataclass(frozen=True, slots=True)
class Means:
    """What verifiers are made from.

    ``chat`` speaks to the generator. ``load`` gives the engine of another model by its name; the
    generator's own engine where it is the same file, so that nothing is loaded twice.
    """

    chat: Chat
    load: Callable[[str], Engine] | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """One verifier as the user asked for it: ``judge``, ``prm=rlhflow-prm-8b``, ``judge:0.5``."""

    name: str
    argument: str | None = None
    weight: float = 1.0


_MAKERS: dict[str, Callable[[Means, str | None], Verifier]] = {
    "judge": lambda means, argument: JudgeVerifier(means.chat),
    "confidence": lambda means, argument: ConfidenceVerifier(),
}


def names() -> tuple[str, ...]:
    """Every verifier's name."""
    return tuple(_MAKERS)


def parse(text: str) -> Spec:
    """Read ``NAME[=ARGUMENT][:WEIGHT]``.

    Raises:
        UsageError: it is not of that form, or there is no verifier of that name.
    """
    found = _SPEC.fullmatch(text)
    name = found["name"] if found else text
    if found is None or name not in _MAKERS:
        near = difflib.get_close_matches(name, _MAKERS, 1)
        raise UsageError(
            f"There is no verifier called {name!r}.",
            f"Did you mean {near[0]}?" if near else f"Choose of {', '.join(_MAKERS)}.",
        )
    try:
        weight = float(found["weight"] or 1.0)
    except ValueError:
        raise UsageError(f"The weight in --verifier {text!r} is no number.") from None
    return Spec(name, found["argument"], weight)


def build(wanted: Sequence[str], means: Means) -> tuple[Verifier, ...]:
    """The verifiers that ``wanted`` name, made from ``means``.

    Raises:
        UsageError: there is none of such a name, or one is asked for twice.
    """
    specs = [parse(each) for each in wanted]
    if len({(spec.name, spec.argument) for spec in specs}) < len(specs):
        raise UsageError("A verifier can be asked once only.")
    made = []
    for spec in specs:
        verifier = _MAKERS[spec.name](means, spec.argument)
        made.append(verifier if spec.weight == 1.0 else WeightedVerifier(verifier, spec.weight))
    return tuple(made)
