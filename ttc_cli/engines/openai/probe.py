"""Finds out what a server can do, with a few tiny requests before the first real one.

The documentation of a server does not say: parameters are ignored silently (``n`` by
llama-cpp-python's server), refused (``top_k`` by OpenAI), or limited by how it was started
(vLLM's ``--max-logprobs``). One request asks for everything at once, then for less until it is
granted; it is repeated, to see whether the seed repeats its text; and a stream is interrupted by
another request, to see whether it survives. This takes about a hundred tokens, charged to nobody.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ttc_cli.engines.openai.address import Address, Settings, explain
from ttc_cli.engines.openai.grammars import FORMS, TRIAL, obeys
from ttc_cli.engines.openai.transport import Broken, Refused, Transport
from ttc_cli.engines.openai.wire import Chunk, read_count, read_text
from ttc_cli.errors import (
    NetworkError,
    NoAnswer,
    PromptTooLong,
    ServerFailed,
    TtcError,
    UsageError,
    find_near,
)

PATIENCE, TRIES = 120.0, 6

OPEN = "Some words at random:"
"""What every draw continues in a way of its own, so that a repeated seed shows."""

COUNT_UP, _LAST = "1, 2, 3,", "20"
"""What every model continues, up to a stop text, and far enough to be interrupted."""

_LONGEST = 24
"""Tokens that ``OPEN`` cannot have, unless the server wraps it in a chat template."""

MOST_LOGPROBS = (100, 20, 5, 1, 0)
"""How many likeliest tokens to try for: what a score can use, vLLM's default limit, OpenAI's."""

MOST_SLOTS, MOST_CONTEXT, MOST_PARAMETERS = 1024, 1 << 30, 10**15
LONGEST_NAME = 500
"""Limits of what a server may say of itself; beyond them it counts as not told."""

NO_TOP_K = 1 << 30
"""Turns ``top_k`` off on every server: SGLang refuses 0, others refuse −1."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the server says of itself. None, 0 and "" where it does not."""

    model: str
    parameters: int = 0
    context: int = 0
    slots: int = 0
    template: str = ""
    begin: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the server does with what it is sent.

    ``logprobs`` is how many likeliest tokens it tells of each drawn one, 0 for none. ``n``: it
    makes several choices of one prompt. ``extras``: it takes ``top_k`` and ``min_p``. ``seeds``:
    a seed repeats its text. ``streams``: text comes while it grows. ``tells_stop``: it says which
    stop text ended a choice. ``alone``: a request breaks off the one before. ``counts``: it
    reports tokens. ``added`` is how many it puts before every prompt (1 where it adds a BOS).
    ``grammar`` is the form in which it takes a schema (``grammars.FORMS``), "" where it takes none
    or was not asked.
    """

    served: Served
    logprobs: int = 0
    n: bool = False
    extras: bool = False
    seeds: bool = False
    streams: bool = False
    tells_stop: bool = False
    alone: bool = False
    counts: bool = False
    added: int = 0
    grammar: str = ""

    def limits(self) -> list[str]:
        """What the user should know of it, in sentences."""
        found = []
        if not self.logprobs:
            found.append(
                "It gives no log-probabilities: there is no judge and no confidence, and only "
                "strategies that sample whole answers work."
            )
        if self.alone:
            found.append(
                "It aborts a request when the next one arrives: candidates grow one at a time."
            )
        if not self.seeds:
            found.append("It does not repeat a text for the same seed: runs cannot be reproduced.")
        if not self.extras:
            found.append("It does not accept top_k and min_p: its own values apply.")
        if not self.counts:
            found.append("It reports no token counts: they are estimated.")
        return found


def probe(address: Address, settings: Settings) -> Abilities:
    """Ask the server at ``address`` for ``settings.model`` and what it can do.

    Raises:
        UsageError: it has no such model, cannot complete, or wraps prompts in a chat template.
        Unreachable, AccessDenied, NetworkError: it cannot be used.
        NoAnswer: ``settings.seconds`` are over.
    """

    async def work() -> Abilities:
        transport = Transport(
            address, patience=min(settings.patience, PATIENCE), tries=max(settings.tries, TRIES)
        )
        try:
            async with asyncio.timeout(settings.seconds):
                served = await _read_model(transport, address, settings.model)
                asking = _Probe(transport, address, served)
                found = await asking.run()
                if settings.grammars:
                    found = replace(found, grammar=await asking.find_grammar())
                return found
        except TimeoutError:
            raise NoAnswer(
                f"The time cap of {settings.seconds:g} s was reached while the server "
                f"{address.url} was asked what it can do.",
                "Repeat the command with a higher --max-seconds, or without one.",
            ) from None
        finally:
            await transport.close()

    # In a thread of its own: the caller may be inside an event loop.
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="ttc-probe") as thread:
        return thread.submit(asyncio.run, work()).result()


async def _read_model(transport: Transport, address: Address, wanted: str | None) -> Served:
    """The model to ask for, with what llama-server (/props) and vLLM (/v1/models) tell of it."""
    reply = await transport.get(f"{address.url}/models")
    data = reply.get("data") if isinstance(reply, dict) else None
    listed = {
        name: each
        for each in (data if isinstance(data, list) else [])
        if isinstance(each, dict) and (name := read_text(each.get("id"))[:LONGEST_NAME])
    }
    name = _choose(wanted, listed, address)
    found = listed.get(name, {})
    told = found.get("meta")
    meta = told if isinstance(told, dict) else {}
    props = None
    if found.get("owned_by") == "llamacpp":
        props = await transport.get(f"{address.root}/props")
    props = props if isinstance(props, dict) else {}
    defaults = props.get("default_generation_settings")
    window = defaults.get("n_ctx") if isinstance(defaults, dict) else None
    return Served(
        model=name,
        parameters=read_count(meta.get("n_params"), MOST_PARAMETERS) or 0,
        context=read_count(window, MOST_CONTEXT)
        or read_count(found.get("max_model_len"), MOST_CONTEXT)
        or 0,
        slots=read_count(props.get("total_slots"), MOST_SLOTS) or 0,
        template=read_text(props.get("chat_template")),
        begin=read_text(props.get("bos_token")),
        end=read_text(props.get("eos_token")),
    )


def _choose(wanted: str | None, listed: dict[str, Any], address: Address) -> str:
    """The server's name for the model that is ``wanted``, or for the only one it has."""
    if wanted is None:
        if len(listed) == 1:
            return next(iter(listed))
        shown = address.hide(", ".join(sorted(listed)[:8])) or "none that it lists"
        raise UsageError(
            f"The server {address.url} has {len(listed)} models; say which one: {shown}.",
            f"ttc solve --server {address.url} --model NAME …",
        )
    for name in (wanted, f"{wanted}:latest"):
        if not listed or name in listed:
            return name
    if len(listed) == 1 and next(iter(listed.values())).get("owned_by") == "llamacpp":
        return next(iter(listed))  # llama-server has one model and takes any name for it
    near = find_near(wanted, listed) or ", ".join(sorted(listed)[:5])
    raise UsageError(
        f"The server {address.url} has no model {wanted!r}.",
        f"It has {address.hide(near)}: name one with --model.",
    )


