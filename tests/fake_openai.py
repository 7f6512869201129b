"""A loopback server that completes as OpenAI-compatible servers do, and fails as they fail.

A token is a word with the blank before it, or a run of line breaks. What it says follows from the
prompt and the seed. Every request is kept in ``requests``.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ttc_cli.engines.scripted.values import hold_to

WORDS = [
    "the",
    "light",
    "turns",
    "over",
    "dark",
    "water",
    "and",
    "every",
    "ship",
    "that",
    "passes",
    "sees",
    "it",
    "twice",
]


def tokens_of(text: str) -> list[str]:
    return re.findall(r"\n+|\s?[^\s]+|\s", text)


def babble(prompt: str, seed: int) -> str:
    if re.search(r"\d, \d+,$", prompt.strip()):  # the probe's own question
        last = int(re.findall(r"\d+", prompt)[-1])
        return "".join(f" {number}," for number in range(last + 1, last + 40))
    dice = random.Random(f"{prompt}{seed}")
    return "".join(f" {dice.choice(WORDS)}" for _ in range(dice.randint(30, 60)))


@dataclass(frozen=True)
class Raw:
    """A reply byte for byte; ``parts`` may go on for ever."""

    parts: Iterable[bytes]
    kind: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


def stream(*messages: Any, end: str = "\n\n", done: bool = True) -> Raw:
    """Messages of an event stream; what is no text is written as JSON."""
    lines = [each if isinstance(each, str) else f"data: {json.dumps(each)}" for each in messages]
    return Raw([f"{line}{end}".encode() for line in [*lines, *(["data: [DONE]"] if done else [])]])


def whole(value: Any) -> Raw:
    return Raw([json.dumps(value).encode()], "application/json")


def choice(text: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    """A message with one choice."""
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}


@dataclass
class FakeServer:
    """What it does. ``failures`` are statuses (or "drop") that the next completions get.

    ``raw`` is asked first, with the path and the body ({} of a GET); None leaves the reply to the
    rest.
    """

    say: Callable[[str, int], str] = babble
    raw: Callable[[str, Mapping[str, Any]], Raw | None] | None = None
    owner: str = "vllm"
    model: str = "tiny"
    key: str | None = None
    takes_n: bool = True
    takes_extras: bool = True
    most_logprobs: int = 20
    keeps_seeds: bool = True
    streams: bool = True
    tells_stop: bool = True
    counts: bool = True
    one_by_one: bool = False
    wraps: int = 0
    begins: int = 0
    context: int = 4096
    token_seconds: float = 0.0
    cut_after: list[int] = field(default_factory=list)
    failures: list[int | str] = field(default_factory=list)
    retry_after: str | None = None
    cached: int | None = None
    grammar: str | None = None
    """The form (``grammars.FORMS``) in which it takes a schema; others it ignores."""
    refuses_forms: bool = False
    """It refuses the others."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    closed_early: int = 0
    live: int = 0
    most_live: int = 0
    url: str = ""
    _random: random.Random = field(default_factory=lambda: random.Random(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: int = 0

    @property
    def completions(self) -> list[dict[str, Any]]:
        return [each for each in self.requests if each["path"].endswith("/completions")]

    def forget(self) -> None:
        self.requests.clear()
        self.closed_early = self.most_live = 0


@contextmanager
def serve(fake: FakeServer) -> Iterator[FakeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a body waits 40 ms behind its headers otherwise

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            fake.requests.append({"path": self.path, "headers": dict(self.headers)})
            if self._refused() or self._sent_raw({}):
                return
            if self.path == "/v1/models":
                entry = {"id": fake.model, "owned_by": fake.owner, "max_model_len": fake.context}
                self._reply(200, {"data": [entry]})
            else:
                self._reply(404, {"error": "no such page"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append({"path": self.path, "headers": dict(self.headers), **body})
            if self._refused() or self._sent_raw(body):
                return
            if fake.failures:
                failure = fake.failures.pop(0)
                if failure == "drop":
                    self.close_connection = True
                    return
                assert isinstance(failure, int)
                said = {"error": {"message": f"failing, key {fake.key}"}}
                self._reply(failure, said, fake.retry_after)
                return
            wrong = _find_wrong(fake, body)
            if wrong:
                self._reply(400, {"error": {"message": wrong}})
                return
            with fake._lock:
                fake.live += 1
                fake.most_live = max(fake.most_live, fake.live)
            try:
                _complete(fake, body, self)
            except OSError:
                fake.closed_early += 1
                self.close_connection = True
            finally:
                with fake._lock:
                    fake.live -= 1

        def _sent_raw(self, body: Mapping[str, Any]) -> bool:
            raw = None if fake.raw is None else fake.raw(self.path, body)
            if raw is None:
                return False
            self.close_connection = True
            try:
                self.send_response(raw.status)
                self.send_header("Connection", "close")
                for name, value in {"Content-Type": raw.kind, **raw.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in raw.parts:
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:
                fake.closed_early += 1
            return True

        def _refused(self) -> bool:
            wanted = None if fake.key is None else f"Bearer {fake.key}"
            if wanted is None or self.headers.get("Authorization") == wanted:
                return False
            given = self.headers.get("Authorization")
            self._reply(401, {"error": {"message": f"Incorrect API key: {given}"}})
            return True

        def _reply(
            self, status: int, value: Mapping[str, Any], retry_after: str | None = None
        ) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _find_wrong(fake: FakeServer, body: Mapping[str, Any]) -> str | None:
    if not fake.takes_extras and {"top_k", "min_p"} & set(body):
        return "unrecognised argument: top_k"
    if body.get("logprobs") is not None and body["logprobs"] > fake.most_logprobs:
        return f"logprobs of {body['logprobs']} is more than {fake.most_logprobs}"
    if fake.refuses_forms and _schema_of(fake, body) is None and _FORM_FIELDS & set(body):
        return "unrecognised argument: schema"
    room = fake.context - len(tokens_of(body["prompt"]))
    if body["max_tokens"] > room:
        return f"This model's maximum context length is {fake.context} tokens."
    return None


_FORM_FIELDS = {"response_format", "structured_outputs", "guided_json", "json_schema"}


def _schema_of(fake: FakeServer, body: Mapping[str, Any]) -> str | None:
    """The schema that ``body`` holds in the form that the server knows."""
    field_name, _, as_text = (fake.grammar or "").partition(" as ")
    found = body.get(field_name)
    if found is None or isinstance(found, str) != bool(as_text):
        return None
    if field_name == "response_format":
        found = found["json_schema"]["schema"]
    elif field_name == "structured_outputs":
        found = found["json"]
    return found if isinstance(found, str) else json.dumps(found)


def _complete(fake: FakeServer, body: Mapping[str, Any], handler: Any) -> None:
    """Write a whole reply or a stream, one token a message."""
    if body.get("stream") and fake.streams:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True

        def send(value: Mapping[str, Any] | str) -> None:
            text = value if isinstance(value, str) else json.dumps(value)
            handler.wfile.write(f"data: {text}\n\n".encode())
            handler.wfile.flush()

        fake._waiting += 1
        mine = fake._waiting
        handler.wfile.write(b": ping\n\n")
        choices = [_choice(fake, body, i) for i in range(_count(fake, body))]
        cut = fake.cut_after.pop(0) if fake.cut_after else None
        for place in range(max(len(pieces) for pieces, _ in choices) + 1):
            if cut is not None and place >= cut:
                return
            for index, (pieces, ending) in enumerate(choices):
                if place < len(pieces):
                    send({"choices": [_speak(fake, body, index, [pieces[place]], None)]})
                elif place == len(pieces):
                    send({"choices": [_speak(fake, body, index, [], ending)]})
            time.sleep(fake.token_seconds)
            if fake.one_by_one and fake._waiting > mine:
                send("[DONE]")
                return
        if fake.counts and body.get("stream_options", {}).get("include_usage"):
            send({"choices": [], "usage": _usage(fake, body, choices)})
        send("[DONE]")
        return
    fake._waiting += 1
    choices = [_choice(fake, body, i) for i in range(_count(fake, body))]
    reply: dict[str, Any] = {
        "choices": [
            _speak(fake, body, i, pieces, ending) for i, (pieces, ending) in enumerate(choices)
        ]
    }
    if fake.counts:
        reply["usage"] = _usage(fake, body, choices)
    handler._reply(200, reply)


def _count(fake: FakeServer, body: Mapping[str, Any]) -> int:
    return int(body.get("n", 1)) if fake.takes_n else 1


Ending = tuple[str, str | None, int]


def _choice(fake: FakeServer, body: Mapping[str, Any], index: int) -> tuple[list[str], Ending]:
    """Its tokens, and how it ends: the reason, the stop text, tokens that show nothing."""
    seed = 0 if body.get("temperature") == 0 else int(body.get("seed", 0)) + index
    if not fake.keeps_seeds and body.get("temperature") != 0:
        seed = fake._random.randrange(1 << 30)
    schema, saying = _schema_of(fake, body), fake.say(body["prompt"], seed)
    said = tokens_of(saying if schema is None else hold_to(schema, saying, seed))
    limit = body["max_tokens"]
    text = ""
    for place, token in enumerate(said[:limit]):
        text += token
        for stop in body.get("stop", []):
            if stop in text:
                kept = tokens_of(text[: text.index(stop)])
                return kept, ("stop", stop, place + 1 - len(kept))
    if len(said) < limit:
        return said, ("stop", None, 1)
    return said[:limit], ("length", None, 0)


def _speak(
    fake: FakeServer,
    body: Mapping[str, Any],
    index: int,
    pieces: list[str],
    ending: Ending | None,
) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "text": "".join(pieces), "finish_reason": None}
    most = body.get("logprobs") or 0
    if most and fake.most_logprobs:
        choice["logprobs"] = {
            "tokens": pieces,
            "token_logprobs": [-0.5 for _ in pieces],
            "top_logprobs": [_tops(piece, most) for piece in pieces],
        }
    if ending is not None:
        choice["finish_reason"] = ending[0]
        if fake.tells_stop:
            choice["stop_reason"] = ending[1]
    return choice


def _tops(piece: str, most: int) -> dict[str, float]:
    likely = {piece: -0.5, "Yes": -1.5, " No": -2.5}
    for rank in range(most - len(likely)):
        likely[f"other{rank}"] = -6.0 - rank
    return dict(list(likely.items())[:most])


def _usage(fake: FakeServer, body: Mapping[str, Any], choices: list[Any]) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": len(tokens_of(body["prompt"])) + fake.wraps + fake.begins,
        "completion_tokens": sum(len(pieces) + ending[2] for pieces, ending in choices),
    }
    if fake.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": fake.cached}
    return usage
