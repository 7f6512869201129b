"""From options to a request: which models, verifiers, sampling and caps; nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ttc_cli.builtin import split_names
from ttc_cli.engines.llamacpp import CONTEXT, Settings
from ttc_cli.errors import UsageError
from ttc_cli.settings.keys import KEYS, parse_value
from ttc_cli.solving import serving, verifier_models
from ttc_cli.solving.options import Options, check_names
from ttc_cli.solving.question import read_answer_type, read_schema
from ttc_cli.solving.request import LargerModel, Request, Server, label_model
from ttc_cli.types import Budget, EngineInfo, Problem, Sampling

if TYPE_CHECKING:
    from ttc_cli.models.files import Model
    from ttc_cli.prompts import Chat
    from ttc_cli.search.sessions.thinking import Thinking

    Confirm = Callable[[Model, int | None], bool]

THINK_TOKENS = 2048
"""Room for a thought whose length nobody limits."""

CAPS = ("max_tokens", "max_seconds", "max_flops", "max_samples")
_THOUGHT = ("think_tokens", "wait", "think_keep")


def choose(
    options: Options,
    problem: Problem,
    *,
    room: str,
    warn: Callable[[str], None],
    insist: bool = True,
) -> Request:
    """All that a search needs, nothing of it loaded or downloaded.

    ``room`` is the longest text that the context must hold beside an answer. ``warn`` is told what
    may surprise. ``insist`` refuses options for thinking where no model thinks; else they are
    ignored.

    Raises:
        UsageError: an unknown name, or options that cannot go together.
        ModelError: the model is not known, or its file is damaged.
    """
    from ttc_cli.verifiers import registry

    given, get = options.given, options.get
    cascade = given.get("cascade")
    ladder = choose_cascade(split_names(cascade)) if cascade else ()
    verifiers = () if ladder else options.verifiers
    server = None if ladder else _read_server(options)
    models = ladder or (
        choose_model(get("model")) if server is None else serving.choose_served_model(server),
    )
    insist = insist and any(given.get(name) is not None for name in _THOUGHT)
    insist = insist and not any(each.entry.think_marks for each in models)
    thoughts = [
        choose_thinking(
            each,
            tokens=get("think_tokens"),
            waits=get("wait"),
            keep=get("think_keep"),
            insist=insist,
        )
        for each in models
    ]
    budget = Budget(get("budget", "normal"), **{cap: get(cap) for cap in CAPS})
    budget = make_room_to_think(budget, thoughts)
    samplings = [choose_sampling(each, get("temperature")) for each in models]
    settings = Settings(
        threads=get("threads"),
        gpu_layers=get("gpu_layers"),
        parallel=get("parallel"),
        context=get("context") or estimate_context(room, budget),
        answer=budget.tokens_per_candidate,
        kv_type=get("kv_type"),
        certainty=registry.wants_certainty(verifiers),
    )
    layers = get("verifier_gpu_layers")
    words, asked = verifier_models.choose_verifier_models(
        verifiers, settings if layers is None else replace(settings, gpu_layers=layers)
    )
    verifier_models.warn_of(asked, warn)
    return Request(
        problem=problem,
        model=models[0],
        strategy=get("strategy", "auto"),
        knobs=options.knobs,
        verifiers=words,
        samples=given.get("samples"),
        seed=given.get("seed") or 0,
        sampling=samplings[0],
        budget=budget,
        settings=settings,
        verifier_models=asked,
        check_seconds=given.get("check_seconds"),
        sandbox=verifier_models.find_sandbox(verifiers, warn),
        form=get("form", "auto"),
        server=server,
        thinking=thoughts[0],
        larger=tuple(map(LargerModel, models, samplings, thoughts))[1:],
    )


def word(problem: Problem, own: Mapping[str, Any], *, served: bool) -> Problem:
    """``problem`` with ``answer_type``, ``system`` and ``schema`` where ``own`` has them.

    Raises:
        UsageError: no such answer type, or a schema that cannot be held to.
    """
    kind = read_answer_type(own.get("answer_type", problem.answer_type))
    schema = own.get("schema", problem.schema)
    if schema is not None:
        schema = read_schema(schema, kind, served=served)
    system = own.get("system", problem.system)
    return replace(problem, answer_type=kind, system=system, schema=schema)


def ask_again(request: Request, problem: Problem, how: Mapping[str, Any]) -> Request:
    """``request`` for another problem, and with other options that need nothing loaded again.

    ``how``: ``budget`` and its caps, ``samples``, ``seed``, ``temperature``, ``form``, ``strategy``
    and its ``options``.

    Raises:
        UsageError: an unknown name, or a value that is out of range.
    """
    unknown = how.keys() - {*CAPS, "budget", "samples", "seed", "temperature", "form"}
    unknown -= {"strategy", "options"}
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    for key in how.keys() & KEYS.keys():
        parse_value(key, how[key], key)
    caps = {cap: how[cap] for cap in CAPS if cap in how}
    strategy = how.get("strategy", request.strategy)
    knobs = {name.replace("-", "_"): str(value) for name, value in how.get("options", {}).items()}
    if "strategy" not in how and "options" not in how:
        knobs = dict(request.knobs)
    form = how.get("form", request.form)
    check_names(strategy, knobs, (), form)
    temperature = how.get("temperature", request.sampling.temperature)
    return replace(
        request,
        problem=problem,
        strategy=strategy,
        knobs=knobs,
        form=form,
        samples=how.get("samples", request.samples),
        seed=how.get("seed", request.seed),
        sampling=replace(request.sampling, temperature=temperature),
        budget=replace(request.budget, level=how.get("budget", request.budget.level), **caps),
    )


def obtain(request: Request, confirm: Confirm | None = None) -> Request:
    """``request`` with the file of each of its models, downloaded where it is missing.

    ``confirm`` is asked before each download, with the model and the bytes to come (None: unknown).
    Without it the answer is yes.

    Raises:
        ModelMissing: a file is not here, and ``confirm`` said no.
        ModelCorrupt, NetworkError, DiskFull, MemoryShort: the download failed.
    """
    model = request.model
    return replace(
        request,
        model=obtain_model(model, confirm) if request.server is None else model,
        verifier_models=tuple(
            replace(each, model=obtain_model(each.model, confirm))
            for each in request.verifier_models
        ),
        larger=tuple(
            replace(each, model=obtain_model(each.model, confirm)) for each in request.larger
        ),
    )


def obtain_model(model: Model, confirm: Confirm | None = None) -> Model:
    """``model`` with its file, as ``obtain`` gets it."""
    if model.path is not None:
        return model
    from ttc_cli.models.pull import ensure

    if confirm is None:
        return replace(model, path=ensure(model))
    return replace(model, path=ensure(model, lambda left: confirm(model, left)))


def decline(model: Model, left: int | None) -> bool:
    """No to every download: a ``confirm`` for where nobody is asked."""
    return False


def choose_model(name: str | None) -> Model:
    """The model called ``name``, or the default one for this machine; ``path`` None if not here.

    Raises:
        UsageError: there is no model of that name.
        ModelError: a path without a file, or a file that is not what it should be.
    """
    from ttc_cli.models.files import resolve
    from ttc_cli.settings.default_model import find_default

    return resolve(name or find_default().name)


def choose_cascade(names: Sequence[str]) -> tuple[Model, ...]:
    """The models that ``--cascade`` names, smallest first.

    Raises:
        UsageError: fewer than two, one twice, or no model of such a name.
        ModelError: as ``choose_model``.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            "A cascade needs two or more different models, smallest first.",
            "Write it as: --cascade qwen2.5-coder-0.5b,qwen2.5-coder-1.5b",
        )
    return tuple(choose_model(name) for name in names)


