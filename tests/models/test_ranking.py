"""Which model is taken for which machine, and how that is explained."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from tiny_gguf import gguf

from ttc_cli.errors import ModelCorrupt
from ttc_cli.models import files, records
from ttc_cli.models.hardware import Accelerator
from ttc_cli.models.hub import Hub
from ttc_cli.models.pull import pull
from ttc_cli.models.ranking import (
    FAST,
    Default,
    Machine,
    ask_hub,
    choose_default,
    explain,
    rank,
    record_speed,
)
from ttc_cli.models.registry import load_registry, user_file

GB = 10**9
TINY = gguf()

LAPTOP = Machine(8 * GB, 8)
MACBOOK = Machine(16 * GB, 8, (Accelerator("metal", "Apple M2", 12 * GB),))
CARD = Machine(32 * GB, 12, (Accelerator("cuda", "NVIDIA GeForce RTX 4090", 24 * GB),))
SERVER = Machine(24 * GB, 2)
WORKSTATION = Machine(64 * GB, 16)


def there() -> bool:
    return True


def not_there() -> bool:
    return False


def never_asked() -> bool:
    pytest.fail("nothing would be downloaded: the hub is not asked")


def install(name: str, *, chosen: bool = False) -> None:
    folder = records.folder_of(name)
    folder.mkdir(parents=True)
    path = folder / f"{name}.gguf"
    path.write_bytes(TINY)
    sha256 = load_registry().require(name).sha256 or hashlib.sha256(TINY).hexdigest()
    records.record_file(name, path, sha256, None, chosen=chosen)


@pytest.mark.parametrize(
    ("machine", "hub", "name"),
    [
        (LAPTOP, there, "qwen3-4b-2507"),
        (MACBOOK, there, "qwen3-4b-2507"),
        (CARD, there, "qwen3-4b-2507"),
        (SERVER, not_there, "qwen2.5-coder-1.5b"),
        (SERVER, there, "granite-4.1-3b"),
        (WORKSTATION, there, "qwen3-4b-2507"),
        (WORKSTATION, not_there, "qwen2.5-coder-1.5b"),
        (Machine(3 * GB, 4), there, "qwen3-1.7b"),
        (Machine(2 * GB, 4), there, "qwen3-0.6b"),
        (Machine(2 * GB, 4), not_there, "qwen2.5-coder-0.5b"),
        (Machine(GB // 2, 1), not_there, "qwen2.5-coder-0.5b"),
        (Machine(GB // 2, 1), there, "qwen2.5-coder-0.5b"),  # nothing fits: the smallest sure one
    ],
)
def test_what_a_machine_without_models_gets(
    machine: Machine, hub: Callable[[], bool], name: str
) -> None:
    chosen = choose_default(machine=machine, hub_answers=hub)
    assert chosen.name == name
    assert chosen.reason


def find(machine: Machine, name: str) -> tuple[float, str, str]:
    found = next(each for each in rank(machine) if each.name == name)
    return round(found.speed, 1), found.how, found.find_obstacle()


def test_speed_is_what_the_memory_delivers_by_the_size() -> None:
    assert find(LAPTOP, "qwen3-4b-2507") == (16.0, "estimated", "")
    assert find(LAPTOP, "qwen3-8b") == (8.0, "estimated", "too slow: less than 8 tokens/s")
    assert find(SERVER, "qwen3-4b-2507")[0] == 7.2  # two cores deliver less than the memory
    many = Machine(256 * GB, 64)
    assert find(many, "qwen3-8b")[0] == 31.8  # and a large machine has more channels
    assert find(MACBOOK, "qwen3-8b") == (11.9, "estimated on Apple M2", "")
    assert find(CARD, "qwen3-14b") == (16.7, "estimated on NVIDIA GeForce RTX 4090", "")
    pro = Machine(32 * GB, 10, (Accelerator("metal", "Apple M3 Max", 24 * GB),))
    assert find(pro, "qwen3-14b")[0] == 26.7


def test_a_card_that_the_model_does_not_fit_does_not_count() -> None:
    small = Machine(16 * GB, 8, (Accelerator("cuda", "Card", 4 * GB),))
    assert find(small, "qwen3-8b")[1] == "estimated"
    assert find(small, "qwen3-4b-2507")[1] == "estimated on Card"
    unknown = Machine(16 * GB, 8, (Accelerator("rocm", "AMD GPU 1"),))
    assert find(unknown, "qwen3-4b-2507")[1] == "estimated"
    card = Machine(8 * GB, 4, (Accelerator("cuda", "Card", 24 * GB),))
    assert find(card, "qwen3-14b")[2] == ""  # its own memory is enough


def test_too_large_is_said_with_what_may_be_taken() -> None:
    assert find(LAPTOP, "qwen3-14b")[2] == "too large: 6.00 GB of memory may be taken"


def test_one_measured_speed_tells_of_the_others() -> None:
    record_speed("qwen2.5-coder-1.5b", 30.0)
    assert find(SERVER, "qwen2.5-coder-1.5b")[:2] == (30.0, "measured")
    assert find(SERVER, "qwen3-4b-2507")[:2] == (13.4, "estimated by what was measured")
    record_speed("smollm2-135m", 1.0)  # so small that all else decides
    assert find(SERVER, "qwen3-4b-2507")[0] == 13.4
    assert choose_default(machine=SERVER, hub_answers=there).name == "qwen3-4b-2507"


@pytest.mark.parametrize("name", ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "phi-4-mini"])
def test_what_is_here_stays_and_nobody_is_asked(name: str) -> None:
    install(name)
    chosen = choose_default(machine=WORKSTATION, hub_answers=never_asked)
    assert chosen.name == name
    assert chosen.hub is None


@pytest.mark.parametrize("record", [None, "", "[]", '{"path": 1}'])
def test_a_model_whose_record_is_lost_or_damaged_is_here_all_the_same(record: str | None) -> None:
    install("qwen2.5-coder-1.5b")
    kept = records.folder_of("qwen2.5-coder-1.5b") / records.RECORD
    kept.unlink()
    if record is not None:
        kept.write_text(record)
    default = choose_default(machine=WORKSTATION, hub_answers=never_asked)
    assert default.name == "qwen2.5-coder-1.5b"


def test_what_ttc_took_by_itself_stays_whatever_comes_later() -> None:
    install("qwen3-4b-2507", chosen=True)
    install("qwen2.5-coder-1.5b")
    install("qwen3-8b")
    for here in (True, False):
        chosen = choose_default(here=here, machine=WORKSTATION, hub_answers=never_asked)
        assert chosen.name == "qwen3-4b-2507"
    record_speed("qwen3-4b-2507", 7.0)  # below what a download needs
    assert FAST > 7
    assert choose_default(machine=WORKSTATION, hub_answers=never_asked).name == "qwen3-4b-2507"
    record_speed("qwen3-4b-2507", 1.0)
    assert choose_default(machine=WORKSTATION, hub_answers=never_asked).name != "qwen3-4b-2507"


def test_the_default_of_an_older_ttc_stays_beside_a_larger_model() -> None:
    install("qwen2.5-coder-1.5b")
    install("qwen3-4b-2507")  # pulled by name
    for here in (True, False):
        chosen = choose_default(here=here, machine=WORKSTATION, hub_answers=never_asked)
        assert chosen.name == "qwen2.5-coder-1.5b"


def test_a_guess_takes_nothing_out_of_use() -> None:
    install("qwen3-14b")
    assert find(Machine(64 * GB, 5), "qwen3-14b")[0] < 4.5
    assert find(Machine(64 * GB, 4), "qwen3-14b")[0] == 4.0
    many = Machine(64 * GB, 16)  # 16 cores could, their memory may not
    assert choose_default(machine=many, hub_answers=never_asked).name == "qwen3-14b"
    record_speed("qwen3-14b", 3.9)
    assert choose_default(machine=many, hub_answers=not_there).name == "qwen2.5-coder-1.5b"


def test_a_pull_without_a_name_brings_the_best_beside_one_pulled_by_name() -> None:
    install("qwen2.5-coder-0.5b")
    chosen = choose_default(here=False, machine=LAPTOP, hub_answers=there)
    assert chosen.name == "qwen3-4b-2507"


def test_the_hub_is_asked_once_at_most() -> None:
    asked: list[bool] = []

    def answer() -> bool:
        asked.append(False)
        return False

    assert choose_default(machine=LAPTOP, hub_answers=answer).hub is False
    assert len(asked) == 1
    asked.clear()
    slow = Machine(8 * GB, 1)
    assert choose_default(machine=slow, hub_answers=answer).name == "qwen2.5-coder-1.5b"


def test_every_candidate_has_its_reason() -> None:
    candidates = rank(LAPTOP)
    chosen = choose_default(machine=LAPTOP, hub_answers=there)
    why = dict(zip((each.name for each in candidates), explain(candidates, chosen), strict=True))
    assert why["qwen3-4b-2507"].startswith("taken: needs 3.04 GB of memory, estimated at 16 tok/s")
    assert why["ministral-3-14b"].startswith("too large")
    assert why["qwen2.5-coder-1.5b"] == "ranks below qwen3-4b-2507"
    assert why["qwen3.5-4b"].startswith("hybrid")
    assert why["gemma-4-e2b"].startswith("sliding windows")
    assert why["r1-distill-1.5b"] == "always thinks before it answers"
    assert "smollm2-135m" not in why
    assert "rlhflow-prm-8b" not in why
    assert all(why.values())


def test_what_would_be_better_is_told_too() -> None:
    candidates = rank(LAPTOP)
    verdicts = explain(candidates, choose_default(machine=LAPTOP, hub_answers=not_there))
    assert verdicts[0] == "the model hub does not answer"
    verdicts = explain(candidates, Default("qwen2.5-coder-1.5b", "here"))
    assert verdicts[0] == "ranks above qwen2.5-coder-1.5b, which is kept"


def own(home: Path, **hashes: str) -> None:
    """Make ``best`` and ``small``, files of a hub, the user's defaults."""
    (home / "config").mkdir(parents=True)
    tables = (
        f"[models.{name}]\nbytes = {len(TINY)}\n{hashes.get(name, '')}"
        f'sources = [{{ type = "hub", repo = "user/{name}", file = "{name}.gguf" }}]\n'
        for name in ("best", "small")
    )
    user_file().write_text('defaults = ["best", "small"]\n' + "".join(tables))


