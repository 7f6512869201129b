"""What a run can come to at most, counted before anything is computed.

Candidates as the run itself counts them; tokens that are sampled, by candidates and by critics; and
FLOPs of all that is read and sampled: the prompt once, every candidate at its full length, and what
verifiers read of it. Scores of single steps are left out: nobody knows how many there will be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ttc_cli.engines.base import EngineInfo
from ttc_cli.errors import TemplateError
from ttc_cli.types import CHECK

if TYPE_CHECKING:
    from ttc_cli.policy.table import Table
    from ttc_cli.solving.solver import Request

_QUESTION = 64
"""Tokens of what a candidate's own branch is asked; the judge's question takes some 30."""


@dataclass(frozen=True, slots=True)
class Most:
    """Candidates, tokens that are sampled, and FLOPs; None where a model's size is not known.

    ``wave`` are the first candidates of the first model under ``auto``, ``table`` its policy.
    """

    samples: int
    tokens: int
    flops: float | None
    wave: int
    table: Table


def estimate_tokens(text: str) -> int:
    """Tokens of a prompt that holds ``text``, rather too many than too few.

    Two bytes a token is on the safe side for text (four in English); the template adds its own.
    """
    return len(text.encode("utf-8", "replace")) // 2 + 256


def count_most(request: Request) -> Most:
    """What ``request`` can come to: all models of a cascade together, under the hard caps.

    Raises:
        UsageError: not one candidate may be grown.
        ModelCorrupt, ModelUnsupported: the file of a model is no good.
    """
    from ttc_cli.policy.adaptive import is_chosen
    from ttc_cli.policy.run import count_samples
    from ttc_cli.policy.stage import SearchOptions
    from ttc_cli.verifiers import registry

    budget = request.budget
    tables: list[Table] = []
    samples: list[int] = []
    waves: list[int] = []
    tokens, flops = 0, 0.0
    for own in request.in_turn():
        left = None if budget.max_samples is None else budget.max_samples - sum(samples)
        if samples and left == 0:
            break
        tables.append(_choose_table(own))
        rest = replace(budget, max_samples=left)
        options = SearchOptions(own.strategy, samples=own.samples, budget=rest)
        count = count_samples(options, tables[-1])
        checked = any(registry.parse(each).name == CHECK for each in own.verifiers)
        if own.strategy == "auto" and is_chosen(own.problem.answer_type) and not checked:
            count = wave = min(count, tables[-1].row(budget.level).free)
        else:
            wave = min(count, tables[-1].row(budget.level).probe)
        samples.append(count)
        waves.append(wave)
        sampled, work = _count_work(own, samples[-1])
        tokens, flops = tokens + sampled, flops + work
    return Most(
        samples=sum(samples),
        tokens=min(tokens, budget.max_tokens or tokens),
        flops=budget.max_flops if math.isnan(flops) else min(flops, budget.max_flops or flops),
        wave=waves[0],
        table=tables[0],
    )


def _count_work(request: Request, samples: int) -> tuple[int, float]:
    """Tokens that are sampled and FLOPs, NaN where unknown, of ``samples`` of one model."""
    from ttc_cli.search import registry as strategies
    from ttc_cli.verifiers import critiques, registry

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
    for spec in map(registry.parse, request.verifiers or ("judge",)):
        if spec.name in ("judge", "probe"):
            flops += 2 * size * samples * _QUESTION
        elif spec.name == "prm":
            name = (spec.argument or "").partition("@")[0]
            flops += 2 * _count_weights(others.get(name)) * samples * whole
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
    from ttc_cli.models import gguf
    from ttc_cli.policy.table import SHIPPED
    from ttc_cli.prompts import Chat
    from ttc_cli.solving.choosing import choose_template_arguments
    from ttc_cli.solving.solver import find_table

    path = request.model.path
    if path is None or request.server is not None:
        return SHIPPED
    header = gguf.read_header(path)
    named = {"bos_token": header.bos_token, "eos_token": header.eos_token}
    info = EngineInfo(
        name="llama.cpp",
        model=request.model.name,
        parameters=header.active_parameters,
        context=header.context_length,
        parallel=1,
        chat_template=header.chat_template,
        control_tokens={name: text for name, text in named.items() if text is not None},
    )
    try:
        chat = Chat(info, choose_template_arguments(request.model, request.thinking))
    except TemplateError:  # the run itself will say so
        return find_table(request, path)
    return find_table(request, path, chat)
