"""Compares two files of a model: re-quantises one, times both, compares what they say.

Everything native happens in child processes (``python -P -m ttc_cli.tuning.comparison``),
one file loaded at a time; ``tuning.tune`` decides what to do with the figures.

Not covered: whether *hard* questions are still answered right. That takes a benchmark; what is
compared here is each file's prediction of the same tokens.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ttc_cli import children, errors
from ttc_cli.engines.llamacpp import isolated, native
from ttc_cli.models import hardware

TEXT = Path(__file__).with_name("perplexity.txt")
"""Prose, arithmetic, a proof and code, written for this purpose."""

QUESTIONS = (
    "A shop sells pens at 3 for 2 euros. How much do 18 pens cost? Explain.",
    "Write a Python function that tells whether a word is a palindrome.",
    "Why is the sky blue? Answer in three sentences.",
    "List the first ten prime numbers and add them up step by step.",
)

_CHILD = children.name_python("-m", "ttc_cli.tuning.comparison")
_TEXT_TOKENS = 768
_ANSWER_TOKENS = 64
_BLOCK = 128
"""Tokens read at once: their rows of logits are 80 MB with a vocabulary of 150,000."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second of one file: reading a prompt, and writing 1, 8 and 16 streams at once."""

    prompt: float
    one: float
    eight: float
    sixteen: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two files make of the same tokens.

    ``perplexity_before``, ``perplexity_after``: of the shipped text. ``error``: one standard error
    of the logarithm of their ratio, from the paired differences. ``same``: share of ``positions``
    (greedy answers of the first file) at which both find the same token likeliest. ``noise``: the
    same share for the first file against itself, which wrote a few tokens at a time and reads them
    in one go: other kernels compute the same.
    """

    perplexity_before: float
    perplexity_after: float
    error: float
    same: float
    noise: float
    positions: int

    @property
    def rise(self) -> float:
        """By which share of itself perplexity rose; negative where it fell."""
        return self.perplexity_after / self.perplexity_before - 1


def quantise(
    source: Path, target: Path, kind: str, report: Callable[[int], None] = lambda done: None
) -> None:
    """Write ``source`` as ``target`` with matrices of type ``kind``, in a child process.

    ``report`` gets the bytes written so far. A child that was stopped leaves no ``target``.

    Raises:
        EngineError: the library failed, or the child was ended from outside.
    """

    def watch() -> None:
        if target.exists():
            report(target.stat().st_size)

    try:
        isolated.run(_child("quantise", source, target, kind), watch=watch)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def time_file(path: Path, *, seconds: float = 3.0) -> Rates:
    """Run the engine on ``path`` for about ``seconds`` with each batch that searches use.

    Raises:
        NativeCrash, ModelError, MemoryShort, EngineError: it cannot be run.
    """
    return Rates(**isolated.run(_child("time", path, seconds)))


def compare(before: Path, after: Path) -> Agreement:
    """Hold what ``after`` predicts against what ``before`` does, on the same tokens.

    Raises:
        NativeCrash, ModelError, MemoryShort, EngineError: one cannot be run, or they do not share
            a vocabulary.
    """
    first = isolated.run(_child("read", before))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as told:
        json.dump({key: first[key] for key in ("text", "prompts", "answers")}, told)
        told.flush()
        second = isolated.run(_child("read", after, told.name))
    return _agree(first, second)


def _child(task: str, *arguments: object) -> list[str]:
    return [*_CHILD, task, *map(str, arguments)]


def _agree(first: dict[str, Any], second: dict[str, Any]) -> Agreement:
    written = [token for answer in first["answers"] for token in answer]
    pairs = list(zip(first["likeliest"], second["likeliest"], written, strict=True))
    differences = [b - a for a, b in zip(first["losses"], second["losses"], strict=True)]
    count = len(differences)
    if not pairs or count < 2:
        raise errors.EngineError("The model wrote no answer that could be compared.")
    mean = sum(differences) / count
    variance = sum((each - mean) ** 2 for each in differences) / (count - 1)
    before = sum(first["losses"]) / count
    return Agreement(
        perplexity_before=math.exp(before),
        perplexity_after=math.exp(before + mean),
        error=math.sqrt(variance / count),
        same=sum(a == b for a, b, _ in pairs) / len(pairs),
        noise=sum(a == token for a, _, token in pairs) / len(pairs),
        positions=len(pairs),
    )


# --- in the child -------------------------------------------------------------------------------


def _quantise(source: str, target: str, kind: str) -> dict[str, Any]:
    from ttc_cli.engines.llamacpp import native

    native.quantise(Path(source), Path(target), kind, threads=hardware.count_cores())
    with open(target, "rb+") as file:
        os.fsync(file.fileno())
    return {}


def _time(path: str, seconds: str) -> dict[str, Any]:
    from ttc_cli.engines.llamacpp import speed

    found = speed.time_file(Path(path), float(seconds), hardware.count_cores(), (1, 8, 16))
    return asdict(Rates(*found))


def _read(path: str, told: str | None = None) -> dict[str, Any]:
    """Losses on the text and likeliest tokens along greedy answers: its own, or those ``told``."""
    from ttc_cli.engines.llamacpp import native
    from ttc_cli.models import gguf

    gguf.read_header(Path(path))
    model = native.NativeModel(Path(path))
    context = native.Context(
        model,
        cells=_TEXT_TOKENS + 256,
        sequences=len(QUESTIONS),
        batch=_BLOCK,
        outputs=_BLOCK,
        threads=hardware.count_cores(),
    )
    try:
        if told is None:
            text = model.tokenise(TEXT.read_text(encoding="utf-8"), control=False)[:_TEXT_TOKENS]
            prompts = [_ask(model, question) for question in QUESTIONS]
            answers = _write(model, context, prompts)
        else:
            given = json.loads(Path(told).read_text(encoding="utf-8"))
            text, prompts, answers = given["text"], given["prompts"], given["answers"]
            if max(map(max, [text, *prompts])) >= model.n_vocab:
                raise errors.EngineError("The two files do not share a vocabulary.")
        losses, _ = _follow(context, text, 1)
        likeliest: list[int] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            likeliest += _follow(context, [*prompt, *answer], len(prompt))[1]
        return {
            "text": text,
            "prompts": prompts,
            "answers": answers,
            "losses": losses,
            "likeliest": likeliest,
        }
    finally:
        context.close()
        model.close()


def _ask(model: native.NativeModel, question: str) -> list[int]:
    """Tokens that put ``question`` as a user's turn; as plain text if there is no template."""
    from ttc_cli.engines.base import EngineInfo, Span
    from ttc_cli.prompts import Chat
    from ttc_cli.types import Message

    info = EngineInfo(
        "llama.cpp", "trial", 1, 1, 1, model.chat_template(), control_tokens=model.control_text()
    )
    try:
        prompt = Chat(info).render([Message("user", question)])
    except errors.TemplateError:
        prompt = (Span(f"Question: {question}\nAnswer:"),)
    begin = model.begin_token()
    tokens = [t for span in prompt for t in model.tokenise(span.text, control=span.control)]
    return [begin, *tokens] if begin is not None and tokens[:1] != [begin] else tokens


