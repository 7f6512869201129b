"""A model on a server instead of this machine: what it needs, and what ttc refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import TemplateError, UsageError
from ttc_cli.texts import decode_utf8, read_utf8

if TYPE_CHECKING:
    from ttc_cli.engines.base import Engine
    from ttc_cli.models.files import Model
    from ttc_cli.output import Output
    from ttc_cli.solving.request import Request, Server

TEMPLATE_HINT = (
    "Name one with --chat-template: the model's chat_template.jinja or tokenizer_config.json, a "
    ".gguf file of it, or a name from 'ttc models list'."
)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template and the spellings of its control tokens."""

    text: str
    tokens: Mapping[str, str] = field(default_factory=dict)


def choose_served_model(server: Server) -> Model:
    """The model of ``server``, with the sampling and the thinking that the registry knows of it.

    The entry is that of ``--model``, or else of ``--chat-template``, where one of them names one.
    Nobody is asked and nothing downloaded: ``path`` is only where a template may be read.
    """
    from ttc_cli.models.files import Model, find
    from ttc_cli.models.registry import Entry, FileSource, load_registry

    name = server.model or server.url
    registry = load_registry()
    for reference in filter(None, (server.model, server.template)):
        entry = registry.get(reference)
        if entry is not None:
            return Model(name, entry, find(entry.name))
    return Model(name, Entry(name, name, (FileSource(server.url),)), None)


def connect(request: Request) -> Engine:
    """The engine over ``request.server``, or a plugin's engine that it names.

    Raises:
        UsageError: the strategy, a verifier or a cap needs what the server has not.
        TemplateError: nobody tells the model's chat template.
        NetworkError: the server cannot be reached, wants a key, or fails.
        NoAnswer: the time cap is over before it is known what the server can do.
    """
    from ttc_cli.engines import openai, registry

    server = request.server
    assert server is not None
    template = _find_template(server, request.model)
    known: dict[str, Any] = {
        "model": server.model,
        "template": template.text if template else None,
        "tokens": template.tokens if template else {},
        "parameters": round(server.parameters) if server.parameters else None,
        "parallel": server.parallel,
        "context": server.context,
    }
    engine: Engine
    named = registry.find_engine(server.url)
    if named is not None:
        plugin, where = named
        engine, url = registry.open_engine(plugin, registry.EngineWish(where, **known)), server.url
    else:
        engine = openai.connect(
            openai.Settings(
                server.url,
                # A solver that is asked from Python does not know its questions yet.
                grammars=request.problem.schema is not None or not request.problem.text,
                seconds=request.budget.max_seconds,
                **known,
            )
        )
        url = engine.address.url
    try:
        _check(request, engine, url)
    except BaseException:
        engine.close()
        raise
    return engine


def tell_limits(engine: Engine, out: Output) -> None:
    """Say what the user should know of the server that ``engine`` grows on."""
    from ttc_cli.engines.openai.engine import OpenAIEngine

    if not isinstance(engine, OpenAIEngine):
        return
    for limit in engine.abilities.limits():
        out.say(f"server: {limit}")
    if not engine.info.parameters:
        out.say("server: The size of the model is not known (--parameters): FLOPs count as 0.")


def tell_trouble(engine: Engine, out: Output) -> None:
    """Say what the server that ``engine`` grows on did in the run that is over."""
    from ttc_cli.engines.openai.engine import OpenAIEngine

    if isinstance(engine, OpenAIEngine):
        for trouble in engine.tell_trouble():
            out.warn(f"server: {trouble}")


