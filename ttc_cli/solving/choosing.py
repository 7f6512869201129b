"""Before anything is computed: which model, is it here, will it fit, what may it cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import UsageError
from ttc_cli.types import Budget, Sampling

if TYPE_CHECKING:
    from ttc_cli.models.files import Model
    from ttc_cli.output import Output
    from ttc_cli.search.sessions.thinking import Thinking
    from ttc_cli.solving.solver import Request

THINK_TOKENS = 2048
"""Room for a thought whose length nobody limits."""


def read_knobs(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping.

    Raises:
        UsageError: one is not of that form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in given:
        name, sign, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name or name in found:
            wrong = "comes twice" if name in found else "is not of the form NAME=VALUE"
            raise UsageError(f"--option {word!r} {wrong}.", "Write it as: --option width=4")
        found[name] = value.strip()
    return found


def check_names(strategy: str, knobs: Mapping[str, str], verifiers: Sequence[str]) -> None:
    """Make sure that all exist, before anything is downloaded or loaded.

    Raises:
        UsageError: one does not; the hint lists those that do.
    """
    from ttc_cli.search import registry as strategies
    from ttc_cli.verifiers import registry as judges

    for each in verifiers:
        judges.parse(each)
    if strategy != "auto":
        strategies.prepare(strategies.find(strategy), knobs)
    elif knobs:
        raise UsageError(
            "The strategy auto takes no options of its own.",
            "Name one with --strategy, or leave --option out.",
        )


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
            "A cascade is of two or more different models, smallest first.",
            "Write it as: --cascade qwen2.5-coder-0.5b,qwen2.5-coder-1.5b",
        )
    return tuple(choose_model(name) for name in names)


def obtain_model(model: Model, *, yes: bool, ask: Callable[[str], bool] | None) -> Path:
    """The file of ``model``, downloaded where it is missing and that is wanted.

    Args:
        model: what to get.
        yes: download without asking.
        ask: puts a question to the user; None where nobody is there to answer.

    Raises:
        ModelMissing: not here, and not wanted.
        ModelCorrupt, NetworkError, DiskFull, MemoryShort: the download failed.
    """
    if model.path is not None:
        return model.path
    from ttc_cli.models.progress import format_bytes
    from ttc_cli.models.pull import ensure

    def confirm(left: int | None) -> bool:
        size = "" if left is None else f" ({format_bytes(left)})"
        question = f"The model {model.name}{size} is not on this machine. Download it?"
        return yes or (ask is not None and ask(question))

    return ensure(model, confirm)


def obtain_others(request: Request, *, yes: bool, ask: Callable[[str], bool] | None) -> Request:
    """``request`` with the files of its verifiers and of the further models of a cascade.

    Raises:
        TtcError: as ``obtain_model``.
    """

    def obtain(model: Model) -> Model:
        return replace(model, path=obtain_model(model, yes=yes, ask=ask))

    verifying = (replace(each, model=obtain(each.model)) for each in request.verifier_models)
    larger = (replace(each, model=obtain(each.model)) for each in request.larger)
    return replace(request, verifier_models=tuple(verifying), larger=tuple(larger))


def label_model(model: Model) -> str:
    """What to call ``model`` in views and results: a file on disk by its bare name."""
    return Path(model.name).stem if os.path.isabs(model.name) else model.name


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

    Args:
        model: which; its entry names the marks.
        tokens: cap on a thought. A model that can think and does not by itself does where this,
            or one of the next two, asks for it.
        waits: how often a thought that ended is made to go on.
        keep: the share of the surest thoughts that may go on to their end.
        insist: refuse a model that is not known to think, instead of ignoring them.

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
    if thinking is None or "enable_thinking" not in own:
        return own
    return {**own, "enable_thinking": True}


def make_room_to_think(budget: Budget, *thoughts: Thinking | None) -> Budget:
    """``budget`` with a candidate's limit raised by the longest thought of all these."""
    rooms = [THINK_TOKENS if each.tokens is None else each.tokens for each in thoughts if each]
    room = max(rooms, default=0)
    return replace(budget, tokens_per_candidate=budget.tokens_per_candidate + room)


def estimate_context(question: str, budget: Budget) -> int | None:
    """Tokens to make room for where ``question`` outgrows the default context, else None."""
    from ttc_cli.engines.llamacpp import CONTEXT
    from ttc_cli.solving.costs import estimate_tokens

    wanted = estimate_tokens(question) + budget.tokens_per_candidate
    return wanted if wanted > CONTEXT else None


def show_plan(request: Request, out: Output, *, as_json: bool) -> None:
    """Print what a run would do and take: model, memory, strategy, and the most it can cost.

    Raises:
        ModelCorrupt, ModelUnsupported: the file is there and no good.
        MemoryShort: it does not fit this machine.
    """
    plan = make_plan(request)
    if as_json:
        out.document(plan)
        return
    out.answer("\n".join(f"{key:<11}{value}" for key, value in _word_plan(plan).items()))