def test_a_default_that_was_downloaded_is_kept_as_such(
    home: Path, server: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(home)
    for name in ("best", "small"):
        server.files[(f"user/{name}", f"{name}.gguf")] = TINY
    pull("small", hub=hub)
    pull("best", hub=hub)
    kept = {record.name: record.chosen for record in records.list_records()}
    assert kept == {"best": True, "small": False}
    assert choose_default(machine=LAPTOP, hub_answers=never_asked).name == "best"
    pull("best", hub=hub, force=True)
    assert records.find_record("best").chosen  # type: ignore[union-attr]


def test_an_entry_without_a_hash_is_pinned_by_its_first_download(
    home: Path, server: FakeHub, hub: Hub
) -> None:
    own(home)
    server.files[("user/best", "best.gguf")] = TINY
    pull("best", hub=hub)
    record = records.find_record("best")
    assert record is not None
    assert record.sha256 == hashlib.sha256(TINY).hexdigest()
    pull("best", hub=hub, force=True)
    server.files[("user/best", "best.gguf")] = gguf({"general.name": "another"})
    with pytest.raises(ModelCorrupt, match="was downloaded first, and is pinned since") as caught:
        pull("best", hub=hub, force=True)
    assert caught.value.hint == "to take the new one: ttc models rm best, then pull it again"
    assert files.find("best") is not None


def test_whether_the_hub_answers(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.url)
        assert ask_hub(60)
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        before = len(server.log)
        assert not ask_hub(60)
        assert len(server.log) == before
