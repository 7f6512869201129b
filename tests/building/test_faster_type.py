"""A model whose file is faster in another type: taken, said, left out, undone; its policy stays."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_tuning import ORIGINAL, Fakes, play
from made_up import Computer
from tiny_gguf import TEMPLATE

from ttc_cli import paths
from ttc_cli.engines.base import EngineInfo
from ttc_cli.engines.llamacpp import selftest
from ttc_cli.engines.llamacpp.selftest import BuildCheck
from ttc_cli.main import main
from ttc_cli.models import files, hardware, records
from ttc_cli.models.hardware import Contention, Memory
from ttc_cli.models.own import add_entry
from ttc_cli.policy.file import Policy, Source
from ttc_cli.policy.table import SHIPPED
from ttc_cli.prompts import Chat, hash_prompts
from ttc_cli.tuning import fit
from ttc_cli.verifiers import verdicts
from ttc_cli.verifiers.verdicts import Verdict


@pytest.fixture
def fakes(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """A quiet server with AMX; ``tiny`` is a model that it gains with."""
    built = BuildCheck("0.3", "CPU : AVX512 = 1 | AMX_INT8 = 1 | ", offloads=False)
    monkeypatch.setattr(selftest, "check_build", lambda path: built)
    monkeypatch.setattr(hardware, "find_accelerators", lambda: ())
    monkeypatch.setattr(hardware, "watch_contention", lambda: Contention((), 0.0))
    monkeypatch.setattr(hardware, "read_memory", lambda: Memory(16 * 10**9, 12 * 10**9))
    monkeypatch.chdir(computer.clone)
    path = computer.folder / "models/tiny.gguf"
    path.parent.mkdir()
    path.write_bytes(ORIGINAL)
    add_entry(str(path), name="tiny")
    computer.fit = run
    played = Fakes()
    play(played, monkeypatch)
    return played


def run(file: Path) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        fit.fit(file)
    return said.getvalue().strip()


def tried(computer: Computer) -> list[str]:
    return [line for line in computer.ran if "ttc_cli.tuning.fit" in line]


def test_the_faster_file_is_taken_once_and_the_summary_says_how_to_go_back(
    computer: Computer, fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.install(model="tiny")
    said = capsys.readouterr()
    undo = ".venv/bin/ttc models tune tiny --undo"
    line = f"Fit      Q8_0, 2.11 times as fast here; to go back: {undo}\n"
    assert said.err.count("==> Trying tiny as Q8_0") == 1
    assert line in said.out
    used = records.folder_of("tiny") / "tiny.tuned-Q8_0.gguf"
    assert files.find("tiny") == used
    fakes.done.clear()
    computer.install()
    assert line in capsys.readouterr().out
    assert (tried(computer), fakes.done) == ([], [])
    assert main(["models", "tune", "tiny", "--undo"]) == 0
    for _ in range(2):
        computer.install()
        assert "Fit  " not in capsys.readouterr().out
    assert (tried(computer), fakes.done) == ([], [])
    assert files.find("tiny") == computer.folder / "models/tiny.gguf"


@pytest.mark.parametrize(
    "options", [{"tune": False}, {"models": False}, {"dev": True}, {"dry_run": True}, {}]
)
def test_it_is_left_out(
    computer: Computer, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    if not options:
        monkeypatch.setenv("CI", "true")
    computer.install(**{"model": "tiny", **options})
    assert (tried(computer), fakes.done) == ([], [])


def test_what_was_left_out_is_tried_by_a_later_run(computer: Computer, fakes: Fakes) -> None:
    computer.install(model="tiny", tune=False)
    computer.install()
    assert fakes.done


def test_policy_and_verdicts_of_the_published_file_hold_for_the_faster_one(
    computer: Computer, fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    original = files.read_hash(files.resolve("tiny"))
    prompts = hash_prompts(
        Chat(EngineInfo("llama.cpp", "tiny", 1, 64, 1, TEMPLATE, {"bos_token": "<s>"}))
    )
    table = replace(SHIPPED, name="own")
    measured = Source("q", 1, 1, 0, 0.5, 9)
    Policy("own", "tiny", original, prompts, "2026-01-01", measured, table).save(
        paths.policies_dir() / "own.json"
    )
    judged = Verdict("judge", "tiny", False, 0.5, 0.4, 0.6, 9, "planted", "2026-01-01")
    verdicts.write_verdicts(paths.verdicts_path(), {(original, "judge"): judged})
    computer.install(model="tiny")
    capsys.readouterr()
    assert main(["solve", "-m", "tiny", "q", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (Path(plan["path"]).name, plan["policy"]) == ("tiny.tuned-Q8_0.gguf", "own")
    now = files.read_hash(files.resolve("tiny"))
    assert list(verdicts.find_refused(paths.verdicts_path(), now)) == ["judge"]