def make_plan(request: Request) -> dict[str, Any]:
    """The plan as ``--dry-run --json`` prints it. ``memory`` is None before the download.

    ``max_samples``, ``max_tokens`` and ``max_flops`` are ``costs.count_most``'s.
    """
    from ttc_cli.solving import costs

    budget, model, most = request.budget, request.model, costs.count_most(request)
    plan: dict[str, Any] = {
        "v": 1,
        "type": "plan",
        **_describe_file(model),
        "strategy": request.strategy,
        "verifiers": list(request.verifiers),
        "budget": budget.level,
        "max_samples": most.samples,
        "max_tokens": most.tokens,
        "max_seconds": budget.max_seconds,
        "max_flops": most.flops,
        "seed": request.seed,
        "memory": None,
    }
    if request.server is not None:
        plan |= {"server": request.server.url, "path": None, "bytes": None}
    if request.larger:
        plan["larger"] = [_describe_file(each.model) for each in request.larger]
    if request.verifier_models:
        plan["verifier_models"] = [
            {
                "model": label_model(each.model),
                "path": None if each.model.path is None else str(each.model.path),
                "shared": each.is_file(model.path),
            }
            for each in request.verifier_models
        ]
    if request.strategy == "auto":
        row = most.table.row(budget.level)
        plan |= {
            "first_wave": most.wave,
            "stop_at": row.threshold,
            "policy": most.table.name,
        }
    if model.path is not None and request.server is None:
        plan["memory"] = _plan_memory(request)
    return plan


def _describe_file(model: Model) -> dict[str, Any]:
    return {
        "model": label_model(model),
        "path": None if model.path is None else str(model.path),
        "bytes": model.entry.size if model.path is None else model.path.stat().st_size,
    }


def _plan_memory(request: Request) -> dict[str, Any]:
    """What the models take that are loaded at once; of a cascade the one that takes most."""
    from ttc_cli.engines import llamacpp
    from ttc_cli.models import gguf, hardware

    free = hardware.read_memory().free
    others = [
        (gguf.read_header(each.model.path), each.settings)
        for each in request.verifier_models
        if each.model.path is not None and not each.is_file(request.model.path)
    ]
    paths = [own.model.path for own in request.in_turn() if own.model.path is not None]
    plans = [
        llamacpp.plan_all([(gguf.read_header(path), request.settings), *others], free)
        for path in paths
    ]
    memory, *verifying = max(plans, key=lambda plan: plan[0].total)
    return {
        "total": memory.total,
        "free": memory.free,
        "weights": memory.weights,
        "kv": memory.kv,
        "compute": memory.compute,
        "kv_type": memory.kv_type,
        "parallel": memory.parallel,
        "context": memory.path,
        **({"verifiers": sum(other.total for other in verifying)} if verifying else {}),
    }


def _word_plan(plan: dict[str, Any]) -> dict[str, str]:
    from ttc_cli.models.progress import format_bytes
    from ttc_cli.search import registry as strategies
    from ttc_cli.views import words

    def word_file(file: Mapping[str, Any]) -> str:
        size = "" if file["bytes"] is None else f", {format_bytes(file['bytes'])}"
        where = file["path"] or "not on this machine: ttc models pull " + file["model"]
        return f"{file['model']}{size} ({where})"

    model = word_file(plan)
    if "server" in plan:
        model = f"{plan['model']} (served by {plan['server']}, which is not asked yet)"
    strategy = plan["strategy"]
    if "first_wave" in plan:
        until = "while they are worth their price"
        if plan["stop_at"]:
            until = f"until settled at {plan['stop_at']:.2f}"
        wave = words.plural(plan["first_wave"], "candidate")
        more = plan["first_wave"] < plan["max_samples"]
        strategy += f", first {wave}, then waves {until}" if more else f", {wave}"
        strategy += f" ({plan['policy']})"
    lines = {
        "model": ", then ".join([model, *map(word_file, plan.get("larger", ()))]),
        "strategy": strategy,
        "verifiers": ", ".join(plan["verifiers"]) or "the strategy's own",
        "budget": plan["budget"],
    }
    memory = plan["memory"]
    if memory is not None:
        parts = {name: format_bytes(memory[name]) for name in ("total", "free", "weights", "kv")}
        lines["memory"] = (
            f"{parts['total']} of {parts['free']} free ({parts['weights']} weights, "
            f"{parts['kv']} {memory['kv_type']} KV for {memory['parallel']} candidates at once, "
            f"{memory['context']:,} tokens the longest)"
        )
        if "verifiers" in memory:
            lines["memory"] += f", and {format_bytes(memory['verifiers'])} for the verifier's model"
    cost = [words.plural(plan["max_samples"], "candidate"), f"{plan['max_tokens']:,} tokens"]
    if plan["max_flops"] is not None:
        cost.append(words.flops(plan["max_flops"]))
    if plan["max_seconds"] is not None:
        cost.append(words.seconds(plan["max_seconds"]))
    lines["at most"] = ", ".join(cost)
    if plan["strategy"] != "auto" and strategies.find(plan["strategy"]).steps:
        lines["at most"] += "; what it tries and scores step by step comes on top"
    return lines
