"""``--dry-run``: what a run would do and need, and the most it can cost; computes nothing.

Candidates are counted as the run itself counts them; tokens are those sampled, by candidates and
by critics; FLOPs are of all that is read and sampled: the prompt once, every candidate at its full
length, and what verifiers read of it. Scores of single steps are left out: nobody knows how many
there will be.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import TemplateError
from ttc_cli.models.parts import measure
from ttc_cli.solving.choosing import estimate_tokens, read_chat
from ttc_cli.solving.request import Request, label_model
from ttc_cli.types import CHECK, PROGRAM, PROSE, AnswerType

if TYPE_CHECKING:
    from ttc_cli.models.files import Model
    from ttc_cli.policy.table import Table

_QUESTION = 64
"""Tokens of what a candidate's own branch is asked; the judge's question takes some 30."""


def make_plan(request: Request) -> dict[str, Any]:
    """The plan as ``--dry-run --json`` prints it. ``memory`` is None before the download.

    ``max_samples``, ``max_tokens`` and ``max_flops`` are ``count_most``'s.
    """
    budget, model, most = request.budget, request.model, count_most(request)
    plan: dict[str, Any] = {
        "v": 1,
        "type": "plan",
        **_describe_file(model),
        "strategy": request.strategy,
        "forms": list(most.forms),
        "untested_forms": [PROGRAM] if most.untested else [],
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
            "mix": dict(most.mix),
            "stop_at": row.threshold,
            "policy": most.table.name,
        }
    if model.path is not None and request.server is None:
        plan["memory"] = _plan_memory(request)
    return plan


@dataclass(frozen=True, slots=True)
class Most:
    """Candidates, tokens that are sampled, and FLOPs; None where a model's size is not known.

    ``wave`` are the first candidates of the first model under ``auto``, ``table`` its policy;
    ``mix`` says how many of them have each form, of all ``forms`` that candidates may have.
    ``untested``: the run itself will see whether the model writes programs.
    """

    samples: int
    tokens: int
    flops: float | None
    wave: int
    table: Table
    forms: tuple[str, ...]
    mix: Mapping[str, int]
    untested: bool


def count_most(request: Request) -> Most:
    """What ``request`` can come to: all models of a cascade together, under the hard caps.

    Raises:
        UsageError: not one candidate may be grown, or the form cannot state the answer.
        ModelCorrupt, ModelUnsupported: a model's file is damaged or unsupported.
    """
    from ttc_cli.answers import resolve
    from ttc_cli.policy.adaptive import is_chosen
    from ttc_cli.policy.run import choose_forms, count_samples
    from ttc_cli.policy.stage import SearchOptions
    from ttc_cli.verifiers import registry

    budget = request.budget
    tables: list[Table] = []
    samples: list[int] = []
    waves: list[int] = []
    forms: tuple[str, ...] = ()
    tokens, flops = 0, 0.0
    for own in request.in_turn():
        left = None if budget.max_samples is None else budget.max_samples - sum(samples)
        if samples and left == 0:
            break
        kind = resolve(own.problem).answer_type
        tables.append(_choose_table(own).for_answers(kind))
        rest = replace(budget, max_samples=left)
        options = SearchOptions(own.strategy, samples=own.samples, budget=rest, form=own.form)
        count = count_samples(options, tables[-1])
        if not forms:
            chosen = choose_forms(kind, options, tables[-1], samples=count, marks=True)
            forms = tuple(each.name for each in chosen)
        checked = any(registry.parse(each).name == CHECK for each in own.verifiers)
        if own.strategy == "auto" and is_chosen(own.problem.answer_type) and not checked:
            count = wave = min(count, tables[-1].row(budget.level).free)
        else:
            wave = min(count, tables[-1].row(budget.level).probe)
        samples.append(count)
        waves.append(wave)
        sampled, work = _count_work(own, samples[-1])
        tokens, flops = tokens + sampled, flops + work
    mix = {forms[0]: waves[0]}
    if PROSE in forms:
        mix = tables[0].row(budget.level).share_out(waves[0], dict.fromkeys(forms, waves[0]))
    return Most(
        samples=sum(samples),
        tokens=min(tokens, budget.max_tokens or tokens),
        flops=budget.max_flops if math.isnan(flops) else min(flops, budget.max_flops or flops),
        wave=waves[0],
        table=tables[0],
        forms=forms,
        mix=mix,
        untested=_is_untested(request, tables[0]),
    )


def _count_work(request: Request, samples: int) -> tuple[int, float]:
    """Tokens that are sampled and FLOPs, NaN where unknown, of ``samples`` of one model."""
    from ttc_cli.search import registry as strategies
    from ttc_cli.verifiers import critiques, registry
    from ttc_cli.verifiers.prm.implicit import read_pair

    budget = request.budget
    prompt = estimate_tokens(request.problem.text)
    whole = prompt + budget.tokens_per_candidate
    sampled = samples * budget.tokens_per_candidate
    sampled = min(sampled, budget.max_tokens or sampled)
    size = _count_weights(request.model.path)
    if request.server is not None:
        size = request.server.parameters or math.nan
    flops = 2 * size * (prompt + sampled)
    entry = None if request.strategy == "auto" else strategies.find(request.strategy)
    if entry is not None and not entry.verifies:
        return sampled, flops
    others = {each.asked: each.model.path for each in request.verifier_models}
    alike = entry is None and request.problem.answer_type is AnswerType.FREE
    usual = () if alike or _has_probe(request) else ("judge",)
    for spec in map(registry.parse, request.verifiers or usual):
        if spec.name == "judge":
            flops += 2 * size * samples * _QUESTION
        elif spec.name == "prm":
            name = (spec.argument or "").partition("@")[0]
            flops += 2 * _count_weights(others.get(name)) * samples * whole
        elif spec.name == "implicit":
            pair = read_pair(spec.argument)
            both = sum(_count_weights(others.get(name)) for name in (pair.model, pair.reference))
            flops += 2 * both * samples * whole
        elif spec.name == "generative":
            name, form = critiques.read_critic(spec.argument)
            critique = (form or critiques.guess_format(name)).tokens
            own = _count_weights(others[name]) if name in others else size
            flops += 2 * own * samples * (whole + critique)
            sampled += samples * critique
    return sampled, flops


def _count_weights(path: Path | None) -> float:
    """What the file at ``path`` multiplies a token with; NaN where it is not here."""
    from ttc_cli.models import gguf

    return math.nan if path is None else gguf.read_header(path).active_parameters


def _choose_table(request: Request) -> Table:
    """The policy that the run will go by, as far as its model's file tells."""
    from ttc_cli.policy.table import SHIPPED
    from ttc_cli.solving import coding
    from ttc_cli.solving.measured import find_policy, find_table

    if request.model.path is None or request.server is not None or request.strategy != "auto":
        return SHIPPED
    try:
        chat = read_chat(request.model, request.thinking)
    except TemplateError:  # the run itself will say so
        return find_table(request, None, find_policy(request))
    table = find_table(request, chat, find_policy(request, chat))
    if coding.is_open(request, table) and coding.recall(request, chat):
        return table.with_programs()
    return table


