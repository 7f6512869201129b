import json
from dataclasses import replace
from pathlib import Path

import pytest

from ttc_cli.bench import pool
from ttc_cli.errors import UsageError
from ttc_cli.models.registry import load_registry
from ttc_cli.paths import policies_dir
from ttc_cli.policy.estimate import Belief
from ttc_cli.policy.file import (
    SHIPPED_FOLDER,
    Expected,
    Matched,
    Policy,
    Reliability,
    Source,
    find_policy,
    list_policies,
    load_policy,
    use_policy,
)
from ttc_cli.policy.table import SHIPPED
from ttc_cli.prompts import Chat, hash_prompts
from ttc_cli.types import AnswerType

BELIEF = Belief((1.0,) * 6, 0.1, (0.0,) * 6, (1.0,) * 6)
POLICY = Policy(
    name="maths",
    model="tiny",
    sha256="a" * 64,
    prompt_format="0123",
    date="2026-01-31",
    source=Source("sums", 100, 16, 0, 0.5, 512),
    table=replace(
        SHIPPED,
        name="maths",
        belief=BELIEF,
        sureness=0.5,
        slip=0.3,
        frontier=((0.01, SHIPPED.row("quick")), (0.001, SHIPPED.row("deep"))),
    ),
    reliability=(Reliability("judge", 0.6, 0.55, 0.45, 0.65, 40, False),),
    expected=(Expected("normal", 0.5, 1e12, 6.0, 0.48, 2e12),),
    matched=Matched("majority@16", 0.7, 1.5e13, 0.41, 0.3, None, 0.9),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTC_HOME", str(tmp_path))


def test_a_file_from_before_there_were_programs_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "maths.json"
    POLICY.save(path)
    raw = json.loads(path.read_text())
    del raw["program_format"], raw["source"]["programs"], raw["source"]["program_temperature"]
    path.write_text(json.dumps(raw))
    assert load_policy(path) == POLICY
    assert POLICY.choose_table("whatever") == POLICY.table


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "maths.json"
    POLICY.save(path)
    assert load_policy(path) == POLICY
    assert [each.name for each in path.parent.iterdir()] == ["maths.json"]


def test_a_policy_of_an_earlier_version_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "maths.json"
    POLICY.save(path)
    raw = json.loads(path.read_text())
    raw["table"]["waves"] = {}  # which every saved policy had once
    path.write_text(json.dumps(raw))
    assert load_policy(path) == POLICY


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda raw: raw["table"].update(rows={}), "is missing"),
        (lambda raw: raw["table"]["rows"]["quick"].update(cap=0), "candidates"),
        (lambda raw: raw["table"]["rows"]["quick"].update(probe=10**9), "candidates"),
        (lambda raw: raw["table"]["frontier"][0][1].update(free=-1), "candidates"),
        (lambda raw: raw["table"]["rows"]["quick"].update(price=float("nan")), "NaN"),
        (lambda raw: raw["table"].update(tilt=float("inf")), "Infinity"),
        (lambda raw: raw["table"].update(prior=[0, 0]), "prior"),
        (lambda raw: raw["table"].update(slip=9), "slip"),
        (lambda raw: raw["table"]["belief"].update(weights=[1.0]), "belief"),
        (lambda raw: raw["table"]["belief"].update(scale=[0.0] * 6), "belief"),
        (lambda raw: raw.update(format="other/1"), "not a policy of the format"),
        (lambda raw: raw.pop("table"), "table"),
        (lambda raw: raw["table"].update(rows=5), "rows"),
        (lambda raw: raw.update(date=None), "date"),
    ],
)
def test_a_damaged_file_is_told_with_the_place(tmp_path: Path, change, word: str) -> None:
    path = policies_dir() / "maths.json"
    POLICY.save(path)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(UsageError, match=word):
        load_policy(path)
    for text in ("{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(UsageError, match="damaged"):
            load_policy(path)
    assert path not in dict(list_policies())


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch) -> None:
    POLICY.save(policies_dir() / "maths.json")
    monkeypatch.setattr("ttc_cli.texts.LIMIT", 100)
    with pytest.raises(UsageError, match="longer than"):
        load_policy(policies_dir() / "maths.json")


def test_a_policy_is_found_by_model_and_prompt(tmp_path: Path) -> None:
    assert find_policy("a" * 64, "0123") is None
    POLICY.save(policies_dir() / "maths.json")
    assert find_policy("a" * 64, "0123") == POLICY
    assert find_policy("a" * 64, None) == POLICY
    assert find_policy("b" * 64, "0123") is None
    assert find_policy("a" * 64, "9999") is None


def test_the_newest_is_used_unless_another_was_chosen(tmp_path: Path) -> None:
    older = replace(POLICY, name="older", date="2025-12-01")
    POLICY.save(policies_dir() / "maths.json")
    older.save(policies_dir() / "older.json")
    assert find_policy("a" * 64, "0123") == POLICY
    use_policy("a" * 64, "older")
    assert find_policy("a" * 64, "0123") == older
    use_policy("a" * 64, None)
    assert find_policy("a" * 64, "0123") is None
    own = [path.name for path, _ in list_policies() if path.parent == policies_dir()]
    assert own == ["maths.json", "older.json"]


POOLS = Path(__file__).parents[2] / "benchmarks" / "pools"
SHIPPED_FILES = sorted(SHIPPED_FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", SHIPPED_FILES, ids=lambda path: path.stem)
def test_what_comes_with_ttc_fits_a_model_of_its_registry_and_how_it_is_asked_now(
    path: Path, tmp_path: Path
) -> None:
    policy = load_policy(path)
    assert policy.sha256 == load_registry().entries[policy.model].sha256
    found = POOLS.glob(f"{policy.model}-{policy.source.data}-*.jsonl.gz")
    (drawn,) = (each for each in found if "-program." not in each.name)
    fitted_on = pool.read(drawn)
    chat = Chat(fitted_on.recording().info, fitted_on.header.template_arguments)
    assert find_policy(policy.sha256, hash_prompts(chat)) == policy
    assert policy.source.questions <= len(fitted_on.questions)
    assert policy.name == path.stem
    assert policy.table.belief is not None
    assert policy.table.belief.types == (AnswerType.NUMBER,)
    assert policy.matched is not None
    assert {each.level for each in policy.expected} == {"quick", "normal", "deep"}


def test_policies_come_with_ttc() -> None:
    assert {path.stem for path in SHIPPED_FILES} == {
        "gsm8k-qwen2.5-coder-0.5b",
        "gsm8k-qwen2.5-coder-1.5b",
    }
