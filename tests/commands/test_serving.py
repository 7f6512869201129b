"""``ttc solve --server``: no model here; what a server lacks is said or refused."""

import json
import os

import pytest
from fake_openai import FakeServer, babble, choice, serve, stream, whole

from ttc_cli.main import main

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def answer(prompt, seed):
    if "assistant" not in prompt:
        return babble(prompt, seed)
    return (
        f" Two and two make {4 if seed % 3 else 5}.\n\n The final answer is {4 if seed % 3 else 5}."
    )


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("TTC_", "HF_")) or name == "OPENAI_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.jinja").write_text(TEMPLATE)


@pytest.fixture
def solve(capsys):
    def run(fake, *arguments, template="chat.jinja"):
        more = ("--chat-template", template) if template else ()
        code = main(["solve", "What is 2+2?", "--server", fake.url, *more, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_question_is_solved_on_a_server(solve):
    with serve(FakeServer(say=answer, model="org/Model-7B")) as fake:
        code, out, err = solve(fake, "--json", "--parameters", "7e9")
    assert code == 0
    result = json.loads(out)
    assert (result["answer"], result["model"]) == ("4", "org/Model-7B")
    usage = result["usage"]
    assert usage["flops"] == pytest.approx(14e9 * usage["tokens"])
    assert "server:" not in err


def test_the_server_can_be_a_setting_and_the_key_shows_nowhere(solve, monkeypatch, capsys):
    with serve(FakeServer(say=answer, key="sk-secret")) as fake:
        monkeypatch.setenv("TTC_SERVER", fake.url)
        monkeypatch.setenv("TTC_CHAT_TEMPLATE", "chat.jinja")
        monkeypatch.setenv("TTC_API_KEY", "sk-secret")
        assert main(["solve", "What is 2+2?", "--jsonl", "-v"]) == 0
    shown = capsys.readouterr()
    assert "sk-secret" not in shown.out + shown.err
    assert json.loads(shown.out.splitlines()[-1])["type"] == "result"


def test_without_a_key_the_exit_code_is_that_of_the_network(solve):
    with serve(FakeServer(key="sk-secret")) as fake:
        code, out, err = solve(fake)
    assert (code, out) == (6, "")
    assert "TTC_API_KEY" in err


def test_a_server_that_is_not_there_is_a_matter_of_the_network(monkeypatch, capsys):
    monkeypatch.setattr("ttc_cli.engines.openai.transport._FIRST_PAUSE", 0.001)
    assert main(["solve", "q", "--server", "http://127.0.0.1:1"]) == 6
    assert "does not answer" in capsys.readouterr().err


def test_a_server_that_tells_no_template_needs_one(solve):
    with serve(FakeServer(say=answer)) as fake:
        code, _, err = solve(fake, template=None)
    assert code == 2
    assert "--chat-template" in err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", {"chat_template": TEMPLATE, "eos_token": {"content": "</s>"}}),
        ("several.json", {"chat_template": [{"name": "default", "template": TEMPLATE}]}),
    ],
)
def test_the_template_may_be_in_a_tokenizers_configuration(solve, tmp_path, name, content):
    (tmp_path / name).write_text(json.dumps(content))
    with serve(FakeServer(say=answer)) as fake:
        assert solve(fake, "-q", template=name) == (0, "4\n", "")
        assert "<|im_start|>user\nWhat is 2+2?<|im_end|>" in fake.completions[-1]["prompt"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("no.json", "{}"), ("bad.json", "{"), ("deep.json", "[" * 100_000), ("no such model", None)],
)
def test_what_holds_no_template_is_refused(solve, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    with serve(FakeServer(say=answer)) as fake:
        code, out, err = solve(fake, template=name)
    assert (code, out) == (2, "")
    assert "template" in err


LIST = TEMPLATE.replace("{{ m.content }}", "{% for part in m.content %}{{ part.text }}{% endfor %}")


def test_a_template_that_takes_a_list_of_parts_shows_the_question(solve, tmp_path):
    (tmp_path / "list.jinja").write_text(LIST)
    with serve(FakeServer(say=answer)) as fake:
        assert solve(fake, "-q", template="list.jinja")[:2] == (0, "4\n")
        assert "<|im_start|>user\nWhat is 2+2?<|im_end|>" in fake.completions[-1]["prompt"]


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ("chatml", (), "knows none by name"),
        (TEMPLATE.replace("{{ m.content }}", "{{ m.text }}"), (), "leaves out"),
        (TEMPLATE.replace("messages", "messages[:1]"), ("--system", "Be kind."), "4"),
        (TEMPLATE.replace("messages", "messages[-1:]"), ("--system", "Be kind."), "4"),
        (
            TEMPLATE.replace("messages", "messages if m.role != 'assistant'"),
            ("--strategy", "revise"),
            "shows no assistant turn",
        ),
    ],
)
def test_a_template_that_loses_what_is_asked_asks_nothing(solve, tmp_path, source, arguments, said):
    (tmp_path / "losing.jinja").write_text(source)
    with serve(FakeServer(say=answer)) as fake:
        code, out, err = solve(fake, *arguments, template="losing.jinja")
        asked = [each["prompt"] for each in fake.completions if "assistant" in each["prompt"]]
    if said == "4":  # both stand in the user's turn
        assert (code, out) == (0, "4\n")
        assert all("Be kind." in each and "What is 2+2?" in each for each in asked)
    else:
        assert (code, out, asked) == (2, "", [])
        assert said in err
        assert "--" in err