def choose_sampling(model: Model, temperature: float | None) -> Sampling:
    """The model's own sampling, at ``temperature`` where one is given."""
    own = model.entry.sampling
    return own if temperature is None else replace(own, temperature=temperature)


def choose_thinking(
    model: Model,
    *,
    tokens: int | None = None,
    waits: int | None = None,
    keep: float | None = None,
    insist: bool = False,
) -> Thinking | None:
    """How ``model`` thinks before it answers, or None where it does not or is not asked to.

    A model that can think and does not by itself does where one of the options asks for it.

    Args:
        model: its entry names the marks.
        tokens: cap on a thought.
        waits: how often a thought that ended is made to go on.
        keep: the share of the surest thoughts that may go on to their end.
        insist: refuse a model that is not known to think, instead of ignoring the options.

    Raises:
        UsageError: it does not think, or a value makes no sense.
    """
    from ttc_cli.search.sessions.thinking import Thinking

    marks = model.entry.think_marks
    if marks is None:
        if insist:
            raise UsageError(
                f"{label_model(model)} is not known to think before it answers.",
                "Leave out --think-tokens, --wait and --think-keep; for a model of your own that "
                "does, say so: ttc models add … --thinks",
            )
        return None
    if not (model.entry.thinks or tokens or waits or keep):
        return None
    try:
        return Thinking(*marks, tokens=tokens, waits=waits or 0, keep=keep)
    except ValueError as error:
        raise UsageError(f"Thinking: {error}.") from error


def choose_template_arguments(
    model: Model, thinking: Thinking | None
) -> Mapping[str, bool | int | str]:
    """The variables of the model's chat template, with thinking switched on where it is wanted."""
    own = model.entry.template_arguments
    if thinking is None:
        return own
    return {**own, **{name: True for name in _SWITCHES if name in own}}


_SWITCHES = ("enable_thinking", "thinking")
"""What chat templates call the variable that switches thinking on and off."""


def read_chat(model: Model, thinking: Thinking | None = None) -> Chat:
    """The chat template of ``model``, as the header of its file has it.

    Raises:
        TemplateError: it has none, or one that does not compile.
        ModelError: the file is not here, or damaged.
    """
    from ttc_cli.models.gguf import read_header
    from ttc_cli.prompts import Chat

    header = read_header(model.require_path())
    tokens = {"bos_token": header.bos_token or "", "eos_token": header.eos_token or ""}
    info = EngineInfo("header", model.name, 1, 1, 1, header.chat_template, tokens)
    return Chat(info, choose_template_arguments(model, thinking))


def estimate_tokens(text: str) -> int:
    """Tokens of a prompt that holds ``text``, rather too many than too few.

    Two bytes a token is on the safe side for text (four in English); the template adds its own.
    """
    return len(text.encode("utf-8", "replace")) // 2 + 256


def estimate_context(question: str, budget: Budget) -> int | None:
    """Tokens to make room for where ``question`` outgrows the default context, else None."""
    wanted = estimate_tokens(question) + budget.tokens_per_candidate
    return wanted if wanted > CONTEXT else None


def make_room_to_think(budget: Budget, thoughts: Sequence[Thinking | None]) -> Budget:
    """``budget`` with a candidate's limit raised by the longest of ``thoughts``."""
    rooms = [THINK_TOKENS if each.tokens is None else each.tokens for each in thoughts if each]
    room = max(rooms, default=0)
    return replace(budget, tokens_per_candidate=budget.tokens_per_candidate + room)


def _read_server(options: Options) -> Server | None:
    """The server that is named, None where the model is this machine's."""
    url = options.get("server")
    if not url:
        return None
    names = ("model", "chat_template", "parameters", "parallel", "context")
    return Server(url, *(options.get(name) for name in names))