def _write(
    model: native.NativeModel, context: native.Context, prompts: list[list[int]]
) -> list[list[int]]:
    """What the model says to each prompt: its likeliest token, again and again, all at once."""
    written: list[list[int]] = []
    for row, prompt in enumerate(prompts):
        context.trim(row, 0)
        for begin in range(0, len(prompt), _BLOCK):
            block = prompt[begin : begin + _BLOCK]
            places = list(range(begin, begin + len(block)))
            _decode(context, block, places, [row] * len(block), [len(block) - 1])
        written.append([int(context.logits(1)[0].argmax())])
    while growing := [
        row
        for row, answer in enumerate(written)
        if len(answer) < _ANSWER_TOKENS and not model.ends_turn(answer[-1])
    ]:
        tokens = [written[row][-1] for row in growing]
        places = [len(prompts[row]) + len(written[row]) - 1 for row in growing]
        _decode(context, tokens, places, growing, list(range(len(growing))))
        for row, token in zip(growing, context.logits(len(growing)).argmax(1), strict=True):
            written[row].append(int(token))
    for row in range(len(prompts)):
        context.trim(row, 0)
    return written


def _decode(
    context: native.Context, tokens: list[int], places: list[int], rows: list[int], read: list[int]
) -> None:
    """One batch; the logits of the tokens ``read`` (their indices) will be read."""
    if context.decode(tokens, places, rows, read):
        raise errors.EngineError("llama.cpp did not finish a decode")


def _follow(
    context: native.Context, tokens: list[int], start: int
) -> tuple[list[float], list[int]]:
    """Of each token from ``start`` on: −log p given those before, and the likeliest in its place.

    In nats, computed in blocks of ``_BLOCK`` rows.
    """
    import numpy as np

    context.trim(0, 0)
    losses: list[float] = []
    likeliest: list[int] = []
    for begin in range(0, len(tokens) - 1, _BLOCK):
        block = tokens[begin : min(begin + _BLOCK, len(tokens) - 1)]
        places = list(range(begin, begin + len(block)))
        rows = [row for row, place in enumerate(places) if place + 1 >= start]
        _decode(context, block, places, [0] * len(block), rows)
        if not rows:
            continue
        logits = context.logits(len(rows))
        top = logits.max(1)
        total = np.log(np.exp(logits - top[:, None]).sum(1, dtype=np.float64)) + top
        targets = [tokens[places[row] + 1] for row in rows]
        found = logits[np.arange(len(rows)), targets]
        losses += [float(loss) for loss in total - found]
        likeliest += [int(token) for token in logits.argmax(1)]
    return losses, likeliest


_TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "quantise": _quantise,
    "time": _time,
    "read": _read,
}


def main(arguments: Sequence[str]) -> int:
    """``quantise SOURCE TARGET KIND | time FILE SECONDS | read FILE [ANSWERS]``."""
    isolated.leave_with_parent()
    task, *rest = arguments
    return isolated.report(lambda: _TASKS[task](*rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
