"""The verifiers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ttc_cli.errors import UsageError
from ttc_cli.verifiers.base import Verifier
from ttc_cli.verifiers.confidence import ConfidenceVerifier
from ttc_cli.verifiers.judge import Chat, JudgeVerifier

_MAKERS: dict[str, Callable[[Chat], Verifier]] = {
    "judge": JudgeVerifier,
    "confidence": lambda chat: ConfidenceVerifier(),
}


def names() -> tuple[str, ...]:
    """Every verifier's name."""
    return tuple(_MAKERS)


def build(wanted: Sequence[str], chat: Chat) -> tuple[Verifier, ...]:
    """The verifiers called ``wanted``, for a model that is spoken to through ``chat``.

    Raises:
        UsageError: there is none of such a name, or one is asked for twice.
    """
    for name in wanted:
        if name not in _MAKERS:
            raise UsageError(
                f"There is no verifier called {name!r}.", f"Choose of {', '.join(_MAKERS)}."
            )
    if len(set(wanted)) < len(wanted):
        raise UsageError("A verifier can be asked once only.")
    return tuple(_MAKERS[name](chat) for name in wanted)
