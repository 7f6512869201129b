"""The hub's side of a pull, against a loopback server: in this process, and killed in another."""

import hashlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import COMMIT, FakeHub
from tiny_gguf import big_gguf, gguf

from ttc_cli.errors import (
    AccessDenied,
    DiskFull,
    ModelCorrupt,
    ModelMissing,
    ModelUnsupported,
    NetworkError,
    Unreachable,
    UsageError,
)
from ttc_cli.models import files, records
from ttc_cli.models import hub as hub_module
from ttc_cli.models.download import download
from ttc_cli.models.hub import Hub
from ttc_cli.models.progress import ModelProgress, Phase
from ttc_cli.models.pull import ensure, pick_file, pull

Start = Callable[..., subprocess.Popen[str]]
REFERENCE = "user/tiny-GGUF:Q4_K_M"
FILE = ("user/tiny-GGUF", "tiny-Q4_K_M.gguf")
TINY = gguf()
BIG = big_gguf(3)


def test_pulls_verifies_and_pins(server: FakeHub, hub: Hub, home: Path) -> None:
    server.files[FILE] = TINY
    path = pull(REFERENCE, hub=hub)
    assert path.read_bytes() == TINY
    assert path.parent.parent == home / "data" / "models"
    model = files.resolve(REFERENCE)
    assert model.path == path
    assert model.entry.sha256 == hashlib.sha256(TINY).hexdigest()
    assert model.entry.sources[0].revision == COMMIT
    before = len(server.log)
    assert pull(REFERENCE, hub=hub) == path
    assert len(server.log) == before  # nobody was asked again


