"""Servers that lie, babble, stall and fail: an answer, or an error in words, and never without end.

The probe meets a good server; what comes after it is written byte for byte.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fake_openai import FakeServer, Raw, choice, stream, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_openai import answer, connect, sample

from ttc_cli.engines import openai
from ttc_cli.engines.base import Until
from ttc_cli.engines.openai import Settings, transport
from ttc_cli.engines.openai.address import Address
from ttc_cli.engines.openai.wire import LONGEST_TOKEN
from ttc_cli.errors import NetworkError, NoAnswer, ServerFailed, TtcError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish


def end(work: Callable[[], Any]) -> Any:
    """What ``work`` comes to: its value, or an error in words; all else fails the test."""
    try:
        return work()
    except TtcError as error:
        return error


pytestmark = pytest.mark.usefixtures("hasty")

# --- numbers ----------------------------------------------------------------------------------

NUMBERS = [
    *(0, -1, -7, 1, 10**18, 10**20, -(10**20), 10**400, -(10**400), 1.5, -0.0, 5.0, 1e308),
    *("7", "", None, True, False, [], {}, [1], "9" * 5000),
]
LITERALS = ["1e400", "-1e400", "NaN", "-Infinity", "9" * 5000, "-" + "9" * 5000]


def spoil(number: str) -> list[str]:
    """Messages in which ``number`` stands wherever a number is told."""
    logprobs = [
        f'{{"token_logprobs": [{number}], "top_logprobs": [{{" 4": {number}, " 5": -1}}]}}',
        f'{{"content": [{{"token": {number}, "logprob": {number}, "top_logprobs": {number}}}]}}',
        f'{{"token_logprobs": {number}, "top_logprobs": {number}}}',
        number,
    ]
    usage = f'{{"prompt_tokens": {number}, "completion_tokens": {number}, '
    usage += f'"prompt_tokens_details": {{"cached_tokens": {number}}}}}'
    return [
        f'data: {{"choices": [{{"index": {number}, "text": " 4", "logprobs": {each}, '
        f'"finish_reason": "stop", "stop_reason": {number}}}], "usage": {usage}}}'
        for each in logprobs
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [*map(json.dumps, NUMBERS), *LITERALS], ids=lambda n: n[:20])
def test_no_number_costs_an_answer(start: Any, number: str) -> None:
    fake, engine = start(), None
    engine = connect(fake, parameters=10**9)
    for message in spoil(number):
        ledger = Ledger(Budget(max_flops=1e30))
        growth = answer(fake, stream(message), engine=engine, ledger=ledger, tokens=20)
        assert (growth.text, growth.finish) == (" 4", Finish.STOP)
        assert 1 <= growth.tokens <= 20
        usage = ledger.usage()
        assert 0 <= usage.generator.prompt_tokens + usage.generator.reused_tokens < 200
        assert usage.generated_tokens == growth.tokens
        json.dumps([growth.tokens, usage.flops], allow_nan=False)
        if growth.confidence is not None:
            assert -100.0 <= growth.confidence.mean_logprob <= 0.0


@pytest.mark.parametrize("number", [*map(json.dumps, NUMBERS), *LITERALS], ids=lambda n: n[:20])
def test_no_number_that_a_server_tells_of_itself_is_believed_beyond_sense(
    start: Any, number: str
) -> None:
    entry = f'{{"id": "m", "owned_by": "llamacpp", "max_model_len": {number}, '
    entry += f'"meta": {{"n_params": {number}}}}}'
    props = f'{{"total_slots": {number}, "default_generation_settings": {{"n_ctx": {number}}}, '
    props += f'"chat_template": {number}, "bos_token": {number}}}'

    def reply(path: str, body: Any) -> Raw | None:
        pages = {"/v1/models": f'{{"data": [{entry}, {number}]}}', "/props": props}
        return None if body else Raw([pages[path].encode()], "application/json")

    info = openai.connect(Settings(start(raw=reply).url)).info
    assert 1 <= info.parallel <= 1024
    assert 1 <= info.context <= 1 << 30
    assert 0 <= info.parameters <= 10**15
    assert isinstance(info.control_tokens["bos_token"], str)


@pytest.mark.parametrize("depth", [500, 2_000, 100_000])
@pytest.mark.parametrize("place", ['"error": ', '"choices": ', '"choices": [], "usage": ', '"x": '])
def test_nesting_is_an_error_in_words_or_nothing(start: Any, depth: int, place: str) -> None:
    nested = f"{{{place}{'[' * depth}{']' * depth}}}"
    fake = start()
    found = end(lambda: answer(fake, stream(choice(" 4"), f"data: {nested}", choice("", "stop"))))
    assert getattr(found, "text", " 4") == " 4"
    assert len(str(found)) < 500
    fake.raw = lambda path, body: None if body else Raw([nested.encode()], "application/json")
    with pytest.raises(TtcError):
        openai.connect(Settings(fake.url))


def test_choices_that_are_not_told_apart_are_asked_for_one_by_one(start: Any) -> None:
    fake = start()
    engine = connect(fake)
    for index in (-7, None, "0", 99):
        fake.forget()
        fake.raw = lambda path, body, index=index: (  # type: ignore[misc]
            stream({"choices": [{"index": index, "text": " 4", "finish_reason": "stop"}]})
        )
        assert [each.text for each in sample(engine, 3)] == [" 4"] * 3
        assert [each.get("n", 1) for each in fake.completions] == [3, 1, 1, 1]


# --- bytes, lines, tokens ---------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(transport, "MOST_BYTES", 1 << 18)
    return 1 << 18


class Flood:
    """Parts without end, counted."""

    def __init__(self, part: bytes, first: bytes = b"") -> None:
        self.sent = 0
        self._parts = itertools.chain([first] if first else [], itertools.repeat(part))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self.sent += len(part)
            yield part


BLOCK = b"a" * 16384
FLOODS = {
    "a line": (BLOCK, b'data: {"choices": [{"text": "', "text/event-stream"),
    "blank lines": (b"\n" * 4096, b"", "text/event-stream"),
    "comments": (b": still here\n" * 500, b"", "text/event-stream"),
    "empty pieces": (
        f"data: {json.dumps(choice(''))}\n\n".encode() * 100,
        b"",
        "text/event-stream",
    ),
    "a message of lines": (b'data: "a",\n' * 300, b'data: {"choices": [\n', "text/event-stream"),
    "lines of nothing": (b"id: 1\nretry: 2\nwhat\n" * 300, b"", "text/event-stream"),
    "a reply": (BLOCK, b'{"choices": [{"text": "', "application/json"),
    "no choices": (b'data: {"choices": []}\n\n' * 100, b"", "text/event-stream"),
}


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.usefixtures("small")
def test_no_flood_is_read_to_its_end(start: Any, name: str) -> None:
    part, first, kind = FLOODS[name]
    flood = Flood(part, first)
    with pytest.raises(NetworkError, match="far more than it was asked for"):
        answer(start(), Raw(flood, kind))
    assert flood.sent < 64 << 20  # what the sockets of both sides hold, too


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("packed", ["gzip", "deflate", "gzip, gzip"])
def test_what_is_packed_counts_unpacked(start: Any, kind: str, packed: str) -> None:
    import zlib

    bomb = b'data: {"choices": [{"text": "' + b"a" * (1 << 24)
    for each in packed.split(", "):
        bomb = gzip.compress(bomb) if each == "gzip" else zlib.compress(bomb)
    fake = start()
    with pytest.raises(NetworkError, match="far more than it was asked for"):
        answer(fake, Raw([bomb], kind, {"Content-Encoding": packed}))
    fake.raw = lambda path, body: Raw([bomb], kind, {"Content-Encoding": packed})
    with pytest.raises(NetworkError, match="far more than it was asked for"):
        openai.connect(Settings(fake.url))


def test_what_cannot_be_unpacked_is_a_broken_reply(start: Any) -> None:
    broken = Raw([b"no gzip"], headers={"Content-Encoding": "gzip"})
    with pytest.raises(ServerFailed, match="decompressed"):
        answer(start(), broken)


@pytest.mark.usefixtures("small")
def test_an_endless_list_of_models_and_an_endless_refusal_are_not_read(start: Any) -> None:
    flood = Flood(b'{"id": "m"},' * 1000, b'{"data": [')
    fake = start(raw=lambda path, body: None if body else Raw(flood, "application/json"))
    with pytest.raises(NetworkError, match="far more"):
        openai.connect(Settings(fake.url))
    fake.raw = None
    with pytest.raises(ServerFailed, match="aaaa") as caught:
        answer(fake, Raw(Flood(BLOCK), "text/plain", status=400))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("size", [LONGEST_TOKEN * 21, 1 << 20])
def test_a_token_is_no_longer_than_tokens_are(start: Any, size: int) -> None:
    fake, ledger = start(), Ledger(Budget())
    growth = answer(fake, stream(choice(" " + "a" * size), choice("", "stop")), ledger=ledger)
    assert (growth.tokens, growth.finish) == (20, Finish.LENGTH)
    assert len(growth.text) == 20 * LONGEST_TOKEN
    assert ledger.usage().generated_tokens == 20


def test_a_cap_on_tokens_holds_whatever_is_in_one(start: Any) -> None:
    fake, ledger = start(), Ledger(Budget(max_tokens=50))
    growth = answer(
        fake,
        lambda body: Raw(Flood(f"data: {json.dumps(choice('b' * 9000))}\n\n".encode())),
        tokens=10_000,
        ledger=ledger,
    )
    assert growth.finish is Finish.BUDGET
    assert ledger.usage().generated_tokens <= 50 + 9000 // LONGEST_TOKEN + 1


def test_draws_without_end_are_no_more_than_were_asked_for(start: Any) -> None:
    drawn = {"token_logprobs": [-1.0] * 5000, "top_logprobs": []}
    fake, ledger = start(), Ledger(Budget())
    growth = answer(fake, stream(choice(" a", "stop", logprobs=drawn)), ledger=ledger)
    assert growth.tokens == ledger.usage().generated_tokens == 20


def test_a_stop_text_over_and_over_ends_with_the_limit(start: Any) -> None:
    fake = start()
    stopped = choice("", "stop", stop_reason="\n\n")
    growth = answer(fake, stream(stopped), until=Until.STEP, tokens=5)
    assert growth.finish is Finish.LENGTH
    assert len(fake.completions) == 5


# --- time -------------------------------------------------------------------------------------


def drip(part: bytes) -> Iterator[bytes]:
    for _ in range(1000):
        time.sleep(0.02)
        yield part


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_a_reply_byte_by_byte_is_given_up(start: Any, kind: str) -> None:
    fake = start()
    engine = connect(fake, patience=0.3, tries=2)
    with pytest.raises(ServerFailed, match="takes too long"):
        answer(fake, lambda body: Raw(drip(b"d"), kind), engine=engine)


@pytest.mark.parametrize("place", ["/v1/models", "/v1/completions"])
def test_the_time_cap_holds_while_the_server_is_asked_what_it_can_do(
    start: Any, place: str
) -> None:
    fake = start(raw=lambda path, body: Raw(drip(b" ")) if path == place else None)
    begun = time.monotonic()
    with pytest.raises(NoAnswer, match=r"time cap of 0\.3 s") as caught:
        openai.connect(Settings(fake.url, seconds=0.3))
    assert time.monotonic() - begun < 5.0
    assert caught.value.exit_code == 4
    assert "--max-seconds" in (caught.value.hint or "")


def test_a_wish_to_wait_for_years_is_cut_short_by_the_time_cap(start: Any) -> None:
    fake = start(retry_after="9" * 400, failures=[429] * 50)
    with pytest.raises(NoAnswer):
        openai.connect(Settings(fake.url, seconds=0.3))
    assert transport.pause(0, "9" * 400) == 60.0
    assert [transport.pause(0, wish) for wish in ("²", "-1", "1e9", "")] == [0.001] * 4


# --- the key ----------------------------------------------------------------------------------

KEY = "sk-se/cret+1234"
SPELLINGS = [
    KEY,
    json.dumps(KEY)[1:-1],
    KEY.replace("/", "\\/"),
    "".join(f"\\u{ord(char):04X}" for char in KEY),
    quote(KEY, safe=""),
    base64.b64encode(KEY.encode()).decode(),
    base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    base64.b64encode(f"me:{KEY}\n".encode()).decode(),
]


def shows(text: str) -> bool:
    """Whether ``text`` gives the key away, as it is or in one of its spellings."""
    return any(each in text for each in (KEY, "cret", quote(KEY), *SPELLINGS[3:4])) or any(
        each[4:-4] in text for each in SPELLINGS[5:]
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_key_shows_nowhere(start: Any, spelling: str) -> None:
    fake = start(key=KEY)
    engine = openai.connect(Settings(fake.url, tries=1), {"TTC_API_KEY": KEY})
    quoted = f'"{spelling}"'
    said = f'{{"index": 0, "text": {quoted}, "finish_reason": {quoted}}}'
    growth = answer(fake, stream(f'data: {{"choices": [{said}]}}'), engine=engine)
    assert not shows(growth.text + " ".join(engine.tell_trouble()))
    for reply in (
        stream(f"error: {spelling}"),
        stream(f'data: {{"error": {quoted}}}'),
        Raw([f'{{"detail": {quoted}}}'.encode()], "application/json"),
        Raw([spelling.encode()], "application/json"),
        Raw([f'{{"error": {quoted}}}'.encode()], "application/json", status=500),
        Raw([spelling.encode()], "text/plain", status=422),
    ):
        with pytest.raises(TtcError) as caught:
            answer(fake, reply, engine=engine)
        assert not shows(f"{caught.value} {caught.value.hint}")
    page = f'{{"data": [{{"id": {quoted}}}, {{"id": "b{spelling}"}}]}}'
    fake.raw = lambda path, body: None if body else Raw([page.encode()], "application/json")
    for wanted in (None, "other"):
        with pytest.raises(TtcError) as caught:
            openai.connect(Settings(fake.url, model=wanted), {"TTC_API_KEY": KEY})
        assert not shows(f"{caught.value} {caught.value.hint}")


def test_a_key_in_pieces_is_in_no_text(start: Any) -> None:
    fake = start(key=KEY)
    engine = openai.connect(Settings(fake.url), {"TTC_API_KEY": KEY})
    growth = answer(fake, stream(*map(choice, KEY), choice("", "stop")), engine=engine)
    assert growth.text == "…"


def test_a_short_key_is_a_word_like_any_other(start: Any) -> None:
    fake = start(key="EMPTY")
    engine = openai.connect(Settings(fake.url), {"TTC_API_KEY": "EMPTY"})
    assert answer(fake, stream(choice(" EMPTY", "stop")), engine=engine).text == " EMPTY"


def test_a_key_of_digits_spoils_no_number() -> None:
    address = Address("http://x/v1", "12345678")
    assert address.hide_secret("12345678") == "…"
    from ttc_cli.engines.openai.wire import read_json

    assert read_json('{"a": -0.123456789, "b": "12345678"}', address.hide_secret) == {
        "a": -0.123456789,
        "b": "…",
    }


# --- anything ---------------------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["stop", "abort", " 4", "\ud800", 10**400, -(10**400), -7, 2**63])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
LOGPROBS = {"token_logprobs": [-0.5], "top_logprobs": [{" 4": -0.5}]}
GOOD_MESSAGE = {
    "choices": [
        {"index": 0, "text": " 4", "finish_reason": "stop", "logprobs": LOGPROBS, "stop_reason": 0}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {}},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    for name, each in enumerate(value) if isinstance(value, list) else inner:
        yield from places(each, (*path, name))


def put(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], other)
    return copy


MUTATIONS = st.builds(put, st.just(GOOD_MESSAGE), st.sampled_from([*places(GOOD_MESSAGE)]), VALUES)
MESSAGES = MUTATIONS.map(lambda value: f"data: {json.dumps(value)}") | st.text(max_size=20)
STREAMS = st.builds(
    stream, MESSAGES, MESSAGES, end=st.sampled_from(["\n\n", "\r", "\x85"]), done=st.booleans()
)
BYTES = st.builds(lambda data: Raw([data]), st.binary(max_size=60))
CUTS = st.builds(
    lambda raw, at, kind: Raw([b"".join(raw.parts)[:at]], kind),
    STREAMS,
    st.integers(0, 400),
    st.sampled_from(["text/event-stream", "application/json", "text/html", "no kind"]),
)


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(reply=STREAMS | BYTES | CUTS | MUTATIONS.map(whole), count=st.integers(1, 2))
def test_any_reply_is_an_answer_or_an_error_in_words(
    good: tuple[FakeServer, Any], reply: Raw, count: int
) -> None:
    fake, engine = good
    raw = Raw(
        [
            part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            for part in reply.parts
        ],
        reply.kind,
    )
    fake.raw = lambda path, body: raw
    grown = end(lambda: sample(engine, count))
    if isinstance(grown, TtcError):
        assert grown.message
    else:
        assert all(growth.tokens <= 20 for growth in grown)
        "".join(growth.text for growth in grown).encode()


PAGE = {
    "data": [
        {"id": "m", "owned_by": "llamacpp", "max_model_len": 9, "meta": {"n_params": 9}},
        {"total_slots": 2, "default_generation_settings": {"n_ctx": 9}, "chat_template": "x"},
    ],
    "total_slots": 2,
    "default_generation_settings": {"n_ctx": 9},
    "chat_template": "x",
}
PAGES = st.builds(put, st.just(PAGE), st.sampled_from([*places(PAGE)]), VALUES)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(page=PAGES.map(whole) | BYTES, reply=st.none() | STREAMS | BYTES | MUTATIONS.map(whole))
def test_any_server_is_an_engine_or_an_error_in_words(
    good: tuple[FakeServer, Any], page: Raw, reply: Raw | None
) -> None:
    fake, _ = good
    fake.raw = lambda path, body: reply if body else page
    found = end(lambda: openai.connect(Settings(fake.url, tries=1, grammars=True)))
    if not isinstance(found, TtcError):
        assert found.info.model
        assert 1 <= found.info.parallel <= 1024