@pytest.mark.parametrize("strategy", ["best-of-n", "weighted", "beam", "revise"])
def test_without_logprobs_what_goes_by_scores_is_refused(solve, strategy):
    with serve(FakeServer(say=answer, most_logprobs=0)) as fake:
        code, out, err = solve(fake, "--strategy", strategy)
    assert (code, out) == (2, "")
    assert "majority" in err


@pytest.mark.parametrize("strategy", ["auto", "majority", "greedy"])
def test_without_logprobs_whole_answers_are_voted_on(solve, strategy):
    with serve(FakeServer(say=answer, most_logprobs=0)) as fake:
        code, out, err = solve(fake, "--strategy", strategy, "--samples", "8")
    assert (code, out) == (0, "5\n" if strategy == "greedy" else "4\n")
    assert "no log-probabilities" in err


def test_beam_search_grows_step_by_step_on_a_server(solve):
    with serve(FakeServer(say=answer_on)) as fake:
        code, out, _ = solve(fake, "--strategy", "beam", "--samples", "4", "--json")
    assert code == 0
    assert json.loads(out)["answer"] == "4"
    assert any(each.get("stop") == ["\n\n"] for each in fake.completions)


def answer_on(prompt, seed):
    """The rest of an answer in two steps."""
    if "assistant" not in prompt:
        return babble(prompt, seed)
    said = prompt.rpartition("<|im_start|>assistant\n")[2]
    whole = " Two and two make four.\n\n The final answer is 4."
    return whole.removeprefix(said) if said else whole


def test_a_cap_on_flops_needs_the_size_of_the_model(solve):
    with serve(FakeServer(say=answer)) as fake:
        code, _, err = solve(fake, "--max-flops", "1e12")
        assert code == 2
        assert "--parameters" in err
        assert solve(fake, "--max-flops", "1e12", "--parameters", "1e6", "-q")[0] == 0


def test_self_certainty_is_refused(solve):
    with serve(FakeServer(say=answer)) as fake:
        code, _, err = solve(fake, "--verifier", "confidence=self-certainty")
    assert code == 2
    assert "likeliest tokens" in err


SCHEMA = '{"type": "object", "properties": {"n": {"enum": [4]}}, "required": ["n"]}'


def test_an_answer_is_held_to_a_schema_where_the_server_can(solve):
    with serve(FakeServer(say=answer, grammar="json_schema")) as fake:
        code, out, err = solve(fake, "--schema", SCHEMA)
    assert (code, json.loads(out)) == (0, {"n": 4}), err


def test_a_server_that_keeps_to_no_schema_is_refused_with_what_to_do(solve):
    with serve(FakeServer(say=answer)) as fake:
        code, out, err = solve(fake, "--schema", SCHEMA)
    assert (code, out) == (2, "")
    assert "cannot follow a JSON Schema" in err
    assert "--answer-type json" in err


def test_a_dry_run_asks_nobody(solve):
    code, out, _ = solve(FakeServer(url="http://127.0.0.1:1/v1"), "--dry-run")
    assert code == 0
    assert "served by http://127.0.0.1:1/v1" in out


def test_the_registry_knows_how_a_model_of_a_name_samples(solve, monkeypatch):
    with serve(FakeServer(say=answer, model="qwen2.5-coder-1.5b")) as fake:
        assert solve(fake, "-q", "--model", "qwen2.5-coder-1.5b")[0] == 0
    sent = fake.completions[-1]
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.5, 0.95, 40)