def test_a_file_name_a_default_quant_and_a_prefix(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = TINY
    server.files[("user/tiny-GGUF", "tiny-Q8_0.gguf")] = gguf({"general.name": "eight"})
    assert pull("user/tiny-GGUF:tiny-Q8_0.gguf", hub=hub).name == "tiny-Q8_0.gguf"
    assert pull("user/tiny-GGUF", hub=hub).name == "tiny-Q4_K_M.gguf"
    assert pull("hf.co/user/tiny-GGUF:q8_0", hub=hub).name == "tiny-Q8_0.gguf"


def test_picks_one_file_or_says_which_there_are(server: FakeHub, hub: Hub) -> None:
    for name in (
        "a-Q4_K_M.gguf",
        "a-Q4_K_S.gguf",
        "a-Q8_0.gguf",
        "b-Q8_0.gguf",
        "mmproj-a-Q6_K.gguf",
    ):
        server.files[("user/many", name)] = TINY
    for part in (1, 2):
        server.files[("user/many", f"a-Q5_K-0000{part}-of-00002.gguf")] = TINY
    assert pick_file(hub, "user/many", "q4_k_m")[0].file == "a-Q4_K_M.gguf"
    assert pick_file(hub, "user/many", "b-Q8_0.gguf")[0].file == "b-Q8_0.gguf"
    with pytest.raises(UsageError, match="2 files match") as two:
        pick_file(hub, "user/many", "Q8_0")
    assert "user/many:a-Q8_0.gguf" in (two.value.hint or "")
    for absent in ("Q4_K", "Q6_K", "Q4", "zzz"):
        with pytest.raises(UsageError, match="no file match"):
            pick_file(hub, "user/many", absent)
    assert pick_file(hub, "user/many", "Q5_K")[0].file == "a-Q5_K-00001-of-00002.gguf"
    with pytest.raises((AccessDenied, ModelMissing)):
        pick_file(hub, "user/none", "Q4_K_M")


@pytest.mark.parametrize(
    ("names", "wanted", "picked"),
    [
        (["a-Q8_0-00001-of-00001.gguf"], "Q8_0", "a-Q8_0-00001-of-00001.gguf"),
        (["Q8_0/a-00001-of-00001.gguf"], "q8_0", "Q8_0/a-00001-of-00001.gguf"),
        (["a-F16.gguf", "a-lora-F16.gguf"], "F16", "a-F16.gguf"),
        (["a-F16.gguf", "adapters/a-F16.gguf"], "F16", "a-F16.gguf"),
        (["a-F16.gguf", "a-F16.imatrix.gguf"], "F16", "a-F16.gguf"),
        (["a-lora-merged-F16.gguf", "mmproj-F16.gguf"], "F16", "a-lora-merged-F16.gguf"),
        (["explorative-F16.gguf"], "F16", "explorative-F16.gguf"),
        (["alpaca-lora-Q4_0.gguf"], "alpaca-lora-Q4_0.gguf", "alpaca-lora-Q4_0.gguf"),
        (["a-lora-F16.gguf"], "F16", None),
        (["mmproj-F16.gguf"], "mmproj-F16.gguf", None),
    ],
)
def test_a_model_is_picked_and_nothing_that_lies_beside_one(
    server: FakeHub, hub: Hub, names: list[str], wanted: str, picked: str | None
) -> None:
    for name in names:
        server.files[("user/many", name)] = TINY
    if picked is not None:
        assert pick_file(hub, "user/many", wanted)[0].file == picked
        return
    with pytest.raises(UsageError, match="no file match") as caught:
        pick_file(hub, "user/many", wanted)
    assert not any(name in (caught.value.hint or "") for name in names)


def test_one_part_of_one_is_pulled_and_found_again(server: FakeHub, hub: Hub) -> None:
    server.files[("user/tiny-GGUF", "tiny-Q8_0-00001-of-00001.gguf")] = TINY
    path = pull("user/tiny-GGUF:Q8_0", hub=hub)
    assert path.read_bytes() == TINY
    assert files.find("user/tiny-GGUF:Q8_0") == path


def test_what_is_offered_are_models(server: FakeHub, hub: Hub) -> None:
    for name in (
        "a-Q8_0.gguf",
        "b-Q8_0-00001-of-00001.gguf",
        "mmproj-Q8_0.gguf",
        "a-lora-Q8_0.gguf",
    ):
        server.files[("user/many", name)] = TINY
    for wanted in ("Q8_0", "Q4_K_M"):
        with pytest.raises(UsageError) as caught:
            pick_file(hub, "user/many", wanted)
        assert caught.value.hint == (
            "choose one: user/many:a-Q8_0.gguf, user/many:b-Q8_0-00001-of-00001.gguf"
        )


def test_goes_on_at_the_byte(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = BIG
    server.cut = 1 << 20
    slept: list[float] = []
    part = Path("x.part")
    remote = hub.locate(replace_source())
    assert download(hub, remote, part, lambda done: None, slept.append) == remote.sha256
    starts = [request["range"] for request in server.gets()]
    assert starts == [None, "bytes=1048576-", "bytes=2097152-", "bytes=3145728-"][: len(starts)]
    assert part.read_bytes() == BIG


def replace_source() -> hub_module.HubSource:
    return hub_module.HubSource(*FILE)


def test_starts_again_where_parts_cannot_be_asked_for(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = TINY
    server.ranges = False
    part = Path("x.part")
    part.write_bytes(TINY[:100])
    remote = hub.locate(replace_source())
    assert download(hub, remote, part, lambda done: None) == remote.sha256


def test_gives_up_where_nothing_goes_on(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = BIG
    server.ranges, server.cut = False, 1 << 20
    remote = hub.locate(replace_source())
    with pytest.raises(NetworkError, match="cuts the download short"):
        download(hub, remote, Path("x.part"), lambda done: None, lambda seconds: None)


def test_a_silent_end_is_given_up_and_kept(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = BIG
    server.cut = 0
    part = Path("x.part")
    part.write_bytes(BIG[:1000])
    remote = hub.locate(replace_source())
    with pytest.raises(Unreachable, match="kept"):
        download(hub, remote, part, lambda done: None, lambda seconds: None)
    assert part.read_bytes() == BIG[:1000]


def test_a_busy_hub_is_asked_again(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = TINY
    server.failures = 3
    remote = hub.locate(replace_source())
    assert download(hub, remote, Path("x"), lambda d: None, lambda s: None) == remote.sha256


def test_a_longer_leftover_than_the_file_is_dropped(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = TINY
    part = Path("x.part")
    part.write_bytes(TINY + b"more")
    remote = hub.locate(replace_source())
    assert download(hub, remote, part, lambda done: None) == remote.sha256


def test_a_damaged_leftover_is_fetched_anew(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = BIG
    folder = records.folder_of(REFERENCE)
    folder.mkdir(parents=True)
    digest = hashlib.sha256(BIG).hexdigest()
    (folder / f"tiny-Q4_K_M.gguf.{digest[:12]}.part").write_bytes(b"\0" * 5000)
    notes: list[ModelProgress] = []
    path = pull(REFERENCE, hub=hub, report=notes.append)
    assert path.read_bytes() == BIG
    assert any("damaged" in note.note for note in notes if note.phase is Phase.NOTE)


def test_a_corrupt_byte_of_the_right_size_is_caught(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = BIG
    server.damage = 1_234_567
    with pytest.raises(ModelCorrupt, match="not the expected file"):
        pull(REFERENCE, hub=hub)
    assert files.resolve(REFERENCE).path is None
    assert not list(records.folder_of(REFERENCE).glob("*.gguf*"))


def test_what_is_no_model_never_gets_a_place(server: FakeHub, hub: Hub) -> None:
    server.files[FILE] = b"<html>not a model</html>" * 9
    with pytest.raises(ModelCorrupt, match="not a GGUF"):
        pull(REFERENCE, hub=hub)
    server.files[FILE] = gguf({"general.architecture": "mamba"})
    with pytest.raises(ModelUnsupported, match="recurrent"):
        pull(REFERENCE, hub=hub)
    assert not list(records.folder_of(REFERENCE).iterdir())


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, AccessDenied, 6),
        (403, AccessDenied, 6),
        (404, ModelMissing, 3),
        (429, NetworkError, 6),
        (500, NetworkError, 6),
        (503, NetworkError, 6),
    ],
)
def test_status_codes_mean_something(
    server: FakeHub, hub: Hub, status: int, error: type[NetworkError], code: int
) -> None:
    server.files[FILE] = TINY
    server.status = status
    with pytest.raises(error) as caught:
        pull(REFERENCE, hub=hub)
    assert type(caught.value) is error
    assert caught.value.exit_code == code
    assert caught.value.hint


def test_the_token_goes_to_the_hub_and_nowhere_else(
    server: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    storage = FakeHub(files={FILE: TINY})
    storage.start()
    server.files[FILE] = TINY
    # Another host, as real hubs send large files elsewhere.
    server.elsewhere = storage.url.replace("127.0.0.1", "localhost")
    try:
        pull(REFERENCE, hub=hub)
    finally:
        storage.stop()
    assert {request["token"] for request in server.gets()} == {"Bearer hf_secret"}
    assert [request["token"] for request in storage.gets()] == [None]


@contextmanager
def silent_port() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
def test_an_unreachable_hub_is_noticed_within_seconds(tmp_path: Path) -> None:
    with silent_port() as silent:
        for endpoint in ("http://127.0.0.1:9", silent):
            started = time.monotonic()
            with pytest.raises(Unreachable) as caught:
                pull(REFERENCE, hub=Hub(endpoint, tmp_path))
            assert time.monotonic() - started < 8  # less than a request would be patient
            assert caught.value.exit_code == 6


def test_offline_means_offline(server: FakeHub, hub: Hub) -> None:
    with pytest.raises(Unreachable, match="HF_HUB_OFFLINE"):
        pull(REFERENCE, hub=replace(hub, offline=True))
    assert server.log == []


def write_cache(hub: Hub, content: bytes, *, commit: str = COMMIT) -> Path:
    """Put ``content`` where huggingface-hub keeps FILE."""
    folder = hub.cache / "models--user--tiny-GGUF"
    blob = folder / "blobs" / hashlib.sha256(TINY).hexdigest()
    link = folder / "snapshots" / commit / FILE[1]
    for path in (blob.parent, link.parent, folder / "refs"):
        path.mkdir(parents=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    (folder / "refs" / "main").write_text(commit)
    return link


def own_entry(home: Path) -> None:
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "models.toml").write_text(
        f'[models.tiny]\nbytes = {len(TINY)}\nsha256 = "{hashlib.sha256(TINY).hexdigest()}"\n'
        f'sources = [{{ type = "hub", repo = "{FILE[0]}", file = "{FILE[1]}" }}]\n'
    )


def test_a_file_in_the_hubs_cache_is_used_from_there(home: Path, hub: Hub) -> None:
    own_entry(home)
    link = write_cache(hub, TINY, commit="d" * 40)
    assert ensure(files.resolve("tiny")) == link  # the hub itself is not reachable here
    record = records.find_record("tiny")
    assert record is not None
    assert record.sha256 == hashlib.sha256(TINY).hexdigest()


def test_a_quant_in_the_hubs_cache_is_found_without_the_hub(hub: Hub) -> None:
    link = write_cache(hub, TINY)
    model = files.resolve(REFERENCE)
    assert model.path == link
    assert ensure(files.resolve("user/tiny-GGUF:tiny-Q4_K_M.gguf")) == link
    assert files.resolve("user/tiny-GGUF:Q8_0").path is None


def test_a_corrupt_file_in_the_hubs_cache_is_not_used(
    home: Path, server: FakeHub, hub: Hub
) -> None:
    own_entry(home)
    server.files[FILE] = TINY
    write_cache(hub, TINY[:-1] + b"\x01")
    assert files.resolve("tiny").path is None
    path = pull("tiny", hub=hub)
    assert home in path.parents
    assert path.read_bytes() == TINY


def test_another_file_than_the_pinned_one_is_not_even_fetched(
    home: Path, server: FakeHub, hub: Hub
) -> None:
    own_entry(home)
    server.files[FILE] = gguf({"general.name": "newer"})
    with pytest.raises(ModelCorrupt, match="not the file that the registry pins"):
        pull("tiny", hub=hub)
    assert server.gets() == []


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_for_part(folder: Path, at_least: int) -> Path:
    for _ in range(1200):
        parts = list(folder.glob("*.part"))
        if parts and parts[0].stat().st_size >= at_least:
            return parts[0]
        time.sleep(0.05)
    raise AssertionError("nothing was downloaded")


@pytest.mark.slow
def test_a_killed_pull_goes_on_at_the_byte(server: FakeHub, start: Start) -> None:
    server.files[FILE] = BIG
    server.pause = 0.1
    process = start("pull", REFERENCE)
    part = wait_for_part(records.folder_of(REFERENCE), 300_000)
    process.send_signal(signal.SIGKILL)
    finish(process)
    kept = part.stat().st_size
    assert 300_000 <= kept < len(BIG)
    server.pause = 0
    code, out, err = finish(start("pull", REFERENCE))
    assert code == 0, err
    assert Path(out.strip()).read_bytes() == BIG
    assert server.gets()[-1]["range"] == f"bytes={kept}-"
    assert "Going on where the last download stopped" in err
    assert not list(records.folder_of(REFERENCE).glob("*.part"))


@pytest.mark.slow
def test_two_processes_pull_one_model_once(server: FakeHub, start: Start) -> None:
    server.files[FILE] = BIG
    server.pause = 0.08
    first = start("pull", REFERENCE)
    wait_for_part(records.folder_of(REFERENCE), 1)
    second = start("pull", REFERENCE)
    results = [finish(first), finish(second)]
    assert [code for code, _, _ in results] == [0, 0], results
    assert len({out for _, out, _ in results}) == 1
    assert Path(results[0][1].strip()).read_bytes() == BIG
    assert len(server.gets()) == 1


@pytest.mark.slow
def test_a_full_disk_keeps_what_is_there(server: FakeHub, start: Start) -> None:
    server.files[FILE] = BIG
    # A limit on the size of files stands for the disk: it works without being root.
    code, _, err = finish(start("pull", REFERENCE, limit=1 << 20))
    assert code == 1
    assert "No room left" in err
    assert "hint: free some space" in err
    part = wait_for_part(records.folder_of(REFERENCE), 1)
    kept = part.stat().st_size
    assert 0 < kept <= 1 << 20
    code, out, err = finish(start("pull", REFERENCE))
    assert code == 0, err
    assert server.gets()[-1]["range"] == f"bytes={kept}-"
    assert Path(out.strip()).read_bytes() == BIG


def test_no_room_is_noticed_before_the_download(
    server: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[FILE] = BIG
    monkeypatch.setattr("ttc_cli.models.fitting.read_free_disk", lambda path: 60 << 20)
    with pytest.raises(DiskFull, match="63 MB are free"):
        pull(REFERENCE, hub=hub)
    assert server.gets() == []


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_there(server: FakeHub, start: Start) -> None:
    server.files[FILE] = BIG
    server.pause = 0.1
    process = start("pull", REFERENCE)
    part = wait_for_part(records.folder_of(REFERENCE), 1)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert part.stat().st_size > 0