class _Probe:
    """The requests themselves."""

    def __init__(self, transport: Transport, address: Address, served: Served) -> None:
        self._transport = transport
        self._address = address
        self._served = served
        self._heard = False
        self._elsewhere = ""

    async def run(self) -> Abilities:
        body, reply = await self._ask_for_everything()
        again = await self._transport.complete(body, tries=2)
        self._note(reply)
        self._note(again)
        count = reply.count
        if count is not None and count.prompt > _LONGEST:
            raise UsageError(
                f"The server {self._address.url} wraps prompts in a chat template of its own "
                f"({count.prompt} tokens for {OPEN!r}), so ttc's prompts would be wrapped twice.",
                "With Ollama, make a bare variant: a Modelfile of FROM NAME and "
                "TEMPLATE {{ .Prompt }}, then: ollama create NAME-bare -f Modelfile",
            )
        choices = sorted(reply.pieces, key=lambda piece: piece.index)
        top = min((len(draw.top) for each in choices for draw in each.draws), default=0)
        extras = "top_k" in body
        found = await self._interrupt_stream(extras)
        if not self._heard:
            raise explain_silence(self._address, self._elsewhere)
        return replace(
            found,
            logprobs=min(top, body.get("logprobs", 0)),
            n=len(choices) > 1 and not found.alone,
            extras=extras,
            seeds=_texts(reply) == _texts(again),
            counts=count is not None,
        )

    async def find_grammar(self) -> str:
        """The form in which the server takes a schema and keeps to it, "" where it takes none."""
        for name, write in FORMS.items():
            body = {**self._body(16, COUNT_UP), "temperature": 0.0, **write(TRIAL)}
            with contextlib.suppress(Refused, ServerFailed):
                reply = await self._transport.complete(body, tries=2)
                if reply.pieces and obeys(reply.pieces[0].text):
                    return name
        return ""

    async def _ask_for_everything(self) -> tuple[dict[str, Any], Chunk]:
        """The richest request that the server grants, and its reply."""
        refusal: Refused | None = None
        for rich in self._forms():
            body = {**self._body(8), "seed": 7, "temperature": 1.0, "top_p": 0.95, **rich}
            try:
                return body, await self._transport.complete(body, tries=2)
            except Refused as error:
                if error.status not in (400, 413, 422, 500, 501):
                    raise explain(error.status, error.body, self._address) from None
                refusal = error
            except ServerFailed:
                if not rich:
                    raise
        assert refusal is not None
        found = explain(refusal.status, refusal.body, self._address)
        if isinstance(found, NetworkError | UsageError | PromptTooLong):
            raise found
        raise ServerFailed(found.message, found.hint)

    @staticmethod
    def _forms() -> Iterator[dict[str, Any]]:
        for extras in (extra_fields(40, 0.0), {}):
            for n in ({"n": 2}, {}):
                for most in MOST_LOGPROBS:
                    yield {**extras, **n, **({"logprobs": most} if most else {})}

    async def _interrupt_stream(self, extras: bool) -> Abilities:
        """Stream, and send another request meanwhile: what that shows."""
        body = {**self._body(96, COUNT_UP), "temperature": 0.0, "stop": [_LAST], "stream": True}
        if extras:
            body |= extra_fields(0, 0.0)
        seen, ended, told = 0, False, False
        other: asyncio.Task[Chunk] | None = None
        try:
            async for chunk in self._transport.stream(body):
                self._note(chunk)
                for piece in chunk.pieces:
                    seen += bool(piece.text)
                    ended = ended or piece.finish is not None
                    told = told or piece.stopped_by == _LAST
                if other is None:
                    other = asyncio.create_task(self._transport.complete(self._body(1, "a")))
                    await asyncio.wait([other])
        except (Broken, Refused, ServerFailed):
            ended = False
        short = None
        if other is not None:
            with contextlib.suppress(Refused, TtcError):
                short = (await other).count
        return Abilities(
            served=self._served,
            streams=seen > 1,
            tells_stop=told,
            alone=not ended,
            added=0 if short is None else max(0, short.prompt - 1),
        )

    def _note(self, reply: Chunk) -> None:
        """Whether anything was said at all, and where."""
        for piece in reply.pieces:
            self._heard = self._heard or bool(piece.text)
            self._elsewhere = piece.elsewhere or self._elsewhere

    def _body(self, tokens: int, prompt: str = OPEN) -> dict[str, Any]:
        return {"model": self._served.model, "prompt": prompt, "max_tokens": tokens}


