"""Homes that cannot be written, are full, are files or are nowhere: the answer comes all the same.

Real file systems: a small tmpfs in a mount namespace of its own, where the system allows one.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SCRIPTED = Path(__file__).parent / "commands" / "scripted_ttc.py"
FOUR = '{"texts": ["Two and two.\\n\\nThe final answer is 4."]}'
SOLVE = f"{sys.executable} {SCRIPTED} solve 'What is 2+2?'"
TINY = str(Path(__file__).parent)
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@functools.cache
def may_mount() -> bool:
    try:
        probe = [*NAMESPACE, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
        return subprocess.run(probe, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


mounting = pytest.mark.skipif("not may_mount()", reason="no mount namespaces here")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a shell script with only the given variables, beside the harmless ones."""

    def start(script: str, *, mount: bool = False, **variables: str) -> object:
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SCENARIO": FOUR}
        return subprocess.run(
            [*(NAMESPACE if mount else []), "/bin/sh", "-c", script],
            env={**base, "HF_HUB_OFFLINE": "1", **variables},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return start  # type: ignore[return-value]


def answered(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("home", [None, "/nonexistent", "relative"])
def test_any_home_will_do(run: Run, home: str | None) -> None:
    # Else the system finds the home of whoever runs the tests.
    elsewhere = {f"XDG_{kind}_HOME": "/dev/null/none" for kind in ("CACHE", "DATA", "CONFIG")}
    done = run(SOLVE, **elsewhere, **({} if home is None else {"HOME": home}))
    answered(done)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_home_that_is_no_folder_is_warned_of(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("kept")
    done = run(SOLVE, TTC_HOME=place)
    answered(done)
    assert "warning: Nothing can be kept in " in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


def test_no_place_for_temporary_files_costs_no_answer(run: Run, tmp_path: Path) -> None:
    answered(run(SOLVE, TMPDIR="/nonexistent", TTC_HOME=str(tmp_path / "home")))


@mounting
def test_a_read_only_home_is_warned_of_and_a_pull_says_why_it_cannot(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    home = shlex.quote(str(tmp_path / "home"))
    script = f"mount -t tmpfs none {home} && mkdir {home}/x && mount -o remount,ro {home} && "
    done = run(script + SOLVE, mount=True, TTC_HOME=str(tmp_path / "home"))
    answered(done)
    assert "warning: Nothing can be kept in " in done.stderr
    pull = f"{sys.executable} -m ttc_cli models pull smollm2-135m"
    done = run(script + pull, mount=True, TTC_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "failed unexpectedly" not in done.stderr


FILL = textwrap.dedent(
    """
    import contextlib, json, os, sys
    from pathlib import Path
    from ttc_cli import paths
    from ttc_cli.main import main
    from ttc_cli.models import ranking, own, records
    from ttc_cli.policy.file import use_policy
    from ttc_cli.verifiers import verdicts

    home = Path(os.environ["TTC_HOME"])
    model = home / "m.gguf"
    sys.path.insert(0, os.environ["TINY"])
    from tiny_gguf import gguf
    model.write_bytes(gguf())
    def told(action):
        try:
            return action() or 0
        except OSError as error:
            return error.errno
    known = paths.data_dir() / "verifiers.json"
    verdict = verdicts.Verdict("judge", "first", True, 0.7, 0.6, 0.8, 24, "planted", "2025-01-01")
    actions = {
        "verifiers": lambda: verdicts.write_verdicts(known, {("b" * 64, "judge"): verdict}),
        "default": lambda: main(["models", "default", "qwen2.5-coder-0.5b"]),
        "add": lambda: main(["models", "add", str(model), "--name", "second"]),
        "forget": lambda: own.forget_entry("first", print),
        "speed": lambda: ranking.record_speed("first", 2.0),
        "record": lambda: records.record_file("first", model, "b" * 64, None) and 0,
        "policy": lambda: use_policy("b" * 64, "other"),
    }
    main(["models", "add", str(model), "--name", "first"])
    main(["models", "add", str(model), "--name", "kept"])  # an empty file would need no room
    main(["models", "default", "first"])
    ranking.record_speed("first", 1.0)
    verdicts.write_verdicts(known, {("a" * 64, "judge"): verdict})
    use_policy("a" * 64, "mine")
    records.record_file("first", model, "a" * 64, None)

    def read():
        return {str(path): path.read_bytes().hex() for path in home.rglob("*")
                if path.is_file() and path.name != "filler" and path.suffix in (".toml", ".json")}

    before = read()
    with (home / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        for size in (1 << 16, 4096, 1):
            with contextlib.suppress(OSError):
                while filler.write(b"x" * size):
                    pass
    found = {name: told(action) for name, action in actions.items()}
    after = read()
    lost = [path for path in before if after.get(path) != before[path]]
    report = {"codes": found, "lost": lost, "files": len(before)}
    Path("report.json").write_text(json.dumps(report))
    """
)


@mounting
def test_a_full_disk_leaves_every_file_of_settings_as_it_was(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script.gguf").write_bytes(b"hashed, because there is a policy")
    (tmp_path / "home").mkdir()
    script = (
        f"mount -t tmpfs -o size=256k none {shlex.quote(str(tmp_path / 'home'))} && "
        f"{sys.executable} -c {shlex.quote(FILL)} && {SOLVE}"
    )
    done = run(script, mount=True, TTC_HOME=str(tmp_path / "home"), TINY=TINY)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["files"] >= 6
    assert report["lost"] == []
    assert all(report["codes"].values()), report  # each was told that there is no room
    assert done.stdout.splitlines()[-1] == "4"
    assert "No room left on the disk" in done.stderr
    assert "Traceback" not in done.stderr