def read_template(reference: str) -> ChatTemplate:
    """The chat template that ``--chat-template`` names.

    ``reference`` is a Jinja file, a ``tokenizer_config.json``, a GGUF file, or the name of a
    model that is on this machine.

    Raises:
        UsageError: it cannot be read.
        TemplateError: there is no template in it.
        ModelError: a damaged GGUF file.
    """
    from ttc_cli.models.registry import load_registry

    path = Path(reference).expanduser()
    # A name means the model, also where the folder holds a file that is called so.
    if load_registry().get(reference) is not None or not path.is_file():
        return _read_model_template(reference)
    if path.suffix == ".gguf":
        return _require(_read_gguf(path), reference)
    name = f"The chat template {reference}"
    text = decode_utf8(read_utf8(path, reference, "The chat template"), name, reference)
    if path.suffix != ".json":
        return _require(ChatTemplate(text) if text.strip() else None, reference)
    try:
        return _require(_read_tokenizer(json.loads(text)), reference)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The chat template's file {reference} is not JSON: {error}.") from error


def _find_template(server: Server, model: Model) -> ChatTemplate | None:
    """What the user names, else what is known of a model of the same name."""
    if server.template is not None:
        return read_template(server.template)
    return _read_gguf(model.path) if model.path is not None else None


def _read_model_template(name: str) -> ChatTemplate:
    from ttc_cli.models import files

    try:
        path = files.find(name)
    except UsageError as error:
        raise UsageError(f"There is no file and no model {name!r}.", TEMPLATE_HINT) from error
    if path is None:
        raise UsageError(f"The model {name} is not on this machine.", f"ttc models pull {name}")
    return _require(_read_gguf(path), name)


def _read_gguf(path: Path) -> ChatTemplate | None:
    from ttc_cli.models import gguf

    info = gguf.read_header(path)
    if info.chat_template is None:
        return None
    tokens = {"bos_token": info.bos_token or "", "eos_token": info.eos_token or ""}
    return ChatTemplate(info.chat_template, tokens)


def _read_tokenizer(found: Any) -> ChatTemplate | None:
    """From the hub's ``tokenizer_config.json``; several named templates: the default one."""
    if not isinstance(found, dict):
        return None
    template = found.get("chat_template")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template}
        template = named.get("default")
    tokens = {}
    for name in ("bos_token", "eos_token"):
        value = found.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        tokens[name] = text if isinstance(text, str) else ""
    return ChatTemplate(template, tokens) if isinstance(template, str) else None


def _require(template: ChatTemplate | None, reference: str) -> ChatTemplate:
    if template is None:
        raise TemplateError(f"There is no chat template in {reference}.", TEMPLATE_HINT)
    return template


def _check(request: Request, engine: Engine, url: str) -> None:
    """Refuse at once what would fail, or mean nothing, later."""
    from ttc_cli.search import registry as strategies
    from ttc_cli.verifiers import registry as judges

    info = engine.info
    if not info.chat_template:
        raise TemplateError(
            f"The server {url} does not tell the chat template of {info.model}, which ttc needs "
            "to write prompts.",
            TEMPLATE_HINT,
        )
    if request.budget.max_flops is not None and not info.parameters:
        raise UsageError(
            "The size of the model is not known, so no cap on FLOPs can be enforced.",
            "Give it with --parameters 7e9, or cap tokens with --max-tokens.",
        )
    if request.problem.schema is not None and not (info.grammars and info.steps):
        lacks = "gives no log-probabilities" if info.grammars else "cannot follow a JSON Schema"
        raise UsageError(
            f"The server {url} {lacks}, which --schema needs.",
            "Use vLLM, SGLang or llama-server, a model on this machine, or --answer-type json, "
            "which asks for JSON in words.",
        )
    if judges.wants_certainty(request.verifiers):
        raise UsageError(
            "Self-certainty needs the whole distribution; a server gives only the likeliest "
            "tokens.",
            "Use --verifier confidence.",
        )
    if request.strategy == "auto" or info.scores:
        return
    entry = strategies.find(request.strategy)
    given = [judges.find(judges.parse(word).name) for word in request.verifiers]
    if entry.verifies and all(each.reads == "sampling" for each in given):
        raise UsageError(
            f"The server {url} gives no log-probabilities, and so no scores, which "
            f"{request.strategy} needs.",
            "Use --strategy majority, or give it a verifier of its own: --check COMMAND.",
        )
