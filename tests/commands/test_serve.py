"""``ttc serve`` as a process: its address, its key, and how it ends."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.main import main

SCRIPT = Path(__file__).with_name("scripted_ttc.py")
CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def serving(tmp_path, *flags, texts=("The final answer is 4.",), **variables):
    """A server, the lines that it said until it was ready, and its address."""
    scenario = {"texts": texts, "parallel": 4, "pause": 0.005, "context": 100_000}
    variables |= {"SCENARIO": json.dumps(scenario), "TTC_HOME": str(tmp_path / "home")}
    command = [sys.executable, str(SCRIPT), "serve", "--port", "0", *flags]
    process = subprocess.Popen(
        command, env=os.environ | variables, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        said = process.stderr.readline().decode()
        found = re.fullmatch(r"serving script on (http://\S+)/v1\n", said)
        assert found, said + process.stderr.read().decode()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def ask(**more):
    return {"model": "script:none", "messages": [{"role": "user", "content": "Hi"}], **more}


def test_it_serves_this_machine_without_a_key(tmp_path):
    with serving(tmp_path) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        found = httpx2.post(url + CHAT, json=ask()).json()
        assert found["choices"][0]["message"]["content"] == "The final answer is 4."
        assert re.match(rf"200 {CHAT} none: \d+ tokens, ", process.stderr.readline().decode())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert b"answered" in said


def test_a_termination_lets_what_runs_end_first(tmp_path):
    with serving(tmp_path, "--grace", "0.5", texts=["forever: on and on"]) as (process, url):
        with httpx2.stream("POST", url + CHAT, json=ask(stream=True), timeout=30) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["ttc"]["interrupted"]
        process.communicate(timeout=20)
        assert process.returncode == 0
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url + "/health")


def test_a_second_signal_ends_it_at_once(tmp_path):
    with serving(tmp_path, "--grace", "60", texts=["forever: on and on"]) as (process, url):
        with (
            contextlib.suppress(httpx2.HTTPError),
            httpx2.stream("POST", url + CHAT, json=ask(stream=True), timeout=30) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGTERM)
            process.wait(5)
        assert process.returncode == 143


def test_a_key_is_made_where_others_can_reach_it(tmp_path):
    with serving(tmp_path, "--host", "0.0.0.0") as (process, url):
        said = process.stderr.readline().decode()
        key = re.search(r": (\S{32})\n", said)[1]
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        shown = {"Authorization": f"Bearer {key}"}
        assert httpx2.get(f"{url}/v1/models", headers=shown).status_code == 200


def test_a_key_of_the_users_own_is_never_shown(tmp_path):
    with serving(tmp_path, "--host", "0.0.0.0", TTC_SERVE_KEY="my own") as (process, url):
        url = url.replace("0.0.0.0", "127.0.0.1")
        shown = {"Authorization": "Bearer my own"}
        assert httpx2.get(f"{url}/v1/models", headers=shown).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert b"my own" not in said


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(scripted_model, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (["--allow-origin", "https://chat.example.org/"], "k", "without a path"),
        (["--allow-origin", "*"], "k", "without a path"),
        (["--allow-origin", "chat.example.org"], "k", "without a path"),
        (["--allow-origin", "https://Chat.example.org"], "k", "without a path"),
        ([], "my key\n", "visible ASCII"),
        ([], "sch\xf6n", "visible ASCII"),
        (["--max-seconds", "nan"], "k", "--max-seconds"),
        (["--grace", "inf"], "k", "--grace"),
        (["--host", "a" * 70], "k", "--port"),
    ],
)
def test_what_could_never_be_served_is_said_at_the_start(
    scripted_model, capsys, monkeypatch, words, key, said
):
    monkeypatch.setenv("TTC_SERVE_KEY", key)
    assert main(["serve", "--port", "0", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert key == "k" or key not in error


@pytest.mark.parametrize("command", ["serve", "mcp"])
def test_a_model_that_cannot_be_asked_is_refused_at_the_start(
    scripted_model, capsys, monkeypatch, command
):
    if command == "mcp":
        pytest.importorskip("mcp")

    def open_engine(path, settings, name, planned=None):
        engine = ScriptedEngine()
        engine.info = replace(engine.info, chat_template=None)
        return engine

    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)
    assert main([command, *(["--port", "0"] if command == "serve" else [])]) == 2
    assert "chat template" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "extra"), [("serve", "serve"), ("mcp", "mcp")])
def test_an_extra_that_is_missing_is_named(scripted_model, capsys, monkeypatch, command, extra):
    monkeypatch.setattr("ttc_cli.commands._serving.find_spec", lambda name: None)
    assert main([command]) == 2
    assert f"pip install 'ttc-cli[{extra}]'" in capsys.readouterr().err
