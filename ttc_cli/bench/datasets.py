"""Labelled questions: JSONL, CSV or Parquet files with a question and its right answer a row.

Understood: GSM8K (``question``, ``answer`` whose last line is ``#### 18``), MATH-500 (``problem``,
``answer``), MATH (``problem``, ``solution`` with the answer in a box), multiple choice (``choices``
or ``options``, a list, and ``answer`` or ``answerKey``, a letter, a place from 0 or an option's
text; also as ``{"text": […], "label": […]}``) and ttc's own (``question`` or ``problem``,
``answer``, optionally ``id`` and ``type``, one of ``AnswerType``). Columns are found in any case.

``NAMED`` are sets on the model hub. They are fetched once, into the hub's own cache.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ttc_cli.bench import labels
from ttc_cli.errors import NetworkError, UsageError
from ttc_cli.tables import FileRow, read_csv, read_jsonl
from ttc_cli.texts import read_utf8
from ttc_cli.types import AnswerType, Problem


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A problem and the right answer, as plain text. ``id`` is unique within its file."""

    id: str
    problem: Problem
    answer: str


class HubSet(NamedTuple):
    """A file of a dataset repository on the hub."""

    repo: str
    file: str
    kind: AnswerType | None = None


# With the licence of each.
NAMED = {
    "gsm8k": HubSet("openai/gsm8k", "main/test-00000-of-00001.parquet"),  # MIT
    "gsm8k-train": HubSet("openai/gsm8k", "main/train-00000-of-00001.parquet"),  # MIT
    "math500": HubSet("HuggingFaceH4/MATH-500", "test.jsonl"),  # MIT
    "aime": HubSet(  # Apache-2.0
        "HuggingFaceH4/aime_2024", "data/train-00000-of-00001.parquet", AnswerType.NUMBER
    ),
    "arc": HubSet("allenai/ai2_arc", "ARC-Challenge/test-00000-of-00001.parquet"),  # CC-BY-SA-4.0
    "mmlu": HubSet("cais/mmlu", "all/test-00000-of-00001.parquet"),  # MIT
}
"""Sets that ``ttc bench`` knows by name."""


def load(
    path: Path, part: str | None = None, kind: AnswerType | None = None
) -> list[LabelledQuestion]:
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
    questions = [_read_question(path, number, row, kind) for number, row in rows]
    if not questions:
        raise UsageError(f"No questions in {path}" + (f" at {part}." if part else "."))
    twins = [id for id, count in Counter(each.id for each in questions).items() if count > 1]
    if twins:
        raise UsageError(f"Two questions in {path} have the same id, {twins[0]!r:.40}.")
    return questions


def find(name: str, part: str | None = None) -> list[LabelledQuestion]:
    """The questions of the set ``name`` in ``NAMED``, else of the file of that name.

    Raises:
        UsageError: neither a file nor a set, or it cannot be understood.
        NetworkError: the hub cannot be reached, and the set is not in its cache.
    """
    if name in NAMED:  # also where the folder holds a file that is called so
        return load(_fetch(NAMED[name]), part, NAMED[name].kind)
    path = Path(name).expanduser()
    if not path.exists():
        raise UsageError(
            f"There is no file {name!r}, and no set of that name.",
            f"Give a JSONL or CSV file, or one of {', '.join(NAMED)}.",
        )
    return load(path, part)


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
    except LocalEntryNotFoundError as error:  # cut off, or not the answer of a hub
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
        raise UsageError(f"{part!r} is not a range of questions; write it as 0:60.") from None


def _read_rows(path: Path) -> Iterable[tuple[int, FileRow]]:
    """Each row with its number from 0."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        rows = enumerate(_read_parquet(path))
        return ((number, FileRow(number + 1, row, unit="row")) for number, row in rows)
    data = read_utf8(path, str(path), "The questions in")
    if ending in (".csv", ".tsv"):
        return enumerate(read_csv(data, str(path), (*labels.QUESTION, *labels.ANSWER)))
    return ((row.number - 1, row) for row in read_jsonl(data, str(path)))


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"{path.name} is a Parquet file: reading it needs pyarrow, which is not installed.",
            "pip install 'ttc-cli[bench]'",
        ) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise UsageError(f"{path} is not a Parquet file: {error}.") from error
    return rows


def _read_question(
    path: Path, number: int, row: FileRow, kind: AnswerType | None
) -> LabelledQuestion:
    if row.error is not None:
        raise UsageError(f"{path}: {row.error.message}", row.error.hint) from row.error
    try:
        text, answer, kind = labels.read_label(row.columns, kind)
        _, id = labels.find_value(row.columns, ("id", "unique_id")) or ("", f"{path.stem}/{number}")
        if isinstance(id, bool) or not isinstance(id, str | int):
            raise UsageError("the id is neither text nor a number.")
    except UsageError as error:
        raise UsageError(f"{path}, {row.where}: {error.message}", error.hint) from error
    return LabelledQuestion(str(id), Problem(text, kind), answer)
