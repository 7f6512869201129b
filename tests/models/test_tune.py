"""``ttc models tune``: what is written, which file is used then, and what a kill leaves behind.

The native library is played by ``Fakes``: its "re-quantised" files are small GGUFs, its rates and
answers are given by each test. The last tests run the real thing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from fake_tuning import ALIKE, FAST, ORIGINAL, SLOW, TUNED, Fakes, play
from tiny_gguf import TEMPLATE, gguf

from ttc_cli.engines.base import EngineInfo
from ttc_cli.errors import (
    DiskFull,
    EngineError,
    MemoryShort,
    ModelCorrupt,
    ModelMissing,
    TtcError,
    UsageError,
)
from ttc_cli.main import main
from ttc_cli.models import cleaning, files, hardware, records
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hardware import BusyProcess, Contention, Memory
from ttc_cli.models.own import add_entry
from ttc_cli.models.pull import ensure, verify
from ttc_cli.models.ranking import Machine, estimate_speed
from ttc_cli.models.records import lock
from ttc_cli.models.registry import load_registry
from ttc_cli.paths import policies_dir
from ttc_cli.policy.file import Policy, Source
from ttc_cli.policy.table import SHIPPED
from ttc_cli.prompts import Chat, hash_prompts
from ttc_cli.tuning import comparison, tune
from ttc_cli.tuning.comparison import Agreement, Rates
from ttc_cli.tuning.verdict import average, decide, expect_gain, seconds

TWO_CORES = Machine(8 * 10**9, 2)

GB = 10**9


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "watch_contention", lambda: Contention((), 0.0))
    monkeypatch.setattr(hardware, "read_memory", lambda: Memory(16 * GB, 12 * GB))


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A file of the user's, registered as ``tiny``; its siblings belong in ttc's folder."""
    path = tmp_path / "Tiny.gguf"
    path.write_bytes(ORIGINAL)
    add_entry(str(path), name="tiny")
    return path


def tune_tiny(fakes: Fakes, kind: str = "Q8_0", **options: bool) -> tune.TuneResult:
    with pytest.MonkeyPatch.context() as patch:
        play(fakes, patch)
        return tune.tune("tiny", kind, now=lambda: datetime(2026, 1, 2), **options)


def siblings() -> list[str]:
    return sorted(path.name for path in records.folder_of("tiny").glob("*gguf*"))


def record() -> records.Record:
    found = records.find_record("tiny")
    assert found is not None
    return found


def test_a_faster_file_is_used_in_place_of_the_original(own: Path) -> None:
    fakes = Fakes()
    outcome = tune_tiny(fakes)
    assert outcome.used
    # 1 + 10 + 20 + 32 seconds against 0.25 + 5 + 10.67 + 13.91.
    assert outcome.gain == pytest.approx(63 / 29.83, abs=0.001)
    # In turn: a machine that slows down meanwhile slows both.
    assert fakes.done == [
        "quantise Q8_0", "compare", "time old", "time new", "time old", "time new"
    ]  # fmt: skip
    path = files.find("tiny")
    assert path == records.folder_of("tiny") / "Tiny.tuned-Q8_0.gguf"
    assert path.read_bytes() == TUNED
    assert own.read_bytes() == ORIGINAL
    assert ensure(files.resolve("tiny")) == path
    tuning = record().tuning
    assert tuning is not None
    assert (tuning.kind, tuning.lossy, tuning.date) == ("Q8_0", False, "2026-01-02T00:00:00")
    assert tuning.made_from == record().sha256
    assert tuning.build
    assert tuning.figures["after"]["sixteen"] == 230
    assert tuning.figures["same"] == 0.995
    assert estimate_speed(load_registry().require("tiny"), TWO_CORES) == (40, "measured")


