"""Re-quantises a model to a type that suits the processor, and keeps it only if that helps.

llama.cpp's fast paths take some tensor types and not others. A file that is re-quantised
*upwards* (Q5_0, Q4_K, Q6_K → Q8_0) says the same and can run twice as fast, or no faster: which
of them is measured here, on this machine, with the engine and the batches that searches use, the
two files in turn. A lossy type is written only when it is asked for by name.

The original stays: it is what the registry pins and what ``undo`` goes back to. The new file lies
in the model's folder, and ``files`` uses it in the original's place while the record says so.
Killed at any point, this leaves the original in use; what was written whole is gone on with.

Not covered: types that need an importance matrix, files in a place ttc does not keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.engines.llamacpp import Settings, selftest
from ttc_cli.engines.llamacpp import plan as plan_memory
from ttc_cli.errors import DiskFull, EngineError, MemoryShort, TtcError, UsageError
from ttc_cli.models import files, hardware, records
from ttc_cli.models.gguf import GgufInfo, read_header
from ttc_cli.models.progress import ModelProgress, Phase, Report, format_bytes, ignore
from ttc_cli.models.ranking import record_speed
from ttc_cli.models.records import lock
from ttc_cli.tuning import comparison
from ttc_cli.tuning.comparison import Agreement, Rates
from ttc_cli.tuning.verdict import average, decide

UPWARDS = "Q8_0"
"""The type that loses next to nothing and that every fast path takes."""

BITS = {"BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q4_K_M": 4.9, "Q4_0": 4.55}
"""Bits an element takes in a file of that kind, its few matrices of other types included."""

_TYPE_BITS = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_0": 5.5,
    "Q5_1": 6.0, "Q5_K": 5.5, "Q4_1": 5.0,
}  # fmt: skip
_FEWEST_BITS = 4.6
"""Of all other types at most."""

ROUNDS = 2
_MARGIN = 64 << 20


@dataclass(frozen=True, slots=True)
class TunePlan:
    """A tuning that is about to begin. ``bytes``: roughly, of the new file.

    ``written``: an earlier run wrote the file, so it is only measured.
    """

    name: str
    source: Path
    target: Path
    kind: str
    lossy: bool
    bytes: int
    tensors: dict[str, int]
    written: bool


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a tuning came to. ``reason`` in words; ``state`` as in ``records.Tuning``.

    ``before``, ``after``: the rates of each round. ``gain``: how many times as fast it does
    ``verdict.WORK``, over all rounds. ``busy``: cores' worth of other programs
    meanwhile.
    """

    plan: TunePlan
    state: str
    reason: str
    gain: float
    before: tuple[Rates, ...]
    after: tuple[Rates, ...]
    agreement: Agreement
    busy: float
    bytes: int

    @property
    def used(self) -> bool:
        """Whether the new file is used from now on."""
        return self.state == "used"


def plan(name: str, kind: str = UPWARDS) -> TunePlan:
    """What tuning ``name`` to ``kind`` would do; nothing is written.

    Raises:
        UsageError: no such model or kind, a bare path, or a file that is of that kind already.
        ModelMissing, ModelCorrupt, ModelUnsupported: the model's file is not here, or no good.
        DiskFull: no room for the new file.
        MemoryShort: a search with it would have room for fewer candidates.
    """
    if kind not in BITS:
        raise UsageError(
            f"There is no type {kind!r} to tune to.", f"choose one of {', '.join(BITS)}"
        )
    record = _require(name)
    if record.tuned is not None and record.tuned.kind != kind:
        raise UsageError(
            f"{record.name} runs as {record.tuned.kind} now; {kind} is measured against the "
            "original.",
            f"ttc models tune {record.name} --undo && ttc models tune {record.name} --type {kind}",
        )
    info = read_header(record.path)
    weights = {name: count for name, count in info.tensor_types.items() if name != "F32"}
    if set(weights) == {kind}:
        raise UsageError(f"{record.name} is {kind} already: there is nothing to tune.", None)
    stem = record.path.name.removesuffix(".gguf")
    target = records.folder_of(record.name) / f"{stem}.tuned-{kind}.gguf"
    size = int(info.parameters * BITS[kind] / 8) + (16 << 20)
    written = _is_written(record, target, kind)
    made = TunePlan(
        name=record.name,
        source=record.path,
        target=target,
        kind=kind,
        lossy=is_lossy(info, kind),
        bytes=target.stat().st_size if written else size,
        tensors=dict(info.tensor_types),
        written=written,
    )
    if not written:
        _check_disk(made)
    _check_memory(info, made)
    return made


