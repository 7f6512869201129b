"""``ttc bench`` end to end on a scripted engine."""

import gzip
import json
import re
from pathlib import Path

import pytest

from ttc_cli.engines.scripted import Ask, ScriptedEngine
from ttc_cli.main import main
from ttc_cli.types import AnswerType

QUESTIONS = [{"question": f"What is {n}+{n}?", "answer": str(2 * n)} for n in range(1, 9)]


pytestmark = pytest.mark.usefixtures("scripted_model")


@pytest.fixture
def data(tmp_path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    return path


def add(ask: Ask) -> str:
    """Small sums always, larger ones every third time, the rest never."""
    number = int(ask.text.split("What is ")[1].split("+")[0])
    wrong = 0 if number < 4 else ask.sample % 3 if number < 7 else 1 + ask.sample % 2
    said = "" if ask.text.endswith("\n\n") else "It is that.\n\n"
    return f"{said}The final answer is {2 * number + wrong}."


def calculate(ask: Ask) -> str:
    """As ``add``; a program where one was begun."""
    if not ask.text.endswith("```python\n"):
        return add(ask)
    number = int(ask.text.split("What is ")[1].split("+")[0])
    return f"print({number} + {number})\n```"


class Bench:
    """Runs ttc in this process; ``opened`` counts the engines that were loaded."""

    def __init__(self, monkeypatch, capsys) -> None:
        self.opened = 0
        self.script = add
        self._capsys = capsys
        monkeypatch.setattr("ttc_cli.solving.loading.open_engine", self._open)

    def _open(self, path, settings, name, planned=None) -> ScriptedEngine:
        self.opened += 1
        return ScriptedEngine(self.script, parallel=8)

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.fixture
def ttc(monkeypatch, capsys) -> Bench:
    return Bench(monkeypatch, capsys)


@pytest.mark.slow
def test_the_report_has_every_reference_and_the_match(ttc, data) -> None:
    code, out, err = ttc("bench", data, "--samples", 4, "--runs", 2)
    assert code == 0, err
    for name in ("pass@1", "majority@4", "weighted@4", "best-of-n@4", "oracle@4", "auto:quick"):
        assert f"| {name} |" in out
    assert "| majority@4 | 75.0% |" in out
    assert "| oracle@4 | 75.0% |" in out
    assert "bin 1 (n 3)" in out
    assert "Compute to match" in out
    assert " Pool: " in out
    assert "McNemar" in out
    assert "8 of 8 questions" in err


@pytest.mark.slow
def test_the_pool_is_drawn_once_and_more_is_added_to_it(ttc, data) -> None:
    first = ttc("bench", data, "--limit", 4, "--samples", 4, "--runs", 1)
    assert ttc.opened == 1
    again = ttc("bench", data, "--limit", 4, "--samples", 4, "--runs", 1)
    assert ttc.opened == 1
    assert again[:2] == first[:2]
    assert ttc("bench", data, "--samples", 4, "--runs", 1)[0] == 0
    assert ttc.opened == 2
    [pool] = Path("home").rglob("script-sums-*.jsonl")
    assert len(pool.read_text().splitlines()) == 1 + 8


@pytest.mark.slow
def test_programs_are_drawn_into_a_pool_of_their_own_once(ttc, data) -> None:
    ttc.script = calculate
    wanted = ("bench", data, "--limit", 4, "--samples", 4, "--runs", 1, "--programs")
    assert ttc(*wanted, 0)[0] == 0
    [prose] = Path("home").rglob("*.jsonl")
    before = prose.read_bytes()
    code, _, err = ttc(*wanted, 2)
    assert code == 0, err
    assert "drawing programs" in err
    [program] = Path("home").rglob("*-program.jsonl")
    assert ttc.opened == 2
    assert ttc(*wanted, 2)[0] == 0
    assert ttc.opened == 2
    head, *rows = map(json.loads, program.read_text().splitlines())
    assert (head["form"], head["sampling"]["temperature"]) == ("program", 0.6)
    printed = {row["question"]: [s["ran"]["output"] for s in row["samples"]] for row in rows}
    assert printed == {f"sums/{n}": [f"{2 * (n + 1)}\n"] * 2 for n in range(4)}
    assert prose.read_bytes() == before
    # Packed, as pools are published, it is found again, and taken up where more is wanted.
    Path(f"{program}.gz").write_bytes(gzip.compress(program.read_bytes()))
    program.unlink()
    assert ttc(*wanted, 2)[0] == 0
    assert ttc.opened == 2
    assert not program.exists()
    assert ttc(*wanted, 3)[0] == 0
    assert len(program.read_text().splitlines()) == 1 + 4 + 4


@pytest.mark.slow
def test_programs_are_compared_with_prose(ttc, data, tmp_path) -> None:
    ttc.script = calculate
    wanted = ("bench", data, "--samples", 4, "--runs", 2, "--programs", 2, "--json")
    code, out, err = ttc(*wanted)
    assert code == 0, err
    [model] = json.loads(out)["models"]
    rows = {row["name"]: row for row in model["rows"]}
    for name in ("pass@1", "oracle@2", "majority@2", "weighted@2", "best-of-n@2"):
        assert rows[f"program:{name}"]["accuracy"] == 1.0
    assert rows["majority@4"]["accuracy"] == 0.75
    assert rows["program:majority@2"]["tokens"] < rows["majority@4"]["tokens"]
    assert [row["name"] for row in model["curves"]["program:majority"]] == [
        "program:majority@1",
        "program:majority@2",
    ]
    assert model["compute_to_match"]["baseline"] in ("majority@4", "weighted@4", "best-of-n@4")
    alone = next(row for row in model["agreement"] if row["heard"] == [2, 0])
    assert (alone["behind"], alone["right"], alone["questions"]) == ([2, 0], 1.0, 8)
    code, report, _ = ttc(*wanted[:-1])
    assert "| 1 program + 1 in prose | 1 program + 1 in prose | 100% |" in report
    assert (
        "Beside them 2 programs of 8 questions at temperature 0.6, of which 0.0% failed" in report
    )


@pytest.mark.slow
def test_contenders_of_programs_alone_can_be_named(ttc, data) -> None:
    ttc.script = calculate
    names = "program:majority@3,program:greedy,program:auto:quick,prose:auto:quick,majority"
    wanted = ("bench", data, "--limit", 4, "--samples", 4, "--runs", 1, "--strategies", names)
    code, out, err = ttc(*wanted, "--live", 2)
    assert code == 0, err
    for name in names.split(",")[:-1]:
        assert f"| {name} |" in out
    assert "| program:auto:quick, live |" in out
    [pool] = Path("home").rglob("*-program.jsonl")
    rows = [json.loads(line) for line in pool.read_text().splitlines()[1:]]
    assert [len(row["samples"]) for row in rows] == [8] * 4
    code, _, err = ttc("bench", data, "--samples", 4, "--programs", 2, "-s", "program:majority@3")
    assert (code, "needs 3 candidates" in err, "--programs 3" in err) == (2, True, True)


@pytest.mark.slow
def test_programs_are_drawn_unasked_only_for_a_policy_that_uses_them(ttc, data) -> None:
    ttc.script = calculate
    wanted = ("bench", data, "--limit", 4, "--samples", 4, "--runs", 1)
    assert ttc(*wanted)[0] == 0
    assert not list(Path("home").rglob("*-program.jsonl"))


@pytest.mark.slow
def test_json_is_one_object_with_numbers(ttc, data) -> None:
    code, out, _ = ttc("bench", data, "--samples", 4, "--runs", 2, "--json")
    assert code == 0
    [model] = json.loads(out)["models"]
    rows = {row["name"]: row for row in model["rows"]}
    assert rows["majority@4"]["accuracy"] == 0.75
    assert 0 < rows["pass@1"]["flops"] < rows["majority@4"]["flops"]
    assert model["compute_to_match"]["baseline"] in ("majority@4", "weighted@4", "best-of-n@4")
    assert set(model["bins"].values()) <= {1, 2, 3, 4, 5}


@pytest.mark.slow
def test_out_writes_report_rows_and_curves(ttc, data, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    code, out, _ = ttc("bench", data, "--samples", 4, "--runs", 2, "--out", folder)
    assert code == 0
    assert (folder / "report.md").read_text().rstrip() == out.rstrip()
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "curves.svg").read_text()
    assert (folder / "curves-by-bin.png").read_bytes().startswith(b"\x89PNG")
    by_bin = (folder / "curves-by-bin.svg").read_text()
    counts = re.findall(r"<!-- bin [1-5] \(n (\d+)\) -->", by_bin)
    assert sum(map(int, counts)) == 8
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows} == {"script"}
    assert sum(row["strategy"] == "majority@4" for row in rows) == 8
    assert sum(row["strategy"] == "auto:normal" for row in rows) == 16
    same = ttc("bench", "compare", folder / "rows.jsonl", folder / "rows.jsonl")
    assert same[0] == 0
    assert "| majority@4 | 8 | 75.0% | 75.0% | +0.0 points [+0.0, +0.0] | 1.00 |" in same[1]


