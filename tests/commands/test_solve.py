"""``ttc solve`` end to end on a scripted engine: what goes where, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_ttc import FOREVER, make_engine, make_model

from ttc_cli.main import main

HERE = Path(__file__).parent
FOUR = "Two and two make four.\n\nThe final answer is 4."
FIVE = "One more than that.\n\nThe final answer is 5."


pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.fixture
def solve(monkeypatch, capsys):
    """Run ``ttc solve`` in this process; returns exit code, stdout and stderr."""

    def run(*arguments, texts=(FOUR,), **options):
        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name: make_engine(texts, **options),
        )
        code = main(["solve", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def spawn(monkeypatch):
    """Run ``ttc solve`` in a process of its own."""

    def run(*arguments, texts=(FOUR,), scenario=None, **options):
        monkeypatch.setenv("SCENARIO", json.dumps({"texts": list(texts), **(scenario or {})}))
        options = {"capture_output": True, "timeout": 120, **options}
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        command = [sys.executable, str(HERE / "scripted_ttc.py"), "solve", *arguments]
        return subprocess.run(command, **options)

    return run


def test_stdout_is_the_answer_alone_and_the_summary_ends_stderr(solve):
    code, out, err = solve("What is 2+2?")
    assert (code, out) == (0, "4\n")
    assert err.splitlines()[0].startswith("started: ")
    assert "stopped: " in err.splitlines()[-1]


def test_quiet_leaves_stderr_empty(solve):
    assert solve("What is 2+2?", "-q") == (0, "4\n", "")


def test_no_view_leaves_the_summary(solve):
    code, out, err = solve("What is 2+2?", "--view", "none")
    assert (code, out) == (0, "4\n")
    assert len(err.splitlines()) == 1


def test_solution_is_the_winner_word_for_word(solve):
    assert solve("What is 2+2?", "--solution", "-q")[:2] == (0, FOUR + "\n")


SHADY = 'x = "`" * 3\nprint(x + "\\033[2J[red]\\u202e")\nprint(4)\n```\nIt prints 4.'


def test_the_solution_of_a_program_is_its_code_and_what_it_printed(solve):
    asked = ("What is 2+2?", "--form", "program", "--samples", "1")
    code, out, err = solve(*asked, "--solution", "-v", texts=[SHADY])
    program, _, rest = SHADY.partition("\n```")
    # Raw in a pipe, and cleaned where a person looks.
    printed = "```\x1b[2J[red]\u202e\n4"
    assert (code, out) == (0, f"```python\n{program}\n```\n\n````output\n{printed}\n````\n")
    assert "  ````output\n  ```[red]\n  4\n  ````\n" in err
    assert not {"\x1b", "\u202e"} & set(err)
    assert rest not in out
    kept = json.loads(solve(*asked, "--json", texts=[SHADY])[1])
    assert f"{kept['solution']}\n" == out
    (one,) = kept["candidates"]
    assert (one["form"], one["ran"]["output"]) == ("program", f"{printed}\n")


def test_a_free_form_answer_is_the_whole_text(solve):
    poem = "Roses are red.\n\nViolets too."
    code, out, _ = solve("Write a poem.", "--answer-type", "free", "-q", texts=[poem])
    assert (code, out) == (0, poem + "\n")


def test_explain_and_verbose_speak_on_stderr(solve):
    code, out, err = solve("What is 2+2?", "--explain", "-v", "--view", "none")
    assert (code, out) == (0, "4\n")
    assert "Decisions" in err
    assert "Two and two make four." in err


def test_json_is_one_object_with_the_whole_result(solve):
    code, out, _ = solve("What is 2+2?", "--json", "--seed", "7")
    assert code == 0
    result = json.loads(out)
    assert result["type"] == "result"
    assert (result["answer"], result["solution"]) == ("4", FOUR)
    assert (result["question"], result["model"], result["seed"]) == ("What is 2+2?", "script", 7)
    assert result["usage"]["generated_tokens"] > 0


def test_jsonl_is_every_event_and_the_result_last(solve):
    code, out, _ = solve("What is 2+2?", "--jsonl", "-q")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0]["type"] == "run_started"
    assert lines[-1]["type"] == "result"
    assert lines[-1]["answer"] == "4"
    assert {"wave_started", "candidate_ended", "voted", "decided"} <= {x["type"] for x in lines}


def test_flags_reach_the_run(solve):
    _, out, _ = solve(
        "What is 2+2?", "--jsonl", "--strategy", "majority", "--samples", "3", "--seed", "5",
        "--budget", "deep", "--max-tokens", "500", "--max-seconds", "60", "--max-samples", "9",
    )  # fmt: skip
    started, *_, result = [json.loads(line) for line in out.splitlines()]
    assert (started["strategy"], started["seed"]) == ("majority", 5)
    assert started["budget"] | {"tokens_per_candidate": 0} == {
        "level": "deep", "max_tokens": 500, "max_seconds": 60, "max_flops": None,
        "max_samples": 9, "tokens_per_candidate": 0,
    }  # fmt: skip
    assert len(result["candidates"]) == 3


def test_settings_reach_the_run_and_flags_win(solve, monkeypatch, tmp_path):
    (tmp_path / "ttc.toml").write_text('budget = "deep"\nstrategy = "majority"\nview = "none"\n')
    monkeypatch.setenv("TTC_STRATEGY", "greedy")
    _, out, err = solve("What is 2+2?", "--jsonl", "--budget", "quick", "-v")
    started = json.loads(out.splitlines()[0])
    assert (started["budget"]["level"], started["strategy"]) == ("quick", "greedy")
    assert "started:" not in err


def test_no_stated_answer_is_exit_4_with_nothing_on_stdout(solve):
    code, out, err = solve("What is 2+2?", "-q", "--budget", "quick", texts=["I wonder."])
    assert (code, out) == (4, "")
    assert "No candidate stated an answer" in err
    assert "hint: " in err


def test_no_answer_still_gives_the_json_result(solve):
    code, out, _ = solve("What is 2+2?", "--json", "--budget", "quick", texts=["I wonder."])
    assert code == 4
    assert json.loads(out)["answer"] is None


def test_an_answer_below_the_wanted_score_is_exit_4(solve):
    arguments = ("What is 2+2?", "--strategy", "weighted", "--samples", "3")
    arguments += ("--verifier", "judge", "--min-score", "0.9", "-q")
    code, out, err = solve(*arguments, yes=lambda text: 0.2)
    assert (code, out) == (4, "")
    assert "below --min-score 0.9" in err
    assert solve(*arguments, yes=lambda text: 0.95) == (0, "4\n", "")


@pytest.mark.slow
def test_a_time_budget_that_runs_out_is_no_error(solve):
    code, out, _ = solve(
        "What is 2+2?", "--json", "--max-seconds", "2", "--strategy", "majority",
        texts=[FOUR, FOREVER + "and so on"], pause=0.01,
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["answer"] == "4"
    assert "time cap" in result["stop_reason"]
    assert result["usage"]["seconds"] < 3


@pytest.mark.slow
def test_a_prompt_longer_than_the_context_is_exit_5_in_tokens(solve):
    code, out, err = solve("word " * 200_000, "-q")
    assert (code, out) == (5, "")
    assert "200,0" in err
    assert "tokens" in err


def test_an_error_is_an_object_where_an_object_was_asked_for(solve):
    for flag in ("--json", "--jsonl"):
        code, out, err = solve("word " * 10_000, flag, "-q")
        assert code == 5
        assert json.loads(out.splitlines()[-1])["type"] == "error"
        assert json.loads(out.splitlines()[-1])["exit_code"] == 5
        assert err.startswith("error: ")


@pytest.mark.parametrize("prompt", ["", " \n", "caf\udce9"])
def test_what_is_no_question_is_exit_2(solve, prompt):
    code, out, err = solve(prompt)
    assert (code, out) == (2, "")
    assert err.startswith("error: The ")


@pytest.mark.slow
def test_hostile_text_is_raw_in_a_pipe_and_harmless_on_stderr(spawn):
    hostile = "\x1b]0;owned\x07[/bold]\x1b[2J \u202eevil\n\nThe final answer is 4."
    done = spawn("What?", "--solution", "-v", "--explain", texts=[hostile])
    assert done.returncode == 0
    assert done.stdout.decode() == hostile + "\n"
    assert b"\x1b" not in done.stderr
    assert "\u202e" not in done.stderr.decode()
    assert "[/bold]" in done.stderr.decode()


@pytest.mark.slow
def test_the_question_comes_from_stdin_a_dash_or_both(spawn):
    for arguments, given, question in (
        ((), b"What is 2+2?\n", "What is 2+2?"),
        (("-",), b"What is 2+2?\n", "What is 2+2?"),
        (("Explain:",), b"2+2=4\n", "Explain:\n\n2+2=4"),
    ):
        done = spawn(*arguments, "--json", "-q", input=given)
        assert json.loads(done.stdout)["question"] == question


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "code"), [(b"", 2), (b"\xff\xd8\xff\xe0\x00\x10JFIF", 2), (b"a\0b", 2), (b"\xe9", 2)]
)
def test_binary_and_empty_input_is_exit_2(spawn, given, code):
    done = spawn(input=given)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly(spawn):
    for arguments, texts in ((("--jsonl",), [FOREVER + "on and on"]), (("--solution",), [FOUR])):
        out, into = os.pipe()
        os.close(out)
        done = spawn(
            "What?", "-q", *arguments, texts=texts, capture_output=False,
            stdout=into, stderr=subprocess.PIPE,
        )  # fmt: skip
        os.close(into)
        assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("flag", ["--json", "--jsonl", "--solution"])
def test_a_full_disk_under_stdout_is_exit_1_in_words(spawn, flag):
    with open("/dev/full", "wb") as full:
        done = spawn("What?", flag, "-q", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"No room left on the disk" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_closed_stderr_costs_no_answer(spawn):
    out, into = os.pipe()
    os.close(out)
    done = spawn("What?", capture_output=False, stdout=subprocess.PIPE, stderr=into)
    os.close(into)
    assert (done.returncode, done.stdout) == (0, b"4\n")


def test_a_missing_model_is_exit_3_with_the_command_to_type(capsys):
    assert main(["solve", "-m", "qwen2.5-coder-0.5b", "q"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "hint: ttc models pull qwen2.5-coder-0.5b"


def test_an_unknown_model_is_exit_2_with_the_nearest_name(capsys):
    assert main(["solve", "-m", "qwen2.5-codr-0.5b", "q"]) == 2
    assert "qwen2.5-coder-0.5b" in capsys.readouterr().err


@pytest.mark.slow
def test_a_file_that_is_no_model_is_exit_3(capsys, tmp_path):
    wrong = tmp_path / "wrong.gguf"
    for content in (b"", b"#!/bin/sh\n" * 100, b"GGUF\x03\0\0\0\xff\xff\xff\xff"):
        wrong.write_bytes(content)
        assert main(["solve", "-m", str(wrong), "q"]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert "wrong.gguf" in err
        assert "Traceback" not in err
    assert main(["solve", "-m", str(tmp_path / "none.gguf"), "q"]) == 3


def test_a_dry_run_says_what_would_be_done(capsys):
    arguments = ["solve", "-m", "qwen2.5-coder-0.5b", "q", "--dry-run", "--budget", "quick"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "not on this machine: ttc models pull qwen2.5-coder-0.5b" in shown
    assert "8 candidates" in shown
    assert main([*arguments, "--json", "--max-samples", "2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["type"], plan["max_samples"], plan["path"]) == ("plan", 2, None)


BOTH = "qwen2.5-coder-0.5b,qwen2.5-coder-1.5b"


@pytest.mark.parametrize(
    ("flags", "samples", "first"),
    [
        ("--budget max --max-samples 512", 512, 8),
        ("--budget max --samples 300 --max-samples 512", 300, 8),
        ("--budget max", 256, 8),
        ("--strategy greedy --samples 9", 1, None),
        ("--answer-type free", 4, 4),
        ("--answer-type code --budget max", 16, 16),
        ("--answer-type free --samples 3", 3, 3),
        (f"--answer-type code --cascade {BOTH} --budget quick", 4, 2),
        (f"--cascade {BOTH} --budget quick", 16, 4),
        (f"--cascade {BOTH} --budget quick --max-samples 10", 10, 4),
        (f"--cascade {BOTH} --budget quick --max-samples 8", 8, 4),
        (f"--cascade {BOTH} --strategy majority --samples 5", 10, None),
    ],
)
def test_a_dry_run_counts_candidates_as_the_run_does(capsys, flags, samples, first):
    assert main(["solve", "q", "--dry-run", "--json", *flags.split()]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["max_samples"], plan.get("first_wave")) == (samples, first)
    assert plan["max_tokens"] == samples * 768
    larger = [each["model"] for each in plan.get("larger", ())]
    assert larger == (["qwen2.5-coder-1.5b"] if "--cascade" in flags else [])


@pytest.mark.parametrize(
    ("flags", "forms", "worded"),
    [
        ("--strategy majority", ["prose"], "prose"),
        ("--form prose", ["prose"], "prose"),
        ("--form program", ["program"], "program"),
        ("--form program --strategy beam", ["program"], "program"),
        ("--form program --answer-type choice", ["program"], "program"),
    ],
)
def test_a_dry_run_says_which_forms_would_be_used(capsys, flags, forms, worded):
    assert main(["solve", "What is 2+2?", "--dry-run", "--json", *flags.split()]) == 0
    assert json.loads(capsys.readouterr().out)["forms"] == forms
    assert main(["solve", "What is 2+2?", "--dry-run", *flags.split()]) == 0
    assert f"form       {worded}\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["free", "json"])
def test_a_form_that_cannot_state_the_answer_is_refused(solve, capsys, kind):
    flags = ("q", "--form", "program", "--answer-type", kind)
    assert main(["solve", *flags, "--dry-run"]) == 2
    planned = capsys.readouterr()
    code, out, err = solve(*flags)
    assert (code, out, planned.out) == (2, "", "")
    assert f"A program cannot state an answer of type {kind}." in err
    assert planned.err == err


def test_the_user_asks_for_programs(solve):
    program = "total = 2 + 2\nprint(total)\n```"
    code, out, _ = solve("What is 2+2?", "--form", "program", "--json", texts=[program])
    found = json.loads(out)
    assert (code, found["answer"]) == (0, "4")
    assert {each["form"] for each in found["candidates"]} == {"program"}
    assert {each["ran"]["output"] for each in found["candidates"]} == {"4\n"}


def test_a_critic_adds_what_it_writes(capsys):
    flags = ["--strategy", "best-of-n", "--samples", "4", "--verifier", "generative"]
    assert main(["solve", "q", "--dry-run", "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["max_tokens"] == 4 * (768 + 512)
