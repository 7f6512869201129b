"""What was drawn of a model: samples, what verifiers said of them, and how they went on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ttc_cli.engines.base import ScoreRow
from ttc_cli.prompts import prompt_key
from ttc_cli.search.sample import read_stated
from ttc_cli.types import Answer, AnswerType, Confidence, EngineInfo, Finish, Sampling


@dataclass(frozen=True, slots=True)
class RecordedScore:
    """What ``Session.score`` gave for one row: a probability a label group, and its cost."""

    probabilities: tuple[float, ...]
    suffix_tokens: int


@dataclass(frozen=True, slots=True)
class RecordedSample:
    """One candidate as the live engine drew it.

    ``pieces`` holds the number of characters each token added to ``text``, so that a lower token
    limit can be served exactly. ``scores`` is keyed by ``row_key``. ``state`` is the hidden state
    at its last token, None where it was not read. ``mended`` is how it went on from its first
    wrong sum, None where there is none or nobody drew that. ``judge`` is what a judge thought of
    it, ``seed`` what it was drawn with.
    """

    index: int
    text: str
    tokens: int
    finish: Finish
    pieces: tuple[int, ...]
    confidence: Confidence | None = None
    scores: Mapping[str, RecordedScore] = field(default_factory=dict)
    state: tuple[float, ...] | None = None
    mended: RecordedMend | None = None
    seed: int = 0
    judge: float | None = None

    def read_answer(self, answer_type: AnswerType) -> Answer | None:
        """What it answers, read from its text: how that is done changes, the text does not."""
        return read_stated(self.text, self.finish, answer_type)

    def text_until(self, tokens: int) -> str:
        """The text after the first ``tokens`` tokens."""
        return self.text if tokens >= self.tokens else self.text[: sum(self.pieces[:tokens])]


@dataclass(frozen=True, slots=True)
class RecordedMend:
    """What was drawn on from the middle of a sample, behind a correction.

    ``written`` is the sample up to there and the correction, of which ``read`` tokens were read
    anew; ``sample`` is what followed alone.
    """

    written: str
    read: int
    sample: RecordedSample


@dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """A prompt, by its ``prompt_key``, the samples drawn for it, the hidden state at its end.

    In a pool it is the question ``id``. ``seconds`` is the wall time since the one before was
    kept: questions are drawn side by side, so that only the sum over a pool means something.
    """

    key: str
    prompt_tokens: int
    samples: tuple[RecordedSample, ...]
    state: tuple[float, ...] | None = None
    id: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything ``RecordedEngine`` serves: questions by ``prompt_key``, all drawn alike."""

    info: EngineInfo
    sampling: Sampling
    max_tokens: int
    questions: Mapping[str, RecordedQuestion]


def row_key(row: ScoreRow) -> str:
    """A hash of what a verifier asked: the suffix and the label groups, not the branch."""
    asked = json.dumps([prompt_key(row.suffix), row.labels])
    return hashlib.sha256(asked.encode()).hexdigest()[:32]
