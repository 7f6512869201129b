"""Labelled questions: JSONL, CSV or Parquet files with a question and its right answer a row.

Understood: GSM8K (``question``, ``answer`` whose last line is ``#### 18``), MATH-500 (``problem``,
``answer``), multiple choice (``choices`` or ``options``, a list, and ``answer`` or ``answerKey``, a
letter or a place from 0; also as ``{"text": […], "label": […]}``) and ttc's own (``question`` or
``problem``, ``answer``, optionally ``id`` and ``type``, one of ``AnswerType``).

``NAMED`` are sets on the model hub. They are fetched once, into the hub's own cache.
"""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.errors import NetworkError, UsageError
from ttc_cli.types import AnswerType, Problem


@dataclass(frozen=True, slots=True)
class Question:
    """A problem and the right answer, as plain text. ``id`` is unique within its file."""

    id: str
    problem: Problem
    answer: str


@dataclass(frozen=True, slots=True)
class HubSet:
    """A file of a dataset repository on the hub. ``licence`` is the dataset's own."""

    repo: str
    file: str
    licence: str
    kind: AnswerType | None = None


NAMED = {
    "gsm8k": HubSet("openai/gsm8k", "main/test-00000-of-00001.parquet", "MIT"),
    "gsm8k-train": HubSet("openai/gsm8k", "main/train-00000-of-00001.parquet", "MIT"),
    "math500": HubSet("HuggingFaceH4/MATH-500", "test.jsonl", "MIT"),
    "aime": HubSet(
        "HuggingFaceH4/aime_2024",
        "data/train-00000-of-00001.parquet",
        "Apache-2.0",
        AnswerType.NUMBER,
    ),
    "arc": HubSet("allenai/ai2_arc", "ARC-Challenge/test-00000-of-00001.parquet", "CC-BY-SA-4.0"),
    "mmlu": HubSet("cais/mmlu", "all/test-00000-of-00001.parquet", "MIT"),
}
"""Sets that ``ttc bench`` knows by name."""


def load(path: Path, part: str | None = None, kind: AnswerType | None = None) -> list[Question]:
    """Read a file of labelled questions.

    Args:
        path: a JSONL, CSV or Parquet file, by its ending.
        part: ``start:stop`` as in a slice (``0:60``, ``:20``, ``100:``); None is all.
        kind: the answers' type where rows do not tell.

    Raises:
        UsageError: the file or ``part`` cannot be understood.
    """
    chosen = _slice(part)
    rows = list(_read_rows(path))[chosen]
    questions = [_question(path, number, where, row, kind) for number, where, row in rows]
    if not questions:
        raise UsageError(f"No questions in {path}" + (f" at {part}." if part else "."))
    if len({question.id for question in questions}) < len(questions):
        raise UsageError(f"Two questions in {path} have the same id.")
    return questions


def find(name: str, part: str | None = None) -> list[Question]:
    """The questions of the file ``name``, or of the set of that name in ``NAMED``.

    Raises:
        UsageError: neither a file nor a set, or it cannot be understood.
        NetworkError: the hub cannot be reached, and the set is not in its cache.
    """
    path = Path(name).expanduser()
    if path.exists() or name not in NAMED:
        if not path.exists():
            raise UsageError(
                f"There is no file {name!r}, and no set of that name.",
                f"Give a JSONL or CSV file, or one of {', '.join(NAMED)}.",
            )
        return load(path, part)
    return load(_fetch(NAMED[name]), part, NAMED[name].kind)


def _fetch(wanted: HubSet) -> Path:
    """The file of a named set, from the hub's cache or the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    from ttc_cli.models.hub import Hub, refusal

    hub = Hub.from_environment()
    get = functools.partial(hf_hub_download, wanted.repo, wanted.file, repo_type="dataset")
    try:
        return Path(get(local_files_only=True))
    except LocalEntryNotFoundError:
        hub.probe()
    try:
        return Path(get(endpoint=hub.endpoint))
    except LocalEntryNotFoundError as error:  # cut off, or an answer that is no hub's
        raise NetworkError(
            f"The hub {hub.endpoint} did not give {wanted.repo}.", "repeat the command later"
        ) from error
    except HfHubHTTPError as error:
        raise refusal(
            hub.endpoint, f"datasets/{wanted.repo}", error.response.status_code
        ) from error


def _slice(part: str | None) -> slice:
    if part is None:
        return slice(None)
    start, colon, stop = part.partition(":")
    try:
        if not colon:
            raise ValueError
        return slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        raise UsageError(f"{part!r} is no range of questions; write it as 0:60.") from None


def _read_rows(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Each row with its number from 0 and what to call it in messages."""
    if path.suffix == ".parquet":
        for number, row in enumerate(_read_parquet(path)):
            yield number, f"{path}, row {number + 1}", row
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The questions in {path} cannot be read: {error}.") from error
    if path.suffix == ".csv":
        try:
            for number, row in enumerate(csv.DictReader(io.StringIO(text), strict=True)):
                yield number, f"{path}, row {number + 1}", {k: v for k, v in row.items() if v}
        except csv.Error as error:
            raise UsageError(f"{path} is no CSV file: {error}.") from error
        return
    for number, line in enumerate(text.split("\n")):
        if line.strip():
            where = f"{path}, line {number + 1}"
            try:
                found = json.loads(line)
            except ValueError as error:
                raise UsageError(f"{where}: not a labelled question ({error!r}).") from error
            if not isinstance(found, dict):
                raise UsageError(f"{where}: not a labelled question, but {found!r:.40}.")
            yield number, where, found


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"{path.name} is a Parquet file, which is read with pyarrow; it is not installed.",
            "pip install 'ttc-cli[bench]'",
        ) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise UsageError(f"{path} is no Parquet file: {error}.") from error
    return rows


def _question(
    path: Path, number: int, where: str, row: dict[str, Any], kind: AnswerType | None
) -> Question:
    try:
        text = row["question"] if "question" in row else row["problem"]
        answer = str(row["answer"] if "answer" in row else row["answerKey"])
        kind = AnswerType(row["type"]) if "type" in row else kind
        options = row.get("choices") or row.get("options")
        if options is not None:
            text, answer = _choose_among(text, options, answer)
            kind = kind or AnswerType.CHOICE
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{where}: not a labelled question ({error!r}).") from error
    if not isinstance(text, str) or not text.strip() or not answer.strip():
        raise UsageError(f"{where}: the question or its answer is empty.")
    _, marker, final = answer.rpartition("####")
    if marker:
        answer, kind = final.strip(), kind or AnswerType.NUMBER
    elif "problem" in row:
        kind = kind or AnswerType.LATEX
    name = str(row.get("id") or row.get("unique_id") or f"{path.stem}/{number}")
    return Question(name, Problem(text, kind or AnswerType.AUTO), answer)


def _choose_among(text: str, options: Any, answer: str) -> tuple[str, str]:
    """The question with its options, a letter each, and the right letter."""
    if isinstance(options, str):
        options = json.loads(options)
    if isinstance(options, dict):
        labels, texts = [str(each) for each in options["label"]], list(options["text"])
    else:
        texts = list(options)
        labels = [chr(ord("A") + place) for place in range(len(texts))]
    letters = [chr(ord("A") + place) for place in range(len(texts))]
    right = letters[labels.index(answer)] if answer in labels else letters[int(answer)]
    listed = "\n".join(f"{letter}) {each}" for letter, each in zip(letters, texts, strict=True))
    return f"{text}\n\n{listed}", right