@pytest.mark.slow
def test_live_strategies_run_on_the_model_and_are_kept(ttc, data) -> None:
    wanted = ("bench", data, "--samples", 4, "--runs", 1, "--strategies", "majority,greedy,beam@4")
    code, first, err = ttc(*wanted)
    assert code == 0, err
    assert "| greedy |" in first
    assert "| beam@4 |" in first
    [kept] = Path("home").rglob("*.live.jsonl")
    lines = kept.read_text().splitlines()
    assert len(lines) == 16
    # Cut off in the middle of a line: only that question is solved again.
    kept.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])
    assert ttc(*wanted)[0] == 0
    whole = [json.loads(line) for line in kept.read_text().splitlines()]
    assert len(whole) == 16
    assert len({(row["strategy"], row["question"]) for row in whole}) == 16


@pytest.mark.slow
def test_a_live_strategy_can_have_verifiers_of_its_own(ttc, data) -> None:
    names = "beam@4+confidence=mean,beam@4+arithmetic+judge,beam@4"
    code, out, err = ttc("bench", data, "--samples", 4, "--runs", 1, "--strategies", names)
    assert code == 0, err
    for name in names.split(","):
        assert f"| {name} |" in out
    [kept] = Path("home").rglob("*.live.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert {row["strategy"] for row in rows} == set(names.split(","))
    # What nothing is asked of costs less than the judge.
    tokens = {
        name: sum(row["tokens"] for row in rows if row["strategy"] == name)
        for name in names.split(",")
    }
    assert tokens["beam@4+confidence=mean"] < tokens["beam@4"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("majority@4+judge", "uses their scores"),
        ("auto:deep+judge", "uses their scores"),
        ("greedy+judge", "uses their scores"),
        ("beam@4+judg", "There is no verifier called 'judg'"),
        ("beam@4+", "There is no verifier called ''"),
        ("beam@4+confidence=moon", "There is no confidence called 'moon'"),
        ("beam@4+judge+judge", "named only once"),
        ("beam@4+check=grep 4 {file}", "needs a command"),
        ("beam@4+generative=qwen2.5-coder-0.5b@thinkprm", "needs another model"),
    ],
)
def test_verifiers_that_a_bench_cannot_ask_are_refused(ttc, data, name: str, reason: str) -> None:
    code, out, err = ttc("bench", data, "--samples", 4, "--strategies", name)
    assert (code, out) == (2, "")
    assert reason in err
    assert not list(Path("home").rglob("*.jsonl")), "said before anything is drawn"