def is_lossy(info: GgufInfo, kind: str) -> bool:
    """Whether ``kind`` has fewer bits than some matrix of the file. Vectors are F32 in any file."""
    types = set(info.tensor_types)
    if info.file_bytes < 3 * info.parameters:
        types.discard("F32")
    return any(BITS[kind] < _TYPE_BITS.get(name, _FEWEST_BITS) for name in types)


def tune(
    name: str,
    kind: str = UPWARDS,
    *,
    keep: bool = False,
    report: Report = ignore,
    now: Callable[[], datetime] = datetime.now,
) -> TuneResult:
    """Write ``name`` as ``kind``, measure both files in turn, and keep the faster one in use.

    ``keep``: use the new file even if it is not faster; never if it answers otherwise.

    Raises:
        TtcError: another process is at work on this model.
        EngineError: the library could not write or run the file; nothing of it stays then.
        UsageError, ModelError, DiskFull, MemoryShort: as ``plan``.
    """
    plan(name, kind)
    with lock(_require(name).name):
        made = plan(name, kind)
        if made.written:
            report(
                ModelProgress(name, Phase.NOTE, note=f"{made.target.name} is here: measuring it.")
            )
        else:
            _write(made, report)
        try:
            outcome = _measure(made, report, keep=keep)
        except EngineError:
            _forget(made)
            raise
        _settle(outcome, now())
        return outcome


def undo(name: str) -> int:
    """Go back to the original of ``name``; returns the bytes that were freed.

    Raises:
        UsageError: no such model, or it is not tuned.
        TtcError: another process is at work on this model.
    """
    model = files.resolve_unchecked(name)
    folder = records.folder_of(model.name)
    with lock(model.name):
        record = records.read_record(folder)
        if record is None or record.tuning is None or record.tuning.state not in ("used", "trial"):
            raise UsageError(f"{model.name} is not tuned.", f"ttc models show {model.name}")
        freed = record.tuning.path.stat().st_size if record.tuning.path.is_file() else 0
        records.write_record(folder, replace(record, tuning=replace(record.tuning, state="undone")))
        record.tuning.path.unlink(missing_ok=True)
    return freed


def _require(name: str) -> records.Record:
    """The record of a model that is here, its files checked."""
    model = files.resolve_unchecked(name)
    if model.path is not None:
        raise UsageError(
            f"{name} is a file of yours, which ttc does not keep.", f"ttc models add {name}"
        )
    files.resolve(name).require_path()
    record = records.find_record(model.name)
    if record is None:
        raise TtcError(f"{records.folder_of(model.name)} cannot be written.", "ttc doctor")
    return record


def _is_written(record: records.Record, target: Path, kind: str) -> bool:
    """Whether ``target`` is whole: written by an earlier run from the very file that is here."""
    tuning = record.tuning
    if tuning is None or tuning.path != target or not target.is_file():
        return False
    status = target.stat()
    return (
        tuning.kind == kind
        and tuning.made_from == record.sha256
        and tuning.state in ("trial", "used")
        and (status.st_size, status.st_mtime_ns) == (tuning.size, tuning.mtime_ns)
    )


def _check_disk(made: TunePlan) -> None:
    free, needed = hardware.read_free_disk(made.target.parent), made.bytes + _MARGIN
    if needed > free:
        raise DiskFull(
            f"{made.name} as {made.kind} needs about {format_bytes(needed)} on the disk of "
            f"{paths.models_dir()}, {format_bytes(free)} are free.",
            "ttc models prune",
        )


def _check_memory(info: GgufInfo, made: TunePlan) -> None:
    free = hardware.read_memory().free
    now = plan_memory(info, Settings(), free)
    try:
        then = plan_memory(replace(info, file_bytes=made.bytes), Settings(), free)
    except MemoryShort:
        then = None
    if then is None or (then.parallel, then.kv_type) != (now.parallel, now.kv_type):
        room = "none" if then is None else f"{then.parallel} ({then.kv_type} cache)"
        raise MemoryShort(
            f"{made.name} as {made.kind} takes about {format_bytes(made.bytes)} of memory instead "
            f"of {format_bytes(info.file_bytes)}; of the {now.parallel} candidates that fit at "
            f"once, room would be left for {room}.",
            "close other programs, or leave it as it is",
        )


