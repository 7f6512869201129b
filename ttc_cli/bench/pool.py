"""Pools: samples of labelled questions on disk, drawn once and used by every comparison.

A pool is a JSONL file. Its first line says how the samples were drawn (``PoolHeader``); each
further line holds one question with the samples of one go, so that a line is either there whole
or not at all: lines are written in one piece and synced, a torn last line is ignored and cut off
by the next writer. Several lines may name the same question: their samples are joined.

Text in a pool was written by a model: it is data and must not reach a terminal unescaped.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ttc_cli.appending import LineFile
from ttc_cli.bench.packing import pack, unpack
from ttc_cli.engines.base import EngineInfo, ScoreRow, States
from ttc_cli.errors import UsageError
from ttc_cli.forms.program import find_program, read_ran
from ttc_cli.forms.prose import read_stated
from ttc_cli.prompts import prompt_key
from ttc_cli.types import PROSE, Answer, Confidence, Execution, Finish, Problem, Sampling

FORMAT = "ttc-pool/1"


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
    it, ``seed`` what it was drawn with, ``ran`` what its program did.
    """

    index: int
    text: str
    tokens: int
    finish: Finish
    pieces: tuple[int, ...]
    confidence: Confidence | None = None
    scores: Mapping[str, RecordedScore] = field(default_factory=dict)
    states: States | None = None
    mended: RecordedMend | None = None
    seed: int = 0
    judge: float | None = None
    ran: Execution | None = None

    def read_answer(self, problem: Problem) -> Answer | None:
        """What it answers to ``problem``, whose type is resolved, read from its text.

        How that is done changes, the text does not.
        """
        if self.ran is not None:
            return read_ran(self.ran, problem)
        return read_stated(self.text, self.finish, problem.answer_type)

    def text_until(self, tokens: int) -> str:
        """The text after the first ``tokens`` tokens."""
        return self.text if tokens >= self.tokens else self.text[: sum(self.pieces[:tokens])]


@dataclass(frozen=True, slots=True)
class RecordedMend:
    """What was drawn on from the middle of a sample, after a correction.

    ``written`` is the sample up to there and the correction, of which ``read`` tokens were read
    again; ``sample`` is what followed alone.
    """

    written: str
    read: int
    sample: RecordedSample


@dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """A prompt, by its ``prompt_key``, the samples drawn for it, the hidden states at its end.

    In a pool it is the question ``id``. ``seconds`` is the wall time since the one before was
    kept: questions are drawn side by side, so that only the sum over a pool means something.
    """

    key: str
    prompt_tokens: int
    samples: tuple[RecordedSample, ...]
    states: States | None = None
    id: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything ``RecordedEngine`` serves: questions by ``prompt_key``, all drawn the same way."""

    info: EngineInfo
    sampling: Sampling
    max_tokens: int
    questions: Mapping[str, RecordedQuestion]


def row_key(row: ScoreRow) -> str:
    """A hash of what a verifier asked: the suffix and the label groups, not the branch."""
    asked = json.dumps([prompt_key(row.suffix), row.labels])
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class PoolHeader:
    """How every sample of a pool was drawn: what must agree for pools to be joined.

    ``form`` is that of its candidates; ``prompt_format`` is the hash of what the prompts of a fixed
    question look like; ``build``
    tells which library drew the samples; ``seed`` is the pool's own. ``parallel``, ``context`` and
    ``settings`` (threads, KV layout) bear on the speed alone.
    """

    model: str
    sha256: str
    parameters: int
    context: int
    parallel: int
    chat_template: str | None
    control_tokens: dict[str, str]
    template_arguments: dict[str, Any]
    prompt_format: str
    sampling: Sampling
    max_tokens: int
    seed: int
    build: str
    settings: dict[str, Any] = field(default_factory=dict)
    form: str = PROSE


@dataclass(frozen=True, slots=True)
class SamplePool:
    """A header and its questions, by question id, in the order they were drawn."""

    header: PoolHeader
    questions: dict[str, RecordedQuestion]

    def add(self, question: RecordedQuestion) -> None:
        """Take in ``question``; samples of one that is known are joined with its own."""
        known = self.questions.get(question.id)
        if known is not None:
            samples = {s.index: s for s in (*known.samples, *question.samples)}
            question = replace(
                question,
                samples=tuple(samples[index] for index in sorted(samples)),
                seconds=known.seconds + question.seconds,
                states=question.states or known.states,
            )
        self.questions[question.id] = question

    def recording(self) -> Recording:
        """What ``RecordedEngine`` serves."""
        header = self.header
        info = EngineInfo(
            name="recorded",
            model=header.model,
            parameters=header.parameters,
            context=header.context,
            parallel=header.parallel,
            chat_template=header.chat_template,
            control_tokens=header.control_tokens,
        )
        served = {each.key: each for each in self.questions.values()}
        return Recording(info, header.sampling, header.max_tokens, served)

    def list_programs(self) -> dict[str, Execution]:
        """What the programs of all samples came to, by their code, those drawn on included."""
        texts = [
            (sample.text, sample)
            for question in self.questions.values()
            for sample in question.samples
        ]
        texts += [
            (sample.mended.written + sample.mended.sample.text, sample.mended.sample)
            for _, sample in texts
            if sample.mended is not None
        ]
        return {
            code: sample.ran
            for text, sample in texts
            if sample.ran is not None and (code := find_program(text, sample.finish)) is not None
        }

    def tokens_a_second(self) -> float | None:
        """Generated tokens a second over the whole pool, judging included; None if not timed."""
        seconds = sum(question.seconds for question in self.questions.values())
        tokens = sum(s.tokens for q in self.questions.values() for s in q.samples)
        return tokens / seconds if seconds else None


def read(path: Path) -> SamplePool:
    """Load a pool; one that is published as ``.jsonl.gz`` is read as it is.

    Raises:
        UsageError: no pool, one of another format, or one with a damaged line in its middle.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The pool {path} cannot be read: {reason}.") from error
    return _parse(path, data[: data.rfind(b"\n") + 1])


