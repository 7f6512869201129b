"""``ttc runs``: what is kept can be listed, found, shown, exported, summed up and deleted."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.main import main

LOG = Path("home/data/runs.db")
TEXTS = ["Two and two make four.\n\nThe final answer is 4.", "Hm.\n\nThe final answer is 5."]

pytestmark = pytest.mark.usefixtures("kept_runs")


@pytest.fixture
def ttc(monkeypatch, capsys):
    """Run a command in this process; returns exit code, stdout and stderr."""

    def run(*arguments, texts=TEXTS):
        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name: ScriptedEngine(texts),
        )
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def solve(ttc):
    """Solve a question; returns the id of its run."""

    def run(question, *flags, **options):
        ttc("solve", question, "-q", "--strategy", "majority", "--samples", "3", *flags, **options)
        return json.loads(ttc("runs", "list", "--json", "-n", "1")[1])["runs"][0]["id"]

    return run


def age(id, days):
    """Let the run have begun so many days ago."""
    log = sqlite3.connect(LOG, isolation_level=None)
    log.execute("UPDATE runs SET started = ? WHERE id = ?", (time.time() - days * 86400, id))
    log.close()


def ids(ttc, *arguments):
    code, out, _ = ttc("runs", *(arguments or ("list",)), "--json")
    assert code == 0
    return [run["id"] for run in json.loads(out)["runs"]]


@pytest.mark.parametrize("command", [["list"], ["search", "four"], ["stats"]])
def test_where_nothing_is_kept_there_is_nothing_to_show(ttc, command):
    code, out, err = ttc("runs", *command)
    assert (code, out) == (0, "")
    assert err
    assert not LOG.exists()
    code, out, _ = ttc("runs", *command, "--json")
    assert code == 0
    assert not any(json.loads(out).get(key) for key in ("runs", "kept", "bins"))


@pytest.mark.parametrize("command", [["show", "last"], ["export", "last"], ["rm", "last", "--yes"]])
def test_a_run_that_is_not_there_is_a_usage_error(ttc, solve, command):
    code, out, err = ttc("runs", *command)
    assert (code, out) == (2, "")
    assert "No run is kept yet" in err
    solve("What is 2+2?")
    code, out, err = ttc("runs", command[0], "zz", *command[2:])
    assert (code, out) == (2, "")
    assert "hint: ttc runs list" in err


def test_the_list_has_the_newest_first(ttc, solve):
    first, second = solve("What is 2+2?"), solve("What is\n3+3?\x1b[2J")
    code, out, _ = ttc("runs", "list")
    head, *lines = out.splitlines()
    assert code == 0
    assert head.split() == [
        "ID", "BEGUN", "STATE", "MODEL", "STRATEGY", "TOKENS", "TIME", "ANSWER", "QUESTION"
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == [second, first]
    assert all(" done " in line and " script " in line and " 4 " in line for line in lines)
    assert "What is 3+3?" in lines[0]
    assert "\x1b" not in out
    assert ids(ttc, "list", "-n", "1") == [second]
    assert ids(ttc, "list", "-n", "0") == [second, first]


def test_a_row_as_json(ttc, solve):
    solve("What is 2+2?", "--budget", "deep")
    _, out, _ = ttc("runs", "list", "--json")
    (row,) = json.loads(out)["runs"]
    assert row | {"id": "", "started": "", "seconds": 0, "flops": 0} == {
        "id": "", "started": "", "state": "done", "resumes": None, "question": "What is 2+2?",
        "model": "script", "strategy": "majority", "budget": "deep", "answer": "4",
        "difficulty": row["difficulty"], "candidates": 3, "tokens": row["tokens"], "flops": 0,
        "seconds": 0, "note": None,
    }  # fmt: skip
    assert row["tokens"] > 20
    assert row["started"].endswith("Z")


def test_search_finds_questions_and_solutions(ttc, solve):
    two, three = solve("How many apples?"), solve("How many pears?", texts=["Six.\n\nIt is 6."])
    assert ids(ttc, "search", "many") == [three, two]
    assert ids(ttc, "search", "apples", "many") == [two]
    assert ids(ttc, "search", "make", "four") == [two]
    assert ids(ttc, "search", "six") == [three]
    assert ids(ttc, "search", "bananas") == []
    code, out, err = ttc("runs", "search", "bananas")
    assert (code, out) == (0, "")
    assert "No run has these words" in err


def test_show_says_what_was_asked_and_why_the_answer(ttc, solve):
    id = solve("What is 2+2?", "--seed", "5", "--system", "It's a test.")
    code, out, _ = ttc("runs", "show", id[:5])
    assert code == 0
    assert f"run       {id}, done" in out
    assert "ttc solve --strategy majority --samples 3 --seed 5" in out
    assert "answer    4" in out
    assert "#0: 4 (" in out
    assert "4: 2 votes" in out
    assert "Stopped: 3 candidates asked for" in out
    assert "Two and two" not in out
    assert "Two and two make four." in ttc("runs", "show", id, "-v")[1]


def test_showing_whole_candidates_tells_what_verifiers_said_of_them(ttc, solve):
    slip = "2 + 2 = 5\n\nThe final answer is 5."
    solve("What is 2+2?", "--verifier", "arithmetic", "--strategy", "best-of-n", texts=[slip])
    assert "arithmetic says: 2 + 2 is 4, not 5" in ttc("runs", "show", "last", "-v")[1]
    assert "says" not in ttc("runs", "show", "last")[1]
    _, out, _ = ttc("runs", "show", "last", "--json")
    scores = json.loads(out)["run"]["ended"][0]["scores"]
    assert scores[0]["remark"] == "2 + 2 is 4, not 5"


def test_the_command_that_is_shown_asks_for_the_same_again(ttc, solve):
    id = solve(
        "What's -2?\n'Quoted'", "--seed", "5", "--system", "It's $HOME.", "--verifier", "judge"
    )
    _, out, _ = ttc("runs", "show", id, "--json")
    command = json.loads(out)["run"]["command"]
    words = subprocess.run(
        ["bash", "-c", f'ttc() {{ printf "%s\\0" "$@"; }}; {command}'],
        capture_output=True,
        text=True,
    ).stdout.split("\0")[:-1]
    assert ttc(*words)[0] == 0
    _, out, _ = ttc("runs", "show", "last", "--json")
    assert json.loads(out)["run"]["command"] == command


def test_model_text_is_harmless_on_a_terminal(ttc, solve):
    evil = "\x1b]0;title\x07 \x9b2J \u202eevil\n\nThe final answer is 4\x1b[31m."
    solve("What is 2+2?", "--answer-type", "text", texts=[evil])
    for command in (["list"], ["show", "last"], ["show", "last", "-v"]):
        _, out, _ = ttc("runs", *command)
        assert not set("\x1b\x07\x9b\u202e") & set(out), command


def test_export_is_what_solve_printed(ttc):
    flags = ["What is 2+2?", "--seed", "3", "--budget", "quick"]
    _, printed, _ = ttc("solve", *flags, "--json")
    code, out, _ = ttc("runs", "export", "last")
    assert (code, json.loads(out)) == (0, json.loads(printed))
    _, printed, _ = ttc("solve", *flags, "--jsonl")
    code, out, _ = ttc("runs", "export", "last", "--jsonl")
    then, now = ([json.loads(line) for line in text.splitlines()] for text in (printed, out))
    assert code == 0
    assert [x for x in now if x["type"] != "grew"] == [x for x in then if x["type"] != "grew"]


def test_a_run_without_a_result_exports_its_events_alone(ttc, solve):
    solve("What is 2+2?")
    log = sqlite3.connect(LOG, isolation_level=None)
    log.execute("UPDATE runs SET state = 'running', process = replace(process, 'pid', 'pid')")
    log.execute("UPDATE runs SET process = json_set(process, '$.born', 1.0)")
    log.execute("DELETE FROM events WHERE body LIKE '%RunEnded%'")
    log.close()
    code, out, err = ttc("runs", "export", "last")
    assert (code, out) == (2, "")
    assert "it is killed" in err
    assert "--jsonl" in err
    code, out, _ = ttc("runs", "export", "last", "--jsonl")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["type"] != "result"


def test_rm_deletes_what_is_named(ttc, solve):
    first, second, third = solve("A?"), solve("B?"), solve("C?")
    code, out, err = ttc("runs", "rm", first, "last", first[:6], "--yes")
    assert (code, out) == (0, "")
    assert "deleted: 2 runs" in err
    assert ids(ttc) == [second]
    assert ttc("runs", "show", third)[0] == 2
    ttc("runs", "rm", "--all", "--yes")
    assert ids(ttc) == []


def test_rm_by_age(ttc, solve):
    old, new = solve("A?"), solve("B?")
    age(old, 31)
    assert "nothing to delete" in ttc("runs", "rm", "--older-than", "5w", "--yes")[2]
    assert "deleted: 1 run" in ttc("runs", "rm", "--older-than", "30d", "--yes")[2]
    assert ids(ttc) == [new]
    for wrong in ("30", "d", "-1d", "30 years"):
        code, _, err = ttc("runs", "rm", "--older-than", wrong, "--yes")
        assert code == 2
        assert "30d" in err


def test_rm_asks_and_in_a_script_needs_yes(ttc, solve):
    id = solve("A?")
    code, _, err = ttc("runs", "rm", "--all")
    assert code == 2
    assert "--yes" in err
    assert ids(ttc) == [id]
    code, _, err = ttc("runs", "rm")
    assert code == 2
    assert ttc("runs", "rm", id, "--all", "--yes")[0] == 2


@pytest.mark.parametrize(("reply", "left"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1)])
def test_rm_asks_on_a_terminal(ttc, solve, reply, left):
    id = solve("A?")
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "ttc_cli", "runs", "rm", id],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, reply.encode())
    assert child.wait() == 0
    os.close(ours)
    assert len(ids(ttc)) == left


def test_stats_hold_auto_against_all_of_its_samples(ttc):
    ttc("solve", "What is 2+2?", "--budget", "quick", "-q", texts=TEXTS[:1])
    _, printed, _ = ttc("runs", "export", "last")
    result = json.loads(printed)
    ttc("solve", "What is 3+3?", "--strategy", "majority", "--samples", "2", "-q")
    code, out, _ = ttc("runs", "stats", "--json")
    stats = json.loads(out)
    (level,) = stats["bins"]
    whole = [each["tokens"] for each in result["candidates"] if each["finish"] == "stop"]
    assert (code, stats["kept"]) == (0, 2)
    assert (level["difficulty"], level["runs"]) == (result["difficulty"], 1)
    assert level["tokens"] == result["usage"]["generated_tokens"]
    assert level["full_tokens"] == pytest.approx(8 * sum(whole) / len(whole))  # quick grows 8
    role = result["usage"]["generator"]
    flops = role["flops"] / (role["prompt_tokens"] + role["generated_tokens"])
    wanted = flops * (role["prompt_tokens"] + level["full_tokens"])
    assert level["full_flops"] == pytest.approx(wanted)
    assert level["full_flops"] > level["flops"]
    code, out, _ = ttc("runs", "stats")
    assert code == 0
    saved = 100 * (1 - level["tokens"] / level["full_tokens"])
    assert f"{saved:.0f} %" in out
    assert out.splitlines()[-1].startswith("all ")


def test_stats_count_a_run_that_was_taken_up_once_with_all_it_took(ttc):
    ttc("solve", "What is 2+2?", "--budget", "quick", "-q")
    first = json.loads(ttc("runs", "export", "last")[1])
    ttc("solve", "-c", "-q")
    second = json.loads(ttc("runs", "export", "last")[1])
    (level,) = json.loads(ttc("runs", "stats", "--json")[1])["bins"]
    assert level["runs"] == 1
    spent = [each["usage"]["generated_tokens"] for each in (first, second)]
    assert level["tokens"] == sum(spent)


def test_path_is_where_the_log_is(ttc, solve):
    solve("A?")
    assert ttc("runs", "path")[1] == f"{LOG.absolute()}\n"


def test_ids_are_completed(ttc, solve, monkeypatch):
    from ttc_cli.commands._completion import complete_run

    first, second = solve("A?"), solve("B?")
    assert complete_run("") == [second, first, "last"]
    assert complete_run(first[:7]) == [first]
    assert complete_run("la") == ["last"]