def _write(made: TunePlan, report: Report) -> None:
    """Write the new file: under another name until it is whole, hashed and on the disk."""
    folder = made.target.parent
    part = made.target.with_name(made.target.name + ".part")
    part.unlink(missing_ok=True)  # a killed run's: its header was never written

    def tell(done: int) -> None:
        report(ModelProgress(made.name, Phase.TUNE, min(done, made.bytes), made.bytes))

    tell(0)
    try:
        comparison.quantise(made.source, part, made.kind, tell)
        total = read_header(part).file_bytes
        sha256 = records.check_file(
            part,
            None,
            made.name,
            lambda done: report(ModelProgress(made.name, Phase.CHECK, done, total)),
        )
        # Its own tuning may be in use under this very name: from here on it is on trial.
        _note(made, part, sha256)
        part.replace(made.target)
        paths.sync_folder(folder)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, EngineError) and hardware.read_free_disk(folder) < _MARGIN:
            raise DiskFull(f"No room left on the disk of {folder}.", "ttc models prune") from error
        raise


def _note(made: TunePlan, part: Path, sha256: str) -> None:
    record = _record_of(made)
    old = record.tuning.path if record.tuning is not None else None
    status = part.stat()
    tuning = records.Tuning(
        path=made.target,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
        kind=made.kind,
        lossy=made.lossy,
        made_from=record.sha256,
    )
    records.write_record(made.target.parent, replace(record, tuning=tuning))
    if old is not None and old != made.target:
        old.unlink(missing_ok=True)


def _measure(made: TunePlan, report: Report, *, keep: bool) -> TuneResult:
    report(ModelProgress(made.name, Phase.NOTE, note="Comparing what the two files say …"))
    agreement = comparison.compare(made.source, made.target)
    before: list[Rates] = []
    after: list[Rates] = []
    busy = 0.0
    for number in range(1, ROUNDS + 1):
        for path, rates, which in (
            (made.source, before, "the original"),
            (made.target, after, made.kind),
        ):
            note = f"Measuring {which}, round {number} of {ROUNDS} …"
            report(ModelProgress(made.name, Phase.NOTE, note=note))
            busy = max(busy, hardware.watch_contention().cores)
            rates.append(comparison.time_file(path))
    state, reason, gain = decide(before, after, agreement, lossy=made.lossy, keep=keep)
    size = made.target.stat().st_size
    return TuneResult(made, state, reason, gain, tuple(before), tuple(after), agreement, busy, size)


def _settle(outcome: TuneResult, moment: datetime) -> None:
    """Write the verdict down; the new file goes unless it is used."""
    record = _record_of(outcome.plan)
    if record.tuning is None:
        raise TtcError(f"{outcome.plan.name} was changed while it was measured.", "ttc models list")
    tuning = replace(
        record.tuning,
        state=outcome.state,
        build=selftest.build_key(),
        processor=hardware.read_cpu().model,
        date=moment.isoformat(timespec="seconds"),
        figures=summarise(outcome),
    )
    records.write_record(outcome.plan.target.parent, replace(record, tuning=tuning))
    if not outcome.used:
        outcome.plan.target.unlink(missing_ok=True)
    elif outcome.busy == 0:
        record_speed(record.name, outcome.after[-1].one)


def summarise(outcome: TuneResult) -> dict[str, Any]:
    """The figures of an outcome as plain numbers, means over the rounds."""
    return {
        "reason": outcome.reason,
        "gain": round(outcome.gain, 3),
        "before": average(outcome.before),
        "after": average(outcome.after),
        "busy_cores": round(outcome.busy, 2),
        **{key: round(value, 5) for key, value in asdict(outcome.agreement).items()},
    }


def _record_of(made: TunePlan) -> records.Record:
    record = records.read_record(made.target.parent)
    if record is None:
        raise TtcError(f"{made.name} was removed in the meantime.", f"ttc models pull {made.name}")
    return record


def _forget(made: TunePlan) -> None:
    """Take back a file that cannot be run."""
    record = records.read_record(made.target.parent)
    if record is not None:
        records.write_record(made.target.parent, replace(record, tuning=None))
    made.target.unlink(missing_ok=True)