def answering(*messages, reply=stream):
    """A server whose answers, not the probe's, are these messages."""

    def raw(path, body):
        return reply(*messages) if "assistant" in body.get("prompt", "") else None

    return FakeServer(say=answer, raw=raw, key=KEY)


KEY = "sk-secret-1234"
SAID = "The final answer is 4"
MAJORITY = ("--strategy", "majority", "--samples", "3", "--answer-type", "number")


@pytest.fixture
def keyed(monkeypatch):
    monkeypatch.setenv("TTC_API_KEY", KEY)


@pytest.mark.slow
@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("word", ["abort", "content_filter", "tool_calls", None])
def test_a_text_that_the_server_cut_off_states_no_answer(solve, word):
    with serve(answering(choice(SAID), choice("", word))) as fake:
        code, out, err = solve(fake, *MAJORITY)
    assert (code, out) == (4, "")
    assert err.count("It cut off 3 texts") == 1
    assert (word or "none told") in err


@pytest.mark.usefixtures("keyed")
def test_signs_that_separate_lines_elsewhere_separate_none_here(solve):
    message = json.dumps(choice(f"First.\u2028{SAID}.\x85", "stop"), ensure_ascii=False)
    with serve(answering(f"data: {message}")) as fake:
        assert solve(fake, *MAJORITY, "-q")[:2] == (0, "4\n")


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ({"object": "error", "message": "The engine is dead."}, 6, "The engine is dead."),
        (choice(None, "stop", reasoning_content=SAID), 6, "sends no text"),
        (
            {"choices": [{"message": {"content": SAID}, "finish_reason": "stop"}]},
            6,
            "chat messages",
        ),
        (choice(None, "stop"), 4, "its server sends no text"),
        (choice("", "abort"), 4, "No candidate stated an answer"),
    ],
)
@pytest.mark.parametrize("reply", [stream, whole])
def test_a_server_that_says_nothing_of_use_is_told_so(solve, message, code, said, reply):
    with serve(answering(message, reply=reply)) as fake:
        found, out, err = solve(fake, *MAJORITY)
    assert (found, out) == (code, "")
    assert said in err


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("message", [{"error": f"No {KEY}"}, choice(f"{KEY} is 4", f"bad {KEY}")])
def test_a_key_that_the_server_sends_back_is_in_no_output(tmp_path, capsys, monkeypatch, message):
    (tmp_path / "q.txt").write_text("What is 2+2?\n")
    with serve(answering(message)) as fake:
        fake.model = f"m-{KEY}"
        command = ["solve", "--server", fake.url, "--chat-template", "chat.jinja", *MAJORITY]
        main([*command, "--batch", "q.txt", "--output", "a.jsonl"])
        main([*command, "What is 2+2?", "--json", "-v"])
        main([*command, "What is 2+2?", "--jsonl", "--explain"])
        main([*command, "What is 2+2?", "--model", "other"])
    shown = capsys.readouterr()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in shown.out + shown.err
    assert KEY.encode() not in kept


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("count", [10**18, 10**20, 10**400, -1])
def test_a_run_with_an_absurd_count_is_kept_and_played_again(solve, capsys, count, tmp_path):
    usage = {"prompt_tokens": count, "completion_tokens": count}
    message = choice(f"{SAID}.", "stop") | {"usage": usage}
    with serve(answering(message)) as fake:
        code, out, err = solve(fake, *MAJORITY, "--view", "plain")
    assert (code, out) == (0, "4\n"), err
    assert "warning" not in err
    assert main(["replay", "last", "--speed", "0"]) == 0
    assert capsys.readouterr().out == "4\n"
    assert main(["runs", "export", "last", "--html", "run.html"]) == 0
    assert (tmp_path / "run.html").stat().st_size < 1 << 20


def test_a_batch_is_solved_on_a_server(tmp_path, capsys):
    (tmp_path / "q.txt").write_text("What is 2+2?\nAnd 2+2?\nAgain, 2+2?\n")
    with serve(FakeServer(say=answer)) as fake:
        command = ["--server", fake.url, "--chat-template", "chat.jinja", "--batch", "q.txt"]
        assert main(["solve", *command, "--output", "a.jsonl"]) == 0
        assert main(["solve", *command, "--output", "a.jsonl"]) == 0
    shown = capsys.readouterr()
    assert "3 questions answered (3 before)" in shown.err
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {row["id"]: row["answer"] for row in rows} == {1: "4", 2: "4", 3: "4"}
