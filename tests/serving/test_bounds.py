"""Clients that wait, hang up, are slow or too many; and a server that ends."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import Counter

import httpx2
import pytest
from served import CHAT, ask, in_process, on_a_port, post, read_pieces

import ttc_cli as ttc
from ttc_cli.engines.scripted import Reply
from ttc_cli.errors import EngineError
from ttc_cli.serving.app import make_app
from ttc_cli.serving.metrics import Metrics
from ttc_cli.serving.refusals import Refusal
from ttc_cli.serving.seats import Seats
from ttc_cli.serving.service import Limits, Service
from ttc_cli.types import Finish

FOREVER = Reply("on and on ", Finish.LENGTH)


def wait_until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def send(port, body, *, close=True):
    """A socket on which ``body`` was sent as a chat."""
    text = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(text)}\r\n\r\n"
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.sendall(head.encode() + text)
    return client


def test_more_than_may_wait_are_sent_away(world):
    world.options = {"parallel": 1, "pause": 0.002}
    responses = post(*(ask() for _ in range(5)), limits=Limits(waiting=2))
    codes = sorted(each.status_code for each in responses)
    assert codes == [200, 200, 200, 429, 429]
    sent_away = next(each for each in responses if each.status_code == 429)
    assert int(sent_away.headers["retry-after"]) >= 1
    assert sent_away.json()["error"]["code"] == "too_many_requests"


def test_more_choices_than_could_ever_wait_are_refused_for_good(world):
    world.options = {"parallel": 4}
    codes = [post(ask(n=n), limits=Limits(waiting=2)).status_code for n in (6, 7)]
    assert codes == [200, 400]


def test_those_who_are_sent_away_leave_nothing_behind():
    async def work():
        seats = Seats(4, 1)
        (first,) = seats.join([1], 1.0)
        with pytest.raises(Refusal) as sent_away:
            seats.join([2, 2, 2], 1.0)
        assert sent_away.value.status == 429
        assert (seats.free, seats.waiting) == (3, 0)
        assert [each.taken for each in seats.join([2, 2], 1.0)] == [True, False]
        first.leave()
        assert (seats.free, seats.waiting) == (0, 0)

    asyncio.run(work())


def test_the_first_who_come_are_served_first(world):
    world.options = {"parallel": 4, "pause": 0.001}
    ended = []

    async def work():
        async with in_process() as (client, _):

            async def one(name, model):
                await client.post(CHAT, json=ask(name, model=model))
                ended.append(name)

            names = [("wide", "script:quick"), ("narrow", "script:none")]
            first = asyncio.create_task(one("first", "script:quick"))
            await asyncio.sleep(0.02)
            await asyncio.gather(first, *(one(*each) for each in names))

    asyncio.run(work())
    assert ended == ["first", "wide", "narrow"]


def test_seats_go_to_those_who_come_first():
    async def work():
        seats = Seats(4, 2)
        (first,) = seats.join([3], 1.0)
        (wide,) = seats.join([4], 1.0)
        (narrow,) = seats.join([1], 1.0)
        assert [each.taken for each in (first, wide, narrow)] == [True, False, False]
        wide.leave()
        assert narrow.taken
        first.leave()
        first.leave()
        narrow.leave()
        assert (seats.free, seats.waiting) == (4, 0)

    asyncio.run(work())


def test_a_request_ends_in_time_with_what_it_has(world):
    world.options = {"parallel": 4, "pause": 0.002, "context": 1_000_000}
    world.texts = [FOREVER]
    found = post(ask(), limits=Limits(seconds=0.3)).json()
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "length"
    assert "time cap" in choice["ttc"]["stop_reason"]
    assert choice["message"]["content"].startswith("on and on")


def test_one_whose_turn_does_not_come_in_time_is_sent_away(world):
    world.options = {"parallel": 1, "pause": 0.002, "context": 1_000_000}
    world.texts = [FOREVER]

    async def work():
        async with in_process(Limits(seconds=0.4)) as (client, service):
            long = asyncio.create_task(client.post(CHAT, json=ask()))
            await asyncio.sleep(0.05)
            service.limits = Limits(seconds=0.1)
            late = await client.post(CHAT, json=ask())
            return late, await long

    late, long = asyncio.run(work())
    assert (late.status_code, long.status_code) == (503, 200)
    assert late.json()["error"]["code"] == "timeout"


def test_a_client_that_hangs_up_gives_its_branches_back_within_a_step(world):
    world.options = {"parallel": 4, "pause": 0.02, "context": 1_000_000}
    world.texts = [FOREVER]
    with on_a_port() as (port, service):
        for stream in (True, False):
            client = send(port, ask(model="script:normal", stream=stream))
            wait_until(lambda: world.open_sessions == 1 and world.steps > 3)
            client.close()
            wait_until(lambda: world.open_sessions == 0)
            before = world.steps
            time.sleep(0.1)
            assert world.steps == before
            assert service.seats.free == 4
            world.engines[-1]._slots._steps = 0
        wait_until(lambda: service.metrics.abandoned == 2)


def test_one_that_hangs_up_while_it_waits_leaves_the_line(world):
    world.options = {"parallel": 1, "pause": 0.01, "context": 1_000_000}
    world.texts = [FOREVER]
    with on_a_port() as (port, service):
        first = send(port, ask(stream=True))
        wait_until(lambda: world.open_sessions == 1)
        second = send(port, ask())
        wait_until(lambda: service.seats.waiting == 1)
        second.close()
        wait_until(lambda: service.seats.waiting == 0)
        first.close()
        wait_until(lambda: service.seats.free == 1)


def test_nothing_is_left_of_a_client_that_goes_while_it_takes_nothing(world):
    world.options = {"parallel": 1, "pause": 0.001, "context": 1_000_000}
    world.texts = [FOREVER]
    stuck = asyncio.Event()
    body = [{"type": "http.request", "body": json.dumps(ask(stream=True)).encode()}]

    async def receive():
        if body:
            return body.pop()
        await stuck.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            stuck.set()
            await asyncio.Event().wait()

    async def work():
        async with await ttc.aload() as solver:
            service = Service(solver, Limits())
            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
            await make_app(service)(scope | {"query_string": b""}, receive, send)
            return world.open_sessions, service.seats.free, service.metrics.abandoned

    assert asyncio.run(work()) == (0, 1, 1)


def test_what_fails_unexpectedly_is_told_and_counted(world, monkeypatch):
    def fail(*given):
        raise LookupError("/home/me/secret")

    monkeypatch.setattr("ttc_cli.serving.answering.make_reply", fail)

    async def work():
        async with in_process() as (client, service):
            with pytest.raises(LookupError):  # for the log, behind the answer
                await client.post(CHAT, json=ask())
            return service.metrics.requests, service.seats.free

    assert asyncio.run(work()) == ({(CHAT, "500"): 1}, 8)


def test_others_go_on_when_one_hangs_up(world):
    world.options = {"parallel": 4, "pause": 0.005}
    world.texts = ["a b c d e f g h i j k l m n o p q r s t u v w x y z"]
    with on_a_port() as (port, service):
        gone = send(port, ask(stream=True))
        wait_until(lambda: world.open_sessions == 1)
        threading.Timer(0.05, gone.close).start()
        url = f"http://127.0.0.1:{port}{CHAT}"
        response = httpx2.post(url, json=ask(stream=True), timeout=20)
        assert len(read_pieces(response)) > 20
        wait_until(lambda: service.metrics.abandoned == 1)


def test_a_body_that_does_not_come_is_not_waited_for(world):
    with on_a_port(Limits(body_seconds=0.2)) as (port, _):
        client = socket.create_connection(("127.0.0.1", port), 10)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 500\r\n\r\n{{".encode())
        assert b" 408 " in client.recv(1000)
        client.close()


@pytest.mark.parametrize("sent", ["", "GET /health HTTP/1.1\r\nHost: "])
@pytest.mark.parametrize("first", [False, True])
def test_a_connection_that_asks_nothing_is_ended(world, sent, first):
    with on_a_port(Limits(body_seconds=0.3)) as (port, _):
        with socket.create_connection(("127.0.0.1", port), 4) as client:
            if first:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                said = b""
                while not said.endswith(b"}"):
                    said += client.recv(1000)
            client.sendall(sent.encode())
            if sent or not first:  # uvicorn itself ends one that is idle between two requests
                assert recv(client) == b""
        assert httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200


def recv(client):
    """What comes; nothing where the connection was ended."""
    with contextlib.suppress(ConnectionResetError):
        return client.recv(1000)
    return b""


def test_one_that_takes_longer_than_that_between_two_requests_is_served(world):
    world.options = {"parallel": 1, "pause": 0.02}
    world.texts = ["one two three four five six seven eight nine ten eleven twelve thirteen"]
    with (
        on_a_port(Limits(body_seconds=0.2)) as (port, _),
        httpx2.Client(base_url=f"http://localhost:{port}") as client,
    ):
        for _ in range(2):
            assert client.post(CHAT, json=ask()).status_code == 200
            time.sleep(0.3)


def test_a_client_that_takes_nothing_of_its_reply_is_left(world):
    world.options = {"parallel": 1, "context": 10_000_000}
    world.texts = [Reply("on and on " * 10_000, Finish.LENGTH)]
    with on_a_port(Limits(body_seconds=0.3)) as (port, service):
        client = send(port, ask(stream=True))
        wait_until(lambda: service.metrics.abandoned == 1)
        assert (service.seats.free, world.open_sessions) == (1, 0)
        client.close()


def test_nonsense_and_names_of_clients_are_not_said_to_the_user(world, capfd):
    told = []
    with on_a_port(tell=told.append) as (port, _):
        upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket"
        for sent, status in ((b"\x1b[31m", b" 400 "), (upgrade, b" 404 ")):
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(sent + b"\r\n\r\n")
                assert status in client.recv(1000)
        schema = {"properties": {"\x1b[31m\nerror: gone": {"type": 5}}}
        form = {"type": "json_schema", "json_schema": {"schema": schema}}
        httpx2.post(f"http://127.0.0.1:{port}{CHAT}", json=ask(response_format=form))
    assert capfd.readouterr().err == ""
    assert "error: gone" in told[0]
    assert told[0].isprintable()


@pytest.mark.parametrize("stream", [False, True])
def test_what_runs_is_answered_with_its_best_when_the_server_ends(world, stream):
    world.options = {"parallel": 2, "pause": 0.005, "context": 1_000_000}
    world.texts = [FOREVER]

    async def work():
        async with in_process(Limits(grace=0.2)) as (client, service):
            running = [
                asyncio.create_task(client.post(CHAT, json=ask(stream=stream))) for _ in range(2)
            ]
            await asyncio.sleep(0.05)
            waiting = asyncio.create_task(client.post(CHAT, json=ask()))
            await asyncio.sleep(0.05)
            service.drain()
            late = await client.post(CHAT, json=ask())
            health = await client.get("/health")
            return await asyncio.gather(*running), await waiting, late, health

    running, waiting, late, health = asyncio.run(work())
    for each in running:
        assert each.status_code == 200
        if stream:
            assert read_pieces(each)[-1]["choices"][0]["ttc"]["interrupted"]
        else:
            assert each.json()["choices"][0]["message"]["content"].startswith("on and on")
    assert [waiting.status_code, late.status_code, health.status_code] == [503, 503, 503]


def test_an_engine_that_failed_makes_the_server_unhealthy(world, monkeypatch):
    async def fail(self, *args, **more):
        raise EngineError("It broke.")

    monkeypatch.setattr("ttc_cli.engines.scripted.ScriptedEngine.open", fail)

    async def work():
        async with in_process() as (client, _):
            return await client.post(CHAT, json=ask()), await client.get("/health")

    answer, health = asyncio.run(work())
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "It broke."
    assert health.json() == {"status": "failed"}


def test_what_was_served_is_counted(world):
    async def work():
        async with in_process() as (client, _):
            await client.post(CHAT, json=ask())
            await client.post(CHAT, json=ask(n=0))
            return (await client.get("/metrics")).text

    text = asyncio.run(work())
    assert f'ttc_requests_total{{path="{CHAT}",status="200"}} 1' in text
    assert f'ttc_requests_total{{path="{CHAT}",status="400"}} 1' in text
    assert "ttc_first_token_seconds_count 1" in text
    assert 'ttc_tokens_total{kind="generated"} ' in text


def test_counts_are_told_to_the_last_digit():
    metrics = Metrics(tokens=Counter(generated=123_456_789_012_345), taken=[1_234_567, 0.5])
    text = metrics.write({"kv_cells": 4096})
    assert 'ttc_tokens_total{kind="generated"} 123456789012345\n' in text
    assert "ttc_request_seconds_count 1234567\n" in text
    assert "# TYPE ttc_kv_cells gauge\nttc_kv_cells 4096\n" in text


def test_runs_are_kept_where_they_are_to_be(world, monkeypatch, capsys):
    from ttc_cli.main import main

    monkeypatch.delenv("TTC_KEEP_RUNS", raising=False)
    post(ask("What is 2+2?", model="script:quick"), keeps=True)
    post(ask("What is 3+3?"))
    assert main(["runs", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert "What is 2+2?" in listed
    assert "What is 3+3?" not in listed
    assert main(["solve", "--resume", "last"]) == 2
    assert "ttc serve" in capsys.readouterr().err


def test_a_kept_run_of_a_conversation_can_be_shown(world, monkeypatch, capsys, tmp_path):
    from ttc_cli.main import main

    monkeypatch.delenv("TTC_KEEP_RUNS", raising=False)
    turns = [
        {"role": "user", "content": "Let n be 2."},
        {"role": "assistant", "content": "Fine."},
        {"role": "user", "content": "What is n+n?"},
    ]
    asked = {"model": "script:quick", "messages": turns}
    assert post(asked, keeps=True).status_code == 200
    page = tmp_path / "run.html"
    for command in (["show", "last"], ["export", "last", "--html", str(page)]):
        assert main(["runs", *command]) == 0
    assert "What is n+n?" in capsys.readouterr().out
    assert "n+n" in page.read_text()
    assert main(["replay", "last", "--view", "plain", "--speed", "1000"]) == 0


def test_a_client_that_hangs_up_leaves_a_run_that_was_interrupted(world, monkeypatch, capsys):
    from ttc_cli.main import main

    monkeypatch.delenv("TTC_KEEP_RUNS", raising=False)
    world.options = {"parallel": 4, "pause": 0.01, "context": 1_000_000}
    world.texts = [FOREVER]

    async def work():
        async with in_process(keeps=True) as (client, _):
            task = asyncio.create_task(client.post(CHAT, json=ask()))
            while not world.engines or not world.open_sessions:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    assert main(["runs", "list"]) == 0
    assert "interrupted" in capsys.readouterr().out