def _has_probe(request: Request) -> bool:
    """Whether a probe is asked, which costs nothing, in the judge's place."""
    from ttc_cli.solving.measured import find_policy, reads_probe

    if request.model.path is None or not reads_probe(request):
        return False
    with contextlib.suppress(TemplateError):
        policy = find_policy(request, read_chat(request.model, request.thinking))
        return policy is not None and policy.probe is not None
    return False


def _is_untested(request: Request, table: Table) -> bool:
    """Whether the run will test its first model for writing programs; ``table`` is its policy."""
    from ttc_cli.solving import coding

    if not coding.is_open(request, table):
        return False
    with contextlib.suppress(TemplateError):
        return coding.recall(request, read_chat(request.model, request.thinking)) is None
    return False


def _describe_file(model: Model) -> dict[str, Any]:
    return {
        "model": label_model(model),
        "path": None if model.path is None else str(model.path),
        "bytes": model.entry.size if model.path is None else measure(model.path)[0],
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


def _word_forms(plan: Mapping[str, Any]) -> str:
    from ttc_cli.policy.planning import word_mix

    forms = " and ".join(sorted(plan["forms"], key=lambda name: name != PROSE))
    if plan["untested_forms"]:
        return f"{forms}, and programs if a short test, once, shows that the model writes them"
    mix = plan.get("mix", {})
    return f"{forms}, first {word_mix(mix)}" if len(mix) > 1 else forms


def word_plan(plan: dict[str, Any]) -> dict[str, str]:
    """The lines of ``plan``, from ``make_plan``, by their labels."""
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
        "form": _word_forms(plan),
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