@pytest.mark.slow
def test_the_simulation_can_be_checked_on_the_model(ttc, data) -> None:
    wanted = ("bench", data, "--samples", 4, "--runs", 2, "--strategies", "majority,auto:quick")
    code, out, err = ttc(*wanted, "--live", 3)
    assert code == 0, err
    assert "The first 3 questions, live" in out
    assert "| auto:quick, simulated | 100.0%" in out
    assert "| auto:quick, live | 100.0%" in out


def test_traces_of_another_tool_are_graded_alike(ttc, data, tmp_path) -> None:
    traces = tmp_path / "peer.jsonl"
    rows = [
        {
            "question": f"sums/{n}",
            "strategy": "peer",
            "text": f"So it is \\boxed{{{2 * (n + 1)}}}.",
            "tokens": 50,
            "flops": 1e12,
        }
        for n in range(4)
    ]
    rows.append({"question": "sums/4", "strategy": "peer", "answer": "10", "tokens": 50})
    rows.append({"question": "sums/5", "strategy": "peer", "text": "twelve minus 0 is 12"})
    traces.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = ttc("bench", data, "--samples", 4, "--runs", 1, "--traces", traces)
    assert code == 0
    # Five are right; a number that is not stated as the answer is none, and two have no trace.
    assert "| peer | 62.5% |" in out


def test_traces_that_are_none_are_told_before_anything_is_drawn(ttc, data, tmp_path) -> None:
    traces = tmp_path / "peer.jsonl"
    traces.write_text('{"question": "sums/1", "strategy": "peer"}\n')
    code, _, err = ttc("bench", data, "--samples", 4, "--traces", traces)
    assert code == 2
    assert "line 1: not a trace, it has no text or answer" in err
    assert ttc.opened == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--strategies", "majorty"], "majority"),
        (["--strategies", "beam:deep"], "only auto"),
        (["--strategies", "auto:deeep"], "deep"),
        (["--strategies", "majority@64"], "--samples 64"),
        (["--limit", "2", "--part", "0:3"], "contradict"),
        (["--part", "90:99"], "No questions"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_drawn(ttc, data, arguments, word) -> None:
    code, _, err = ttc("bench", data, "--samples", 4, *arguments)
    assert code == 2
    assert word in err
    assert ttc.opened == 0


def test_data_that_is_not_there_is_told_with_what_there_is(ttc) -> None:
    code, _, err = ttc("bench", "gsm9k")
    assert code == 2
    assert "gsm8k" in err


def test_a_named_set_without_a_hub_says_so(ttc, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read at import
    code, _, err = ttc("bench", "gsm8k")
    assert code == 6
    assert "HF_HUB_OFFLINE" in err


@pytest.mark.slow
def test_another_way_of_asking_does_not_use_an_old_pool(ttc, data, monkeypatch) -> None:
    assert ttc("bench", data, "--samples", 4, "--runs", 1)[0] == 0
    monkeypatch.setattr("ttc_cli.prompts._INSTRUCTIONS", dict.fromkeys(AnswerType, "Think."))
    code, _, err = ttc("bench", data, "--samples", 4, "--runs", 1)
    assert code == 2
    assert "drawn with other settings: prompt_format" in err