def extra_fields(top_k: int, min_p: float) -> dict[str, Any]:
    """Sampling that is not OpenAI's, and the penalties that some servers switch on by default."""
    return {
        "top_k": top_k or NO_TOP_K,
        "min_p": min_p,
        "repetition_penalty": 1.0,  # vLLM, SGLang: else that of the model's generation_config
        "repeat_penalty": 1.0,  # llama-server
    }


def explain_silence(address: Address, elsewhere: str) -> ServerFailed:
    """The error of a server that sends no text; ``elsewhere`` is the field that it fills."""
    said = f"The server {address.url} sends no text"
    if "reasoning" in elsewhere:
        return ServerFailed(
            f"{said}: all it writes is in {elsewhere!r}, which completions lack.",
            "Start it so that thinking stays in the text: vLLM and SGLang without "
            "--reasoning-parser, llama-server with --reasoning-format none.",
        )
    if elsewhere:
        return ServerFailed(
            f"{said} but chat messages: what it writes is in {elsewhere!r}.",
            f"It must serve POST {address.url}/completions, which continue a text.",
        )
    return ServerFailed(
        f"{said}: every completion is empty.",
        f"Check the server's own log; try: curl {address.url}/completions",
    )


def _texts(reply: Chunk) -> list[str]:
    return [piece.text for piece in sorted(reply.pieces, key=lambda piece: piece.index)]