def _parse(path: Path, data: bytes) -> SamplePool:
    """The pool in whole lines of ``path``."""
    rows = (_read_row(path, number, line) for number, line in enumerate(data.splitlines(), 1))
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{path} is empty: no pool was recorded there.")
    if first.pop("format", None) != FORMAT:
        raise UsageError(f"{path} is not a pool of the format {FORMAT}.")
    try:
        header = PoolHeader(**{**first, "sampling": Sampling(**first["sampling"])})
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: the header is not a pool's ({error}).") from error
    pool = SamplePool(header, {})
    for number, row in enumerate(rows, 2):
        try:
            pool.add(_decode(row))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path}, line {number}: not a pool question ({error}).") from error
    return pool


def _read_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}, line {number}: not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise UsageError(f"{path}, line {number}: not a JSON object.")
    return row


class PoolWriter:
    """Appends questions to a pool file; made by ``write``."""

    def __init__(self, file: LineFile, pool: SamplePool) -> None:
        self._file = file
        self.pool = pool

    def missing(self, id: str, samples: int) -> list[int]:
        """Which of the sample indices 0 … ``samples`` − 1 question ``id`` does not have yet."""
        known = self.pool.questions.get(id)
        there = {sample.index for sample in known.samples} if known else set()
        return [index for index in range(samples) if index not in there]

    def append(self, question: RecordedQuestion) -> None:
        """Write one line and wait until it is on the disk.

        Raises:
            OSError: the line could not be written; what was written before stays valid.
        """
        self._file.append(_to_line(_encode(question)))
        self.pool.add(question)


@contextmanager
def write(path: Path, header: PoolHeader) -> Iterator[PoolWriter]:
    """Open ``path`` to append; creates it with ``header``, or goes on where it stopped.

    Raises:
        UsageError: the file was drawn in another way, or another process is writing it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with LineFile(path, UsageError(f"Another process is recording into {path}.")) as file:
        file.cut()
        if file.lines:
            pool = _parse(path, file.lines)
            free = {"parallel", "settings", "context"}  # each is planned for the longest candidate
            old, new = asdict(pool.header), asdict(header)
            differing = [name for name in old if name not in free and old[name] != new[name]]
            if differing:
                raise UsageError(
                    f"{path} was drawn with other settings: {', '.join(differing)} differ.",
                    hint="Name another file with --out, or draw with the same settings.",
                )
        else:
            pool = SamplePool(header, {})
            file.append(_to_line({"format": FORMAT, **asdict(header)}))
        yield PoolWriter(file, pool)


def _to_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _encode(question: RecordedQuestion) -> dict[str, Any]:
    return {
        "question": question.id,
        "prompt_key": question.key,
        "prompt_tokens": question.prompt_tokens,
        "seconds": round(question.seconds, 3),
        "states": pack(question.states),
        "samples": [_encode_sample(each) for each in question.samples],
    }


def _encode_sample(sample: RecordedSample) -> dict[str, Any]:
    mended = sample.mended
    return {
        **asdict(replace(sample, states=None, mended=None)),
        "scores": {
            key: [score.probabilities, score.suffix_tokens] for key, score in sample.scores.items()
        },
        "states": pack(sample.states),
        "mended": mended
        and {
            "written": mended.written,
            "read": mended.read,
            "sample": _encode_sample(mended.sample),
        },
    }


def _decode(row: dict[str, Any]) -> RecordedQuestion:
    return RecordedQuestion(
        row["prompt_key"],
        row["prompt_tokens"],
        tuple(map(_decode_sample, row["samples"])),
        unpack(row.get("states")),
        row["question"],
        row["seconds"],
    )


def _decode_sample(row: dict[str, Any]) -> RecordedSample:
    confidence, mended = row["confidence"], row.get("mended")
    return RecordedSample(
        row["index"],
        row["text"],
        row["tokens"],
        Finish(row["finish"]),
        tuple(row["pieces"]),
        Confidence(**confidence) if confidence else None,
        {
            key: RecordedScore(tuple(probabilities), tokens)
            for key, (probabilities, tokens) in row["scores"].items()
        },
        unpack(row.get("states")),
        mended
        and RecordedMend(mended["written"], mended["read"], _decode_sample(mended["sample"])),
        row.get("seed", 0),
        row.get("judge"),
        Execution(**row["ran"]) if row.get("ran") else None,
    )
