"""Reads the hidden states of a pool's samples again, by their texts, where they are not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ttc_cli.answers import resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import PoolWriter, RecordedQuestion, RecordedSample, SamplePool
from ttc_cli.engines.base import Engine, Span
from ttc_cli.forms import registry as forms
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.search.sessions.thinking import begin_answer
from ttc_cli.types import Budget, Problem


def find_without_states(
    pool: SamplePool, questions: Sequence[LabelledQuestion]
) -> list[tuple[LabelledQuestion, RecordedQuestion]]:
    """Those of ``questions`` that have samples with an answer and without hidden states."""
    found = []
    for question in questions:
        drawn = pool.questions.get(question.id)
        if drawn is not None and _list_without(drawn, question.problem):
            found.append((question, drawn))
    return found


def _list_without(drawn: RecordedQuestion, problem: Problem) -> list[RecordedSample]:
    asked = resolve(problem)
    without = [sample for sample in drawn.samples if sample.states is None]
    return [sample for sample in without if sample.read_answer(asked) is not None]


async def read_missing(
    writer: PoolWriter, engine: Engine, chat: Chat, questions: Sequence[LabelledQuestion]
) -> None:
    """Read the hidden states of samples that were drawn without.

    Raises:
        PromptTooLong, EngineError: as ``Engine.open``. What was read stays.
    """
    form = forms.find(writer.pool.header.form)
    for question, drawn in find_without_states(writer.pool, questions):
        wanted = _list_without(drawn, question.problem)
        problem = resolve(question.problem)
        prompt = begin_answer(chat.render(form.ask(problem)), form.beginning, None)
        async with await engine.open(prompt, Ledger(Budget())) as session:
            ends = [session.append(session.root, (Span(each.text),)) for each in wanted]
            [at_prompt, *found] = await session.read_states([session.root, *ends])
        samples = tuple(
            replace(sample, states=states) for sample, states in zip(wanted, found, strict=True)
        )
        writer.append(replace(drawn, samples=samples, states=at_prompt, seconds=0.0))