@pytest.mark.parametrize(("kind", "same"), [("Q8_0", True), ("Q4_0", False)])
def test_the_tuned_file_is_the_same_model_unless_it_is_lossy(
    own: Path, kind: str, same: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    original = record().sha256
    policy = Policy(
        "own", "tiny", original, "", "2026-01-01", Source("q", 1, 1, 0, 0.5, 9), SHIPPED
    )
    info = EngineInfo("llama.cpp", "tiny", 1, 64, 1, TEMPLATE, {"bos_token": "<s>"})
    own_table = replace(SHIPPED, name="own")
    format = hash_prompts(Chat(info))
    replace(policy, table=own_table, prompt_format=format).save(policies_dir() / "own.json")
    tune_tiny(Fakes(), kind, keep=True)
    assert files.read_hash(files.resolve("tiny")) == (original if same else record().tuning.sha256)
    capsys.readouterr()
    assert main(["solve", "-m", "tiny", "q", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["policy"] == ("own" if same else "shipped defaults")
    assert ".tuned-" in plan["path"]


def test_a_file_that_is_no_faster_goes_and_is_not_offered_again(own: Path) -> None:
    outcome = tune_tiny(Fakes(tuned=replace(SLOW, prompt=300)))
    assert outcome.state == "slower"
    assert files.find("tiny") == own
    assert siblings() == []
    tuning = record().tuning
    assert tuning is not None
    assert tuning.state == "slower"
    assert tuning.figures["gain"] < 1.05


def test_keep_uses_a_slower_file_but_none_that_answers_otherwise(own: Path) -> None:
    assert tune_tiny(Fakes(tuned=SLOW), keep=True).used
    tune.undo("tiny")
    worse = replace(ALIKE, perplexity_after=14.5)
    outcome = tune_tiny(Fakes(agreement=worse), keep=True)
    assert outcome.state == "changed"
    assert "+6.0% ± 0.2%" in outcome.reason
    assert files.find("tiny") == own
    assert siblings() == []


@pytest.mark.parametrize(
    ("agreement", "lossy", "state"),
    [
        (ALIKE, False, "used"),
        (replace(ALIKE, same=0.96), False, "changed"),
        (replace(ALIKE, same=0.96), True, "used"),
        (replace(ALIKE, same=0.5), True, "changed"),
        (replace(ALIKE, perplexity_after=13.86), False, "used"),  # 1.3 %, of which 0.4 % is noise
        (replace(ALIKE, perplexity_after=13.96), False, "changed"),
        (replace(ALIKE, perplexity_after=15.0), True, "used"),
        (replace(ALIKE, perplexity_after=20.0), True, "changed"),
        (replace(ALIKE, perplexity_after=12.0), False, "used"),
    ],
)
def test_answers_may_change_within_noise(agreement: Agreement, lossy: bool, state: str) -> None:
    assert decide([SLOW], [FAST], agreement, lossy=lossy)[0] == state


def test_a_gain_must_hold_in_every_round() -> None:
    state, reason, gain = decide([SLOW, FAST], [FAST, replace(FAST, one=39)], ALIKE, lossy=False)
    assert gain > 1.3
    assert state == "slower"
    assert "slower in one of the rounds" in reason


def test_rates_are_weighed_by_the_work_of_a_question() -> None:
    assert seconds(Rates(200, 200, 1600, 3200)) == 4
    assert average([Rates(1, 10, 10, 10), Rates(1, 30, 10, 10)])["one"] == 15


def test_undo_goes_back(own: Path) -> None:
    tune_tiny(Fakes())
    assert tune.undo("tiny") == len(TUNED)
    assert files.find("tiny") == own
    assert siblings() == []
    with pytest.raises(UsageError, match="not tuned"):
        tune.undo("tiny")


def test_what_a_killed_run_wrote_is_gone_on_with(own: Path) -> None:
    class Killed(Fakes):
        def compare(self, before: Path, after: Path) -> Agreement:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_tiny(Killed())
    assert files.find("tiny") == own  # not measured: not used
    assert siblings() == ["Tiny.tuned-Q8_0.gguf"]
    assert tune.plan("tiny").written
    fakes = Fakes()
    assert tune_tiny(fakes).used
    assert "quantise Q8_0" not in fakes.done


def test_a_killed_run_leaves_what_prune_takes(own: Path) -> None:
    class Killed(Fakes):
        def compare(self, before: Path, after: Path) -> Agreement:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_tiny(Killed())
    part = records.folder_of("tiny") / "Tiny.tuned-Q4_0.gguf.part"
    part.write_bytes(b"12345")
    assert {item.path.name for item in cleaning.find_leftovers()} == {
        "Tiny.tuned-Q4_0.gguf.part",
        "Tiny.tuned-Q8_0.gguf",
    }
    assert cleaning.prune(cleaning.find_leftovers()) == 5 + len(TUNED)
    assert siblings() == []
    assert files.find("tiny") == own
    assert not tune.plan("tiny").written


def test_a_tuned_file_in_use_is_not_pruned(own: Path) -> None:
    tune_tiny(Fakes())
    assert cleaning.find_leftovers() == []


def test_an_interrupted_writing_leaves_nothing(own: Path) -> None:
    for broken in (KeyboardInterrupt(), EngineError("no")):
        with pytest.raises(type(broken)):
            tune_tiny(Fakes(broken=broken))  # type: ignore[arg-type]
        assert siblings() == []
    with pytest.raises(ModelCorrupt):
        tune_tiny(Fakes(content=TUNED[:200]))
    assert siblings() == []
    assert files.find("tiny") == own


def test_a_file_that_cannot_be_run_goes(own: Path) -> None:
    class Crashing(Fakes):
        def time_file(self, path: Path) -> Rates:
            raise EngineError("it crashes")

    with pytest.raises(EngineError):
        tune_tiny(Crashing())
    assert siblings() == []
    assert record().tuning is None


def test_a_tuned_file_that_was_damaged_is_caught(own: Path) -> None:
    tune_tiny(Fakes())
    path = records.folder_of("tiny") / "Tiny.tuned-Q8_0.gguf"
    status = path.stat()
    path.write_bytes(TUNED[:-1] + b"\x01")
    with pytest.raises(ModelCorrupt) as caught:
        files.resolve("tiny")
    assert caught.value.hint == "ttc models tune tiny --undo"
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.find("tiny") == path  # size and time are what they were …
    with pytest.raises(ModelCorrupt):
        verify("tiny")  # … and still it is caught here
    tune.undo("tiny")
    assert files.find("tiny") == own


def test_a_touched_tuned_file_is_hashed_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune_tiny(Fakes())
    path = records.folder_of("tiny") / "Tiny.tuned-Q8_0.gguf"
    os.utime(path, (1, 1))
    assert files.find("tiny") == path
    monkeypatch.setattr(records, "check_file", lambda *rest: pytest.fail("hashed again"))
    assert files.find("tiny") == path


def test_a_tuned_file_that_is_gone_means_the_original(own: Path) -> None:
    tune_tiny(Fakes())
    (records.folder_of("tiny") / "Tiny.tuned-Q8_0.gguf").unlink()
    assert files.find("tiny") == own


def test_a_new_original_ends_the_use_of_what_was_made_from_the_old(own: Path) -> None:
    tune_tiny(Fakes())
    other = gguf({"general.name": "other"})
    own.write_bytes(other)
    import hashlib

    records.record_file("tiny", own, hashlib.sha256(other).hexdigest(), record().source)
    assert record().tuning is None
    assert [item.reason for item in cleaning.find_leftovers()][:1] == ["re-quantised and not used"]


def test_an_unreadable_note_of_a_tuning_means_the_original(own: Path) -> None:
    tune_tiny(Fakes())
    place = records.folder_of("tiny") / records.RECORD
    raw = json.loads(place.read_text())
    raw["tuning"] = {"path": "../../etc", "from": "the future"}
    place.write_text(json.dumps(raw))
    assert files.find("tiny") == own


def test_only_one_process_tunes(own: Path) -> None:
    with lock("tiny"), pytest.raises(TtcError, match="Another process"):
        tune_tiny(Fakes())


def test_room_is_checked_before_anything_is_written(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = Fakes()
    monkeypatch.setattr(hardware, "read_free_disk", lambda path: 1 << 20)
    with pytest.raises(DiskFull, match="Q8_0 needs about"):
        tune_tiny(fakes)
    monkeypatch.setattr(hardware, "read_free_disk", lambda path: 9 * GB)
    monkeypatch.setattr(hardware, "read_memory", lambda: Memory(GB, 75 << 20))
    with pytest.raises(MemoryShort, match="candidates that fit at once"):
        tune_tiny(fakes)
    assert fakes.done == []


def test_lossy_types_are_named_as_such(own: Path) -> None:
    assert not tune.plan("tiny").lossy
    assert tune.plan("tiny", "Q4_0").lossy
    assert not tune.plan("tiny", "BF16").lossy
    header = read_header(own)
    for types, kind, lossy in (
        ({"Q4_K": 9, "Q6_K": 2, "F32": 5}, "Q6_K", False),
        ({"Q4_K": 9, "Q6_K": 2}, "Q4_K_M", True),
        ({"F16": 9, "F32": 2}, "Q8_0", True),
        ({"IQ4_XS": 9}, "Q4_K_M", False),
    ):
        info = replace(header, tensor_types=types, file_bytes=header.parameters)
        assert tune.is_lossy(info, kind) is lossy, (types, kind)
    whole = replace(header, tensor_types={"F32": 9}, file_bytes=4 * header.parameters)
    assert tune.is_lossy(whole, "Q8_0")


def test_what_cannot_be_tuned(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no type 'Q9'"):
        tune.plan("tiny", "Q9")
    with pytest.raises(UsageError, match="file of yours"):
        tune.plan(str(own))
    with pytest.raises(ModelMissing):
        tune.plan("qwen2.5-0.5b")
    done = tmp_path / "done.gguf"
    done.write_bytes(TUNED)
    add_entry(str(done))
    with pytest.raises(UsageError, match="Q8_0 already"):
        tune.plan("done")
    tune_tiny(Fakes())
    with pytest.raises(UsageError, match="runs as Q8_0 now"):
        tune.plan("tiny", "Q4_0")
    assert tune.plan("tiny").written  # measuring it again is fine


def test_gains_that_are_known() -> None:
    assert expect_gain({"Q5_0": 133, "Q6_K": 24, "F32": 121}, {"AMX_INT8"}) == 2.0
    assert expect_gain({"Q4_K": 169, "Q6_K": 29}, {"AMX_INT8", "AVX512"}) == 1.2
    assert expect_gain({"Q5_0": 133, "F32": 121}, {"AVX512", "AVX512_VNNI"}) == 1.1
    assert expect_gain({"Q4_K": 169, "Q6_K": 29}, {"AVX512", "AVX512_VNNI"}) is None
    assert expect_gain({"Q5_0": 133}, {"AVX2"}) is None
    assert expect_gain({"Q8_0": 133, "F32": 121}, {"AMX_INT8"}) is None
    assert expect_gain({"F32": 121}, {"AMX_INT8"}) is None


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def fakes(own: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    fakes = Fakes()
    play(fakes, monkeypatch)
    return fakes


def test_the_command_says_which_is_faster_and_how_to_go_back(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "tune", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert "16 candidates" in out
    assert "2.30" in out
    assert "+0.15% ± 0.20%" in out
    assert "99.5% of 212 places" in out
    assert "tiny runs as Q8_0 from now on: it is 2.11 times as fast" in err
    assert main(["models", "list"]) == 0
    assert "here, Q8_0" in capsys.readouterr().out
    assert main(["models", "show", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "Q8_0 used" in shown
    assert "ttc models tune tiny --undo" in shown
    assert "Tiny.tuned-Q8_0.gguf" in shown
    assert main(["models", "verify", "tiny"]) == 0
    assert "ok      tiny, Q8_0  " in capsys.readouterr().out
    assert main(["models", "tune", "tiny", "--undo"]) == 0
    assert "Back to the original" in capsys.readouterr().err
    assert main(["models", "path", "tiny"]) == 0
    assert "tuned" not in capsys.readouterr().out


def test_a_dry_run_does_nothing(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "tune", "tiny", "--dry-run", "--type", "Q4_0"]) == 0
    assert "lossy" in capsys.readouterr().out
    assert main(["models", "tune", "tiny", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["type"], plan["written"], plan["tensors"]) == ("Q8_0", False, {"Q5_0": 1})
    assert fakes.done == []
    assert siblings() == []


def test_figures_as_json(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.tuned = SLOW
    assert main(["models", "tune", "tiny", "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["state"], found["gain"], found["before"]["one"]) == ("slower", 1.0, 20)
    assert err == ""


def test_a_verdict_from_a_busy_machine_says_so(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = Contention((BusyProcess(77, "blender", 1.5),), 0.0)
    monkeypatch.setattr(hardware, "watch_contention", lambda: busy)
    assert main(["models", "tune", "tiny"]) == 0
    assert "1.5 cores meanwhile: these rates are rough" in capsys.readouterr().err
    assert "measured" not in estimate_speed(
        load_registry().require("tiny"), TWO_CORES
    )  # not kept for the default's choice
    assert main(["models", "tune", "tiny", "--undo"]) == 0
    fakes.tuned = SLOW
    capsys.readouterr()
    assert main(["models", "tune", "tiny"]) == 0
    assert "Measure again when nothing else computes" in capsys.readouterr().err


def test_removing_takes_the_tuned_file_too(fakes: Fakes) -> None:
    assert main(["models", "tune", "tiny"]) == 0
    assert main(["models", "rm", "--yes", "tiny"]) == 0
    assert not records.folder_of("tiny").exists()


# --- the real thing -----------------------------------------------------------------------------


def test_a_child_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A parent that starts a child that would wait forever, and is then killed outright."""
    pid = tmp_path / "pid"
    child = (
        "import os, time\nfrom pathlib import Path\n"
        "from ttc_cli.engines.llamacpp import isolated\n"
        f"isolated.leave_with_parent()\nPath({str(pid)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys\nfrom ttc_cli.engines.llamacpp import isolated\n"
            f"isolated.run([sys.executable, '-c', {child!r}])",
        ]
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    number = int(pid.read_text())
    while _runs(number):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_that_fails_leaves_no_file(tmp_path: Path) -> None:
    source, target = tmp_path / "no.gguf", tmp_path / "out.gguf"
    source.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(EngineError, match=r"could not write no\.gguf as Q8_0"):
        comparison.quantise(source, target, "Q8_0")
    assert not target.exists()


@pytest.mark.live
def test_a_real_file_says_the_same_as_q8_0(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "q8.gguf"
    sizes: list[int] = []
    comparison.quantise(tiny_model, target, "Q8_0", sizes.append)
    info = read_header(target)
    assert set(info.tensor_types) == {"F32", "Q8_0"}
    assert info.chat_template == read_header(tiny_model).chat_template
    assert sizes[-1] == target.stat().st_size
    found = comparison.compare(tiny_model, target)
    assert found.positions > 100
    assert abs(found.rise) < 0.02
    assert found.same > 0.9
    assert found.noise > 0.9
    rates = comparison.time_file(target, seconds=0.1)
    assert rates.sixteen > rates.one > 0
    assert rates.prompt > rates.one
