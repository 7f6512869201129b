"""A hub that lies, loops, stalls, sends pages for browsers, or is cut off again and again.

Each ends in one of two ways: the right bytes under the final name, or an error with its code and
nothing under that name.
"""

import contextlib
import hashlib
import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from tiny_gguf import big_gguf, gguf

from ttc_cli.errors import (
    ModelCorrupt,
    ModelUnsupported,
    NetworkError,
    TtcError,
    Unreachable,
    UsageError,
)
from ttc_cli.models import download as download_module
from ttc_cli.models import hub as hub_module
from ttc_cli.models import records
from ttc_cli.models.hub import Hub, HubSource
from ttc_cli.models.pull import pull

Start = Callable[..., subprocess.Popen[str]]
REFERENCE = "user/tiny-GGUF:Q4_K_M"
FILE = ("user/tiny-GGUF", "tiny-Q4_K_M.gguf")
TINY = gguf()
BIG = big_gguf(2)
LOGIN = b"<html><body>Log in to the network of this hotel</body></html>"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is made."""
    pauses: list[float] = []
    original = download_module.download

    def download(*arguments: object) -> str:
        return original(*arguments, pauses.append)  # type: ignore[arg-type]

    monkeypatch.setattr("ttc_cli.models.pull.download", download)
    return pauses


def nothing_in_place() -> bool:
    return not list(records.folder_of(REFERENCE).glob("*.gguf"))


@pytest.mark.parametrize("status", [None, 401, 403, 404, 429, 500, 502, 503])
def test_a_body_cannot_make_a_refusal_of_anything_else(
    server: FakeHub, hub: Hub, slept: list[float], status: int | None
) -> None:
    server.files[FILE] = TINY
    server.status, server.refusal = status, b"\x1b]0;owned\x07" * 1000
    if status is None:
        assert pull(REFERENCE, hub=hub).read_bytes() == TINY
        return
    with pytest.raises(TtcError) as caught:
        pull(REFERENCE, hub=hub)
    assert caught.value.exit_code == (3 if status == 404 else 6)
    assert "\x1b" not in caught.value.message
    assert sum(slept) < 60
    assert nothing_in_place()


def test_a_page_for_browsers_is_no_hub(server: FakeHub, hub: Hub, slept: list[float]) -> None:
    server.page = LOGIN
    with pytest.raises(NetworkError, match="not as a model hub does") as caught:
        pull(REFERENCE, hub=hub)
    assert "log in" in (caught.value.hint or "")
    assert nothing_in_place()


def test_a_page_in_place_of_a_pinned_file_is_no_model(
    server: FakeHub, hub: Hub, slept: list[float]
) -> None:
    server.files[FILE] = TINY
    remote = hub.locate(HubSource(*FILE))
    server.page = LOGIN
    part = Path("x.part")
    with contextlib.suppress(NetworkError, ModelCorrupt):
        wrong = download_module.download(hub, remote, part, lambda done: None, slept.append)
        assert wrong != remote.sha256
    server.page, server.files[FILE] = None, LOGIN * 9
    with pytest.raises(ModelCorrupt, match="not a GGUF"):
        pull(REFERENCE, hub=hub)
    assert nothing_in_place()


@pytest.mark.slow
def test_a_redirect_to_itself_is_given_up(server: FakeHub, hub: Hub, slept: list[float]) -> None:
    server.files[FILE] = TINY
    server.loop = True
    with pytest.raises(NetworkError):
        pull(REFERENCE, hub=hub)
    assert len(server.log) < 200
    assert sum(slept) < 60
    assert nothing_in_place()


def test_a_redirect_that_begins_to_loop_in_mid_download_keeps_what_is_there(
    server: FakeHub, hub: Hub, slept: list[float]
) -> None:
    server.files[FILE] = BIG
    remote = hub.locate(HubSource(*FILE))
    folder = records.folder_of(REFERENCE)
    folder.mkdir(parents=True)
    part = folder / "x.part"
    part.write_bytes(BIG[:1000])
    server.loop = True
    with pytest.raises(Unreachable, match="kept"):
        download_module.download(hub, remote, part, lambda done: None, slept.append)
    assert part.read_bytes() == BIG[:1000]
    assert sum(slept) < 60


@pytest.mark.parametrize("lie", [-1, 1, -1000, 1000, 1 << 40])
def test_a_size_that_is_a_lie_gives_no_file(
    server: FakeHub, hub: Hub, slept: list[float], lie: int
) -> None:
    server.files[FILE] = TINY
    server.lie = lie
    with pytest.raises((ModelCorrupt, NetworkError)) as caught:
        pull(REFERENCE, hub=hub)
    assert caught.value.exit_code in (3, 6)
    assert nothing_in_place()
    assert sum(slept) < 60
    server.lie = 0
    assert pull(REFERENCE, hub=hub).read_bytes() == TINY


@pytest.mark.parametrize("cut", [1, 1000, 100_000])
def test_a_hub_that_cuts_every_connection_is_asked_less_and_less(
    server: FakeHub, hub: Hub, slept: list[float], cut: int
) -> None:
    server.files[FILE] = BIG
    server.cut = cut
    if cut < 1 << 16:
        with pytest.raises(Unreachable, match="kept"):
            pull(REFERENCE, hub=hub)
        assert len(server.gets()) <= 5
        assert sorted(slept) == slept
        assert 0 < sum(slept) < 60
        assert nothing_in_place()
        server.cut = None
    assert pull(REFERENCE, hub=hub).read_bytes() == BIG


def test_a_hub_that_falls_silent_is_given_up(
    server: FakeHub, hub: Hub, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "_READ_SECONDS", 0.1)
    server.files[FILE] = TINY
    server.stall = 0.5
    with pytest.raises(Unreachable, match="kept"):
        pull(REFERENCE, hub=hub)
    assert len(server.gets()) <= 5
    server.stall = 0
    assert pull(REFERENCE, hub=hub).read_bytes() == TINY


def test_a_clock_that_jumps_changes_no_download(
    server: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle([0.0, -1e9, 1e9])
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + next(jumps))
    server.files[FILE] = BIG
    server.cut = 1 << 20
    assert pull(REFERENCE, hub=hub).read_bytes() == BIG


@pytest.mark.parametrize(
    "name", ["../evil-Q4_K_M.gguf", "/etc/evil-Q4_K_M.gguf", "a\x1b]0;x\x07-Q4_K_M.gguf"]
)
def test_a_listing_cannot_name_a_file_outside(server: FakeHub, hub: Hub, name: str) -> None:
    server.files[(FILE[0], name)] = TINY
    with pytest.raises((UsageError, ModelUnsupported, ModelCorrupt)) as caught:
        pull(REFERENCE, hub=hub)
    assert caught.value.exit_code in (2, 3)
    assert nothing_in_place()


@pytest.mark.slow
def test_killed_again_and_again_the_right_file_comes_out(server: FakeHub, start: Start) -> None:
    server.files[FILE] = BIG
    server.pause = 0.02
    chance = random.Random(5)
    folder = records.folder_of(REFERENCE)
    kept = kills = 0
    while kills < 5:
        process = start("pull", REFERENCE)
        goal = kept + chance.randrange(1 << 16, 1 << 18)
        patience = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < patience:
            parts = [part.stat().st_size for part in folder.glob("*.part")]
            if parts and parts[0] >= goal:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        if process.returncode == 0:
            break  # it was quicker
        kills += 1
        assert not list(folder.glob("*.gguf"))
        (size,) = [part.stat().st_size for part in folder.glob("*.part")]
        assert size >= kept
        kept = size
    assert kills >= 3
    server.pause = 0
    process = start("pull", REFERENCE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    with open(os.fsencode(out.strip()), "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == hashlib.sha256(BIG).hexdigest()
    assert [path.name for path in folder.iterdir() if path.suffix == ".part"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_pull_that_is_ended_keeps_what_is_there(
    server: FakeHub, start: Start, number: signal.Signals, code: int
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored by whoever started the tests (nohup), and so by every child")
    server.files[FILE] = BIG
    server.pause = 0.05
    process = start("pull", REFERENCE)
    folder = records.folder_of(REFERENCE)
    patience = time.monotonic() + 60
    while time.monotonic() < patience and not any(
        part.stat().st_size for part in folder.glob("*.part")
    ):
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
    (part,) = folder.glob("*.part")
    kept = part.read_bytes()
    assert kept == BIG[: len(kept)]
    assert nothing_in_place()


@pytest.mark.slow
def test_a_pull_in_a_script_prints_plain_lines(server: FakeHub, start: Start) -> None:
    evil = gguf({"general.name": "evil\x1b]0;owned\x07"})
    server.files[("user/tiny", "tiny-Q4_K_M.gguf")] = evil
    process = start("pull", "user/tiny")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert Path(out.strip()).read_bytes() == evil
    assert "\x1b" not in err
    assert "Ready: user/tiny" in err
    process = start("rm", "-y", "user/tiny")
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert not Path(out.strip()).exists()
