"""What a scripted engine is told to say: scripts, the replies they give, and their tokens."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ttc_cli.types import Confidence, Finish

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a script is asked: go on from ``text``, everything read and said so far.

    ``sample`` is the request's label and ``seed`` its seed; both 0 at temperature 0.
    """

    text: str
    seed: int
    sample: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says, and how it ends: ``STOP``, ``LOOP``, or ``LENGTH`` to go on for ever."""

    text: str
    finish: Finish = Finish.STOP
    confidence: Confidence | None = None


Script = Callable[[Ask], Reply | str]


def pieces(text: str) -> list[str]:
    """``text`` cut into this engine's tokens: a blank line, a space, up to eight letters."""
    return re.findall(r"\n{2,}|\n| ?\S{1,8}|\s", text)


def recite(texts: Sequence[Reply | str]) -> Script:
    """A script by which candidate *i* says text *i*, cyclically, from where it stands in it."""
    replies = tuple(Reply(each) if isinstance(each, str) else each for each in texts)

    def say(ask: Ask) -> Reply:
        reply = replies[ask.sample % len(replies)]
        said = (n for n in range(len(reply.text), 0, -1) if ask.text.endswith(reply.text[:n]))
        return replace(reply, text=reply.text[next(said, 0) :])

    return say


def babble(ask: Ask) -> str:
    """Pseudo-random paragraphs that depend on the text so far and the seed alone."""
    key = hashlib.blake2b(f"{ask.seed}:{ask.text}".encode(), digest_size=8).digest()
    draw = random.Random(key)
    words = ("so", "we", "add", "the", "two", "and", "get", "seven", "apples", "minus", "one")
    paragraphs = [
        " ".join(draw.choices(words, k=draw.randint(3, 9))) + "." for _ in range(draw.randint(2, 5))
    ]
    return "\n\n".join(paragraphs) + f"\n\nThe final answer is {draw.randint(1, 4)}."


def imagine_state(text: str) -> tuple[float, ...]:
    """Four numbers in [−1, 1] that depend on ``text`` alone."""
    key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return tuple(byte / 127.5 - 1.0 for byte in key)
