"""The question of ``ttc solve``: from the command line, a file and stdin, checked.

With no prompt, or ``-``, stdin is read to its end. With a prompt, stdin is added to it where it
is a file, a pipe or a socket. Many programs start others with a pipe as stdin that they neither
write to nor close; so that such a start does not hang, a pipe beside a prompt is given
``PATIENCE`` seconds to send something or end, and ``-`` after the prompt waits without limit.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.errors import PromptTooLong, UsageError
from ttc_cli.texts import decode
from ttc_cli.types import AnswerType

PATIENCE = 5.0
LIMIT = 16 * 2**20
"""Bytes. No model reads this much; it only keeps ``ttc solve < /dev/zero`` from filling memory."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The prompt on the command line, and the texts of a file and stdin; "" if missing."""

    prompt: str = ""
    input: str = ""

    def join(self) -> str:
        """The whole question: all parts that are there, joined by blank lines.

        Raises:
            UsageError: there is nothing.
        """
        question = join(self.prompt, self.input)
        if not question:
            raise UsageError("The question is empty.", 'ttc solve "What is 17 * 23?"')
        return question


def join(*texts: str) -> str:
    """The parts that are not blank, joined by blank lines."""
    return "\n\n".join(text for text in texts if text.strip())


def read_parts(
    words: Sequence[str],
    file: Path | None = None,
    *,
    stdin: int | None,
    warn: Callable[[str], None],
    patience: float = PATIENCE,
) -> Parts | None:
    """The parts of the question, or None if there is only a terminal to read from.

    Args:
        words: the arguments: a prompt, ``-``, both, or none.
        file: a file whose text follows the prompt.
        stdin: the descriptor to read, None where it is closed.
        warn: told when stdin is left out because nothing came.
        patience: seconds to wait for a silent pipe beside a prompt.

    Raises:
        UsageError: several prompts, a NUL byte, or text that is neither UTF-8 nor marked as
            something else.
        PromptTooLong: more than ``LIMIT`` bytes.
    """
    prompt, dash = split_words(words)
    said = "" if prompt is None else decode(_encode(prompt)).strip("\r\n")
    parts = [] if file is None else [decode(read_file(file), f"The file {file}", str(file))]
    if dash:
        parts.append("" if stdin is None else decode(_read_all(stdin)))
    elif prompt is None and not parts:
        if stdin is not None and os.isatty(stdin):
            return None
        parts.append("" if stdin is None else decode(_read_all(stdin)))
    elif stdin is not None and _sends_data(stdin):
        if select.select([stdin], [], [], patience)[0]:
            parts.append(decode(_read_all(stdin)))
        else:
            warn(
                f"stdin is an open pipe that sent nothing for {patience:g} s: going on without "
                "it. Add '-' after the prompt to wait for it, or '< /dev/null' to leave it out."
            )
    return Parts(said, join(*(part.strip("\r\n") for part in parts)))


def split_words(words: Sequence[str]) -> tuple[str | None, bool]:
    """The prompt among the arguments, and whether a ``-`` follows it.

    Raises:
        UsageError: several prompts.
    """
    dash = bool(words) and words[-1] == "-"
    prompts = list(words[:-1] if dash else words)
    if len(prompts) > 1:
        raise UsageError("The question must be one argument.", 'put it in quotes: ttc solve "…"')
    return (prompts[0] if prompts else None), dash


def read_answer_type(given: object, where: str = "") -> AnswerType:
    """``given`` as a type of answer; ``where`` begins the error.

    Raises:
        UsageError: there is no such type.
    """
    if not isinstance(given, str) or given not in list(AnswerType):
        types = ", ".join(AnswerType)
        raise UsageError(f"{where}answer_type must be one of {types}, not {given!r:.40}.")
    return AnswerType(given)


def read_schema(given: str, kind: AnswerType, *, served: bool = False) -> str:
    """A JSON Schema as one line of JSON.

    Args:
        given: a file, or the schema itself.
        kind: the type of answer that is asked for.
        served: a server holds answers to it in its own way; else it must become a grammar here.

    Raises:
        UsageError: it cannot be read, is no JSON Schema, asks for what cannot be held to, or goes
            with another type of answer.
    """
    if kind not in (AnswerType.AUTO, AnswerType.JSON):
        raise UsageError(
            f"An answer that conforms to a schema is JSON, not {kind}.", "Leave out --answer-type."
        )
    from ttc_cli.answers import schema

    text = schema.read_schema(given)
    if not served:
        from ttc_cli.engines.llamacpp.constraint import write_grammar

        write_grammar(text)
    return text


def _sends_data(descriptor: int) -> bool:
    """Whether it is a file, pipe or socket: not a terminal, not /dev/null, not closed."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _read_all(descriptor: int) -> bytes:
    chunks, size = [], 0
    try:
        while chunk := os.read(descriptor, 1 << 16):
            chunks.append(chunk)
            size += len(chunk)
            if size > LIMIT:
                raise _too_long()
    except OSError as error:
        raise UsageError(f"Cannot read stdin: {error.strerror}.") from error
    return b"".join(chunks)


def read_file(path: Path) -> bytes:
    """What is in ``path``.

    Raises:
        UsageError: it cannot be read.
        PromptTooLong: more than ``LIMIT`` bytes.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > LIMIT:
        raise _too_long()
    return data


def _too_long() -> PromptTooLong:
    return PromptTooLong(
        f"The prompt is longer than {LIMIT // 2**20} MiB, some {LIMIT // 4 // 10**6} million "
        "tokens: no model has a context that long.",
        "head -c 50000 FILE | ttc solve …",
    )


def _encode(argument: str) -> bytes:
    try:
        return argument.encode()
    except UnicodeEncodeError as error:  # Python keeps undecodable bytes as lone surrogates
        raise UsageError("The prompt is not valid text in this terminal's encoding.") from error
