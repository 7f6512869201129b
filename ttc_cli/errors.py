"""The error family. Each says what happened and what it means; ``hint`` is the next command.

``exit_code`` is what the command then ends with: 1 failure while running, 2 wrong usage, 3 no sound
model file, 4 no answer, 5 does not fit, 6 network. 129, 130, 141 and 143 are signals (SIGHUP,
SIGINT, SIGPIPE, SIGTERM), not errors of this family.
"""

from __future__ import annotations

from collections.abc import Iterable


class TtcError(Exception):
    """Base of all errors that ttc raises on purpose.

    ``message`` is one or two plain sentences; ``hint`` the exact next command or None.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class EngineError(TtcError):
    """The engine failed while it ran."""


class NativeCrash(EngineError):
    """The native library crashed; ``signal`` names how."""


class DiskFull(TtcError):
    """No room left on a device."""


class RunDamaged(TtcError):
    """A recorded run, or a part of it, cannot be read."""


class RunsUnavailable(TtcError):
    """The log of runs cannot be opened or written: locked, refused, or made by a newer ttc."""


class UsageError(TtcError):
    """A wrong flag, prompt or configuration."""

    exit_code = 2


class TemplateError(UsageError):
    """The model has no chat template, or one that cannot be rendered safely."""


class ModelError(TtcError):
    """Something is wrong with a model file."""

    exit_code = 3


class ModelMissing(ModelError):
    """The model is not on this machine."""


class ModelCorrupt(ModelError):
    """The file is truncated, has the wrong hash, or is not a GGUF."""


class ModelUnsupported(ModelError):
    """A valid model that tree search cannot use (an encoder, a kind that was not tried)."""


class NoAnswer(TtcError):
    """A cap was reached before any candidate stated an answer."""

    exit_code = 4


class DoesNotFit(TtcError):
    """The work does not fit this machine or model."""

    exit_code = 5


class MemoryShort(DoesNotFit):
    """Model and KV cache exceed the free memory."""


class PromptTooLong(DoesNotFit):
    """The prompt exceeds the context window."""


class NetworkError(TtcError):
    """A download or a remote engine failed."""

    exit_code = 6


class Unreachable(NetworkError):
    """No source answered."""


class AccessDenied(NetworkError):
    """The hub or the server wants a token, a key, or the licence accepted."""


class ServerFailed(NetworkError, EngineError):
    """The server of a remote engine failed during a run, and so did the retries."""


def find_near(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Which of ``known`` the mistyped ``name`` was probably meant to be, if any.

    ``likeness``, from 0 to 1, is how much of the two must be the same.
    """
    import difflib  # only needed when something was mistyped

    return next(iter(difflib.get_close_matches(name, known, 1, likeness)), None)


def suggest(
    name: str, known: Iterable[str], otherwise: str | None = None, *, quoted: bool = False
) -> str | None:
    """The hint for a mistyped ``name``: which of ``known`` was probably meant, or ``otherwise``."""
    near = find_near(name, known)
    if near is None:
        return otherwise
    return f"did you mean {near!r}?" if quoted else f"Did you mean {near}?"
