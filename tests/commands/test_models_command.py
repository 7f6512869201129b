"""``ttc models …`` as the user meets it: what goes to stdout, what to stderr, the exit code."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import gguf

from ttc_cli.main import main
from ttc_cli.models import ranking, records
from ttc_cli.models.hardware import Memory
from ttc_cli.models.registry import user_file

TINY = gguf({"general.name": "evil\x1b]0;owned\x07"})
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(bare_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache is empty: huggingface-hub read where it is when it was imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Makes this a machine of so many GB and cores, without a GPU."""

    def use(memory: int, cores: int) -> None:
        made = ranking.Machine(memory * 10**9, cores)
        monkeypatch.setattr(ranking, "read_machine", lambda: made)

    return use


@pytest.fixture
def tiny(tmp_path: Path, capsys: Capture) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(TINY)
    assert main(["models", "add", str(path)]) == 0
    assert capsys.readouterr().out == "tiny\n"
    return path


def test_list_says_what_is_here(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0 if not line.startswith("*") else 1]: line for line in out.splitlines()}
    assert "here" in lines["tiny"]
    assert "missing" in lines["qwen2.5-coder-1.5b"]
    assert "1.12 GB" in lines["qwen2.5-coder-1.5b"]
    assert "smollm2-135m" not in lines
    assert main(["models", "list", "--all"]) == 0
    assert "smollm2-135m" in capsys.readouterr().out


def test_list_as_json_is_one_object(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "list", "--json"]) == 0
    captured = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(captured.out)["models"]}
    assert rows["tiny"]["status"] == "here"
    assert [name for name, row in rows.items() if row["default"]] == ["tiny"]
    assert captured.err == ""
    tiny.write_bytes(TINY + b"1")
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert rows["tiny"]["status"] == "changed"


def test_show(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "show", "tiny", "--json"]) == 0
    details = json.loads(capsys.readouterr().out)
    assert details["sha256"] == hashlib.sha256(TINY).hexdigest()
    assert details["architecture"] == "llama"
    assert details["tensors"] == {"F32": 1}
    assert details["path"] == str(tiny)
    assert main(["models", "show", "qwen3-1.7b"]) == 0
    out = capsys.readouterr().out
    assert "hub ggml-org/Qwen3-1.7B-GGUF/Qwen3-1.7B-Q4_K_M.gguf@daeb8e2d528a" in out
    assert "Never decode it greedily" in out


def test_path_is_the_path_and_nothing_else(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "path", "tiny"]) == 0
    assert capsys.readouterr() == (f"{tiny}\n", "")
    assert main(["models", "path", "qwen2.5-0.5b"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "hint: ttc models pull qwen2.5-0.5b" in err


def test_verify(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "verify"]) == 0
    out, err = capsys.readouterr()
    assert out == f"ok      tiny  {hashlib.sha256(TINY).hexdigest()}\n"
    assert "checking tiny" in err
    tiny.write_bytes(TINY[:-1] + b"\x01")
    assert main(["models", "verify", "-q"]) == 3
    out, err = capsys.readouterr()
    assert out == "FAILED  tiny\n"
    assert "checking" not in err
    assert "hint: ttc models pull --force tiny" in err


def test_verify_tells_of_every_model(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "add", str(tiny), "--name", "other"]) == 0
    capsys.readouterr()
    assert main(["models", "verify"]) == 0
    err = capsys.readouterr().err
    assert "checking tiny" in err
    assert "checking other" in err


def test_add_knows_the_formats_of_verifiers(tiny: Path, capsys: Capture) -> None:
    add = ["models", "add", str(tiny), "--name", "judge", "--verifier-format"]
    assert main([*add, "vibes"]) == 2
    err = capsys.readouterr().err
    assert "no verifier format 'vibes'" in err
    assert "choose one of rlhflow, math-shepherd, versaprm" in err
    assert main([*add, "versaprm"]) == 0


