"""A service over a scripted engine, in process or on a port."""

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

import ttc_cli as ttc
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource
from ttc_cli.serving.app import make_app
from ttc_cli.serving.running import serve, take_port
from ttc_cli.serving.service import Limits, Service

CHAT = "/v1/chat/completions"
FOUR = "Two and two make four.\n\nThe final answer is 4."


@dataclass
class World:
    """What the engine says, and what was asked of it."""

    texts: list[str] = field(default_factory=lambda: [FOUR])
    options: dict = field(default_factory=lambda: {"parallel": 8})
    entry: dict = field(default_factory=dict)
    engines: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def say(self, ask):
        self.asked.append(ask.text)
        said = self.texts[ask.sample % len(self.texts)]
        return said(ask) if callable(said) else said

    def install(self, monkeypatch, home: Path) -> None:
        monkeypatch.setenv("TTC_HOME", str(home))

        def choose(name):
            entry = Entry("script", "A script", (FileSource("x.gguf"),), **self.entry)
            return Model("script", entry, Path("x.gguf"))

        def open_engine(path, settings, name, planned=None):
            engine = ScriptedEngine(self.say, **self.options)
            self.engines.append(engine)
            return engine

        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", choose)
        monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)
        monkeypatch.setattr("ttc_cli.models.files.read_hash", lambda model: "a" * 64)

    @property
    def steps(self) -> int:
        """Decode steps of the engine that was opened last."""
        return self.engines[-1]._slots._steps

    @property
    def open_sessions(self) -> int:
        """Sessions that were not closed again."""
        return sum(len(each._slots._accounts) for each in self.engines)


def ask(text="What is 2+2?", model="script:none", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@contextlib.asynccontextmanager
async def in_process(limits=Limits(), keeps=False, **gate):  # noqa: B008
    """A client of an application, and its service."""
    async with await ttc.aload() as solver:
        service = Service(solver, limits, keeps=keeps)
        transport = httpx2.ASGITransport(make_app(service, **gate))
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=30
        ) as client:
            yield client, service


def post(*requests, path=CHAT, **how):
    """The responses to ``requests``, all sent at once."""

    async def work():
        async with in_process(**how) as (client, _):
            sent = [
                client.post(path, content=each, headers={"content-type": "application/json"})
                if isinstance(each, bytes)
                else client.post(path, json=each)
                for each in requests
            ]
            return await asyncio.gather(*sent)

    responses = asyncio.run(work())
    return responses[0] if len(requests) == 1 else responses


def read_pieces(response):
    """The objects of a stream, which must have come to its end."""
    lines = [line for line in response.text.split("\n\n") if line and not line.startswith(":")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def join_pieces(pieces, key="content", place=0):
    choices = [each["choices"][0] for each in pieces if each["choices"]]
    return "".join(each["delta"].get(key) or "" for each in choices if each["index"] == place)


@contextlib.contextmanager
def on_a_port(limits=Limits(), **gate):  # noqa: B008
    """The port of a server in a thread, its service, and its loop."""
    ready, box = threading.Event(), {}
    taken = take_port("127.0.0.1", 0)

    async def work():
        async with await ttc.aload() as solver:
            service = Service(solver, limits)
            stop = asyncio.Event()
            box.update(service=service, loop=asyncio.get_running_loop(), stop=stop)
            serving = asyncio.create_task(
                serve(service, make_app(service, **gate), taken, ready.set)
            )
            await stop.wait()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(20)
        yield taken.getsockname()[1], box["service"]
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join(20)
        taken.close()
