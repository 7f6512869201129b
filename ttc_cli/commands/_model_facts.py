"""What ``ttc models list`` and ``show`` say of a model, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from ttc_cli.models import records
from ttc_cli.models.files import Model
from ttc_cli.models.gguf import read_header
from ttc_cli.models.progress import format_bytes
from ttc_cli.models.ranking import Candidate
from ttc_cli.models.records import Record
from ttc_cli.models.registry import Entry

Row: TypeAlias = tuple[str, ...]


def summarise(
    name: str, entry: Entry | None, record: Record | None, default: str
) -> dict[str, Any]:
    """A row of the list: what the registry says of a model, and what is here of it.

    ``default`` is the name of the default model.
    """
    tuned = record.tuned if record is not None else None
    return {
        "name": name,
        "kind": entry.kind if entry is not None else "generator",
        "tier": entry.tier if entry is not None else "own",
        "license": entry.license if entry is not None else "unknown",
        "measured": entry is not None and bool(entry.measured),
        "bytes": entry.size if entry is not None else record and record.size,
        "status": _status(entry, record),
        "default": entry is not None and name == default,
        "tuned": None if tuned is None else tuned.kind,
    }


def tabulate(candidates: Sequence[Candidate], verdicts: Sequence[str], taken: str) -> list[Row]:
    """The ranking as a table, with a star at the one that is ``taken``."""
    rows: list[Row] = [("  NAME", "SIZE", "NEEDS", "TOKENS/S", "MEASURED", "WHY")]
    for each, verdict in zip(candidates, verdicts, strict=True):
        sizes = (format_bytes(size) if size else "?" for size in (each.entry.size, each.needs))
        name = ("* " if each.name == taken else "  ") + each.name
        # Rounded down: what is too slow must not look as if it were not.
        shown = f"{each.speed:.0f}" if each.speed >= 10 else f"{int(each.speed * 10) / 10}"
        speed = ("" if each.how == "measured" else "~") + shown if each.entry.size else "?"
        rows.append((name, *sizes, speed, "yes" if each.entry.measured else "no", verdict))
    return rows


def _status(entry: Entry | None, record: Record | None) -> str:
    """``here``, ``missing``, ``outdated`` or ``changed``, without hashing anything."""
    if record is None or not record.path.is_file():
        return "missing"
    if entry is not None and entry.sha256 not in (None, record.sha256):
        return "outdated"
    return "here" if record.unchanged else "changed"


def describe_model(model: Model) -> dict[str, Any]:
    """What is known about a model, and the header of its file if it is here.

    Raises:
        ModelMissing: the file cannot be read.
        ModelCorrupt: it is not a GGUF.
    """
    entry = model.entry
    details: dict[str, Any] = {
        "name": model.name,
        "title": entry.title,
        "kind": entry.kind,
        "tier": entry.tier,
        "license": entry.license,
        "bytes": entry.size,
        "sha256": entry.sha256 or "not pinned: the first download will be",
        "context": entry.context,
        "layer_kind": entry.layers,
        "measured": entry.measured or "nothing with ttc: the rest is what its makers say",
        "sampling": asdict(entry.sampling),
        "thinks": entry.thinks,
        "template": entry.template_note,
        "format": entry.format,
        "note": entry.note,
        "sources": [str(source) for source in entry.sources],
        "path": None if model.path is None else str(model.path),
    }
    if model.path is not None:
        details |= _tuning(model.name)
        info = read_header(model.path)
        details |= {
            "bytes": info.file_bytes,
            "architecture": info.architecture,
            "parameters": info.parameters,
            "context": info.context_length,
            "layers": info.layers,
            "vocabulary": info.vocab_size,
            "chat_template": "yes" if info.chat_template else "none",
            "tensors": dict(info.tensor_types),
        }
    return details


def _tuning(name: str) -> dict[str, Any]:
    """What tuning came to, where the model was tuned, and the original's path."""
    record = records.find_record(name)
    tuning = record.tuning if record is not None else None
    if record is None or tuning is None:
        return {}
    how = f"{tuning.kind}{' (lossy)' if tuning.lossy else ''} {tuning.state}"
    reason = tuning.figures.get("reason")
    if reason:
        how += f", {tuning.date[:10]}: {reason}"
    if record.tuned is None:
        return {"tuning": how}
    return {
        "tuning": f"{how}; to go back: ttc models tune {name} --undo",
        "original": str(record.path),
    }