@pytest.mark.parametrize("command", [["rm", "tiny"], ["prune"]])
def test_a_no_deletes_nothing_and_is_no_failure(
    tiny: Path, command: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = records.folder_of("tiny") / "x.part"
    part.write_bytes(b"123")
    monkeypatch.setattr("ttc_cli.commands._files.is_somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["models", *command]) == 0
    assert capsys.readouterr().err.endswith("? [y/N] Nothing was deleted.\n")
    assert part.is_file()


def test_rm_wants_a_yes(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "rm", "tiny"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["models", "rm", "tiny", "--yes"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert f"stays: {tiny}" in err
    assert tiny.is_file()
    assert not records.folder_of("tiny").exists()
    assert "tiny" not in user_file().read_text()
    assert main(["models", "rm", "tiny", "--yes"]) == 2
    assert main(["models", "rm", "qwen3-8b", "--yes"]) == 3
    assert main(["models", "rm", str(tiny), "--yes"]) == 2
    assert tiny.is_file()


def test_default(tiny: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["models", "default"]) == 0
    out, err = capsys.readouterr()
    assert out == "tiny\n"
    assert "Chosen because" in err
    assert main(["models", "default", "qwen2.5-0.5b"]) == 0
    assert "ttc models pull qwen2.5-0.5b" in capsys.readouterr().err
    assert main(["models", "default"]) == 0
    assert capsys.readouterr().out == "qwen2.5-0.5b\n"
    monkeypatch.setenv("TTC_MODEL", "tiny")
    assert main(["models", "default", "qwen2.5-0.5b"]) == 0
    assert "tiny is still used here: set in TTC_MODEL" in capsys.readouterr().err


def test_the_ranking_is_explained(capsys: Capture, machine: Callable[[int, int], None]) -> None:
    machine(8, 8)
    assert main(["models", "default", "--explain"]) == 0
    out, err = capsys.readouterr()
    lines = {line[2:].split()[0]: line for line in out.splitlines()}
    assert err == ""
    assert "the model hub does not answer" in lines["qwen3-4b-2507"]
    assert lines["qwen2.5-coder-1.5b"].startswith("* ")
    assert "taken: needs 1.59 GB of memory, estimated at 36 tok/s" in lines["qwen2.5-coder-1.5b"]
    assert "9.87 GB" in lines["qwen3-14b"]
    assert "too large: 6.00 GB of memory may be taken" in lines["qwen3-14b"]
    assert "hybrid" in lines["lfm2.5-1.2b"]
    assert main(["models", "default"]) == 0
    assert capsys.readouterr().out == "qwen2.5-coder-1.5b\n"
    assert main(["models", "default", "qwen3-8b"]) == 0
    capsys.readouterr()
    assert main(["models", "default", "--explain"]) == 0
    assert "\n* qwen3-8b" in capsys.readouterr().out


def test_what_a_pull_takes_is_said_before_it_comes(
    capsys: Capture, machine: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(8, 8)
    monkeypatch.setattr("ttc_cli.models.ranking.Hub.answers", lambda hub: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["models", "pull", "--yes"]) == 6
    err = capsys.readouterr().err
    assert "Default for this machine: qwen3-4b-2507, 2.50 GB (needs 3.04 GB of memory" in err
    assert "Nothing was measured of it with ttc" in err
    assert "Others that fit: phi-4-mini (2.49 GB), " in err
    assert "ttc models default --explain" in err
    assert "2.50 GB to download: 4 min at 100 Mbit/s." in err


def test_what_was_measured_is_told_from_what_is_said(capsys: Capture) -> None:
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert [name for name, row in rows.items() if row["measured"]] == [
        "qwen2.5-coder-1.5b",
        "qwen2.5-coder-0.5b",
    ]
    assert main(["models", "show", "qwen2.5-coder-1.5b"]) == 0
    assert "measured          GSM8K and MATH-500" in capsys.readouterr().out
    assert main(["models", "show", "granite-4.0-h-1b"]) == 0
    out = capsys.readouterr().out
    assert "measured          nothing with ttc" in out
    assert "layer kind        hybrid" in out
    assert "sha256            not pinned: the first download will be" in out


def test_prune(tiny: Path, capsys: Capture) -> None:
    part = records.folder_of("tiny") / "x.part"
    part.write_bytes(b"123")
    assert main(["models", "prune", "--dry-run"]) == 0
    assert "3 B" in capsys.readouterr().out
    assert main(["models", "prune"]) == 2
    assert part.is_file()
    assert main(["models", "prune", "--yes"]) == 0
    assert "Freed 3 B" in capsys.readouterr().err
    assert not part.exists()
    assert main(["models", "prune"]) == 0
    assert capsys.readouterr().out == ""


def test_pull_of_what_is_here_asks_nobody(tiny: Path, capsys: Capture) -> None:
    assert main(["models", "pull", "tiny"]) == 0
    assert capsys.readouterr().out == f"{tiny}\n"


def test_pull_checks_the_memory_first(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttc_cli.models.fitting.read_memory", lambda: Memory(2 * 10**9, 10**9))
    assert main(["models", "pull", "qwen3-14b"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert "needs about 9.87 GB of memory, this machine has 2.00 GB" in err
    assert "hint: ttc models pull qwen2.5-coder-1.5b" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["models", "show", "qwen2.5-coder-1.5"], 2, "Did you mean qwen2.5-coder-1.5b?"),
        (["models", "pull", "/none.gguf"], 3, "There is no file"),
        (["models", "add", "nothing at all"], 2, "neither a file nor a hub reference"),
        (["models", "list", "--jason"], 2, "--jason"),
        (["models", "lst"], 2, "lst"),
    ],
)
def test_mistakes(arguments: list[str], code: int, words: str, capsys: Capture) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_a_broken_users_file_is_named(capsys: Capture) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text("[models.a]\nsources = []\n")
    assert main(["models", "list"]) == 2
    assert f"{user_file()}: models.a" in capsys.readouterr().err
