"""Draws pools on a live engine: several questions in flight, each saved as soon as it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttc_cli.answers import resolve
from ttc_cli.bench import pool as pools
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import (
    PoolHeader,
    RecordedMend,
    RecordedQuestion,
    RecordedSample,
    RecordedScore,
    SamplePool,
    row_key,
)
from ttc_cli.bench.rereading import find_without_states, read_missing
from ttc_cli.engines.base import Engine, Grow, Growth, ScoreRow, Session, States
from ttc_cli.engines.wrapped import WrappedSession
from ttc_cli.errors import TemplateError
from ttc_cli.events import Grew
from ttc_cli.forms import registry as forms
from ttc_cli.forms.base import FormEntry, Interpreter, Written
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.forms.prose import PROSE_FORM
from ttc_cli.ledger import Ledger
from ttc_cli.paths import write_whole
from ttc_cli.prompts import Chat, prompt_key
from ttc_cli.search.mending import begin_at_slip, begin_behind_failure
from ttc_cli.search.sample import Start, derive_seed
from ttc_cli.search.sessions.thinking import begin_answer
from ttc_cli.types import PROSE, Budget, Candidate, Finish, Message, Problem, Sampling
from ttc_cli.verifiers.base import Leaf, Verifier
from ttc_cli.verifiers.judge import JudgeVerifier


def describe(
    engine: Engine,
    chat: Chat,
    *,
    sha256: str,
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    build: str,
    template_arguments: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    form: str = PROSE,
) -> PoolHeader:
    """The header of a pool of candidates of ``form`` that ``engine`` draws through ``chat``.

    ``sha256`` is of the model file, ``template_arguments`` are what ``chat`` was made with; the
    others are as in ``PoolHeader``.
    """
    info = engine.info
    return PoolHeader(
        model=info.model,
        sha256=sha256,
        parameters=info.parameters,
        context=info.context,
        parallel=info.parallel,
        chat_template=info.chat_template,
        control_tokens=dict(info.control_tokens),
        template_arguments=template_arguments or {},
        prompt_format=forms.find(form).hash_prompts(chat),
        sampling=sampling,
        max_tokens=max_tokens,
        seed=seed,
        build=build,
        settings=settings or {},
        form=form,
    )


def read_whole(
    file: Path, questions: Sequence[LabelledQuestion], samples: int, *, states: bool = False
) -> tuple[SamplePool, Path] | None:
    """The pool in ``file``, or packed beside it, and where it is; None where some must be drawn.

    A pool of other prompts than today's does not count, nor with ``states`` one that lacks them. A
    packed one that lacks something is unpacked, to be added to.

    Raises:
        UsageError: the pool is damaged.
    """
    packed = file.with_name(f"{file.name}.gz")  # as pools are published
    there = file if file.is_file() else packed
    if not there.is_file():
        return None
    pool = pools.read(there)
    header = pool.header
    chat = Chat(pool.recording().info, header.template_arguments)
    asked = forms.find(header.form).hash_prompts(chat)
    if asked != header.prompt_format:
        return None
    have = pool.questions
    whole = all(each.id in have and len(have[each.id].samples) >= samples for each in questions)
    if whole and not (states and find_without_states(pool, questions)):
        return pool, there
    if there is packed:
        write_whole(file, gzip.decompress(packed.read_bytes()))
    return None


async def fill(
    file: Path,
    header: PoolHeader,
    engine: Engine,
    chat: Chat,
    questions: Sequence[LabelledQuestion],
    samples: int,
    interpreter: Interpreter | None = None,
    progress: Callable[[int, int, int, float], None] = lambda done, total, tokens, seconds: None,
    *,
    states: bool = False,
) -> SamplePool:
    """Draw what the pool in ``file`` lacks, as ``header`` says; judged.

    With ``states`` hidden states are kept too, and read again where samples are without.

    As many questions are in flight as fill the engine's batch twice, so that it stays full while
    a question's last candidates end. ``interpreter`` runs programs; None starts one for the time.
    ``progress`` hears before the first and after each question
    how many are done and how many there are, the tokens drawn, the seconds since the beginning.

    Raises:
        UsageError: the pool was drawn in another way, or another process writes it.
        PromptTooLong, EngineError: as ``Engine.open`` and ``Session.grow``. What was written stays.
    """
    try:
        judge = JudgeVerifier(chat)
    except TemplateError:  # it can be asked once, but not asked back
        judge = None
    form = forms.find(header.form)
    async with contextlib.AsyncExitStack() as stack:
        if interpreter is None:
            interpreter = await stack.enter_async_context(Interpreters())
        writer = stack.enter_context(pools.write(file, header))
        wanted = [(question, writer.missing(question.id, samples)) for question in questions]
        todo = deque(each for each in wanted if each[1])
        total, done, tokens = len(todo), 0, 0
        started = written = time.monotonic()
        progress(0, total, 0, 0.0)

        async def work() -> None:
            nonlocal done, tokens, written
            while todo:
                question, missing = todo.popleft()
                drawn = await record_question(
                    engine,
                    chat,
                    question.problem,
                    id=question.id,
                    indices=missing,
                    sampling=header.sampling,
                    max_tokens=header.max_tokens,
                    seed=header.seed,
                    judge=judge,
                    states=states,
                    form=form,
                    interpreter=interpreter,
                )
                now = time.monotonic()
                writer.append(replace(drawn, seconds=now - written))
                written, done = now, done + 1
                tokens += sum(sample.tokens for sample in drawn.samples)
                progress(done, total, tokens, now - started)

        flight = max(1, -(-2 * engine.info.parallel // samples))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(flight, total)):
                group.create_task(work())
        if states:
            await read_missing(writer, engine, chat, questions)
        return writer.pool


async def record_question(
    engine: Engine,
    chat: Chat,
    problem: Problem,
    *,
    id: str,
    indices: Sequence[int],
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    judge: Verifier | None = None,
    messages: Sequence[Message] | None = None,
    states: bool = False,
    form: FormEntry = PROSE_FORM,
    interpreter: Interpreter | None = None,
) -> RecordedQuestion:
    """Draw the samples ``indices`` of one question, and let ``judge`` score those that answer.

    The seed of a sample follows from ``seed``, ``id`` and its index alone. ``seconds`` of the
    result is 0: only the caller knows what else was drawn meanwhile. ``messages`` ask the question
    in another way than ``solve`` does. ``states`` also keeps the hidden states of each candidate
    that stated an answer, pooled, and that at the end of the prompt. Candidates with a wrong sum
    are drawn on from it with the right number, as ``auto`` may do, and programs that failed behind
    what came of them. They are of ``form``. ``interpreter`` runs programs; None starts one for the
    time.

    Raises:
        PromptTooLong, EngineError: as ``Engine.open`` and ``Session.grow``.
    """
    problem = resolve(problem)
    prompt = begin_answer(chat.render(messages or form.ask(problem)), form.beginning, None)
    ledger = Ledger(Budget())
    lengths: dict[int, list[int]] = defaultdict(list)

    def note(event: Grew) -> None:
        for label, text in event.texts.items():
            lengths[label].append(len(text))

    async with contextlib.AsyncExitStack() as stack:
        if interpreter is None:
            interpreter = await stack.enter_async_context(Interpreters())
        session = await stack.enter_async_context(await engine.open(prompt, ledger, note))
        usage = ledger.usage().generator
        prompt_tokens = usage.prompt_tokens + usage.reused_tokens
        requests = [
            Grow(
                branch,
                max_tokens,
                sampling,
                derive_seed(seed, id, index),
                index,
                marks=form.marks,
                pool=states,
            )
            for index, branch in zip(indices, session.fork(session.root, len(indices)), strict=True)
        ]
        growths = {growth.label: growth async for growth in session.grow(requests)}
        leaves = [await _read_leaf(growths[index], problem, form, interpreter) for index in indices]
        ends = {leaf.candidate.id: leaf.branch for leaf in leaves if leaf.candidate.answer}
        pooled: dict[int, States | None] = {}
        at_prompt: States | None = None
        if states:
            known = [branch for branch in ends.values() if branch is not None]
            [at_prompt, *states_read] = await session.read_states([session.root, *known])
            pooled = dict(zip(ends, states_read, strict=True))
        before = ledger.usage().generator.prompt_tokens
        # Under negative labels, which no sample has.
        starts = {
            -1 - leaf.candidate.id: start
            for leaf in leaves
            if (start := _begin_anew(session, leaf, form)) is not None
        }
        again = [
            Grow(
                start.branch,
                start.limit(max_tokens),
                sampling,
                derive_seed(seed, id, "mend", -1 - label),
                label,
                marks=form.marks,
            )
            for label, start in starts.items()
        ]
        mends = [(starts[growth.label], growth) async for growth in session.grow(again)]
        read = ledger.usage().generator.prompt_tokens - before
        regrown = {
            growth.label: await _read_leaf(growth, problem, form, interpreter, start.written)
            for start, growth in mends
        }
        listener = _Listener(session, ledger)
        judged: dict[int, float] = {}
        if judge is not None and (answered := [leaf for leaf in leaves if leaf.candidate.answer]):
            scores = await judge.score(listener, problem, answered)
            judged = {
                leaf.candidate.id: score.value
                for leaf, score in zip(answered, scores, strict=True)
                if score is not None
            }
            if again_answered := [leaf for leaf in regrown.values() if leaf.candidate.answer]:
                await judge.score(listener, problem, again_answered)

    def keep(index: int, growth: Growth, leaf: Leaf) -> RecordedSample:
        return RecordedSample(
            index,
            growth.text,
            growth.tokens,
            _end_at_mark(growth.finish),
            _count_pieces(growth, lengths[growth.label]),
            growth.confidence,
            listener.heard.get(growth.branch.id, {}),
            ran=leaf.candidate.ran,
        )

    # What is read for each is much alike: a number, and a piece of a word before it.
    mended = {
        -1 - growth.label: RecordedMend(
            start.written,
            round(read / len(mends)),
            keep(-1 - growth.label, growth, regrown[growth.label]),
        )
        for start, growth in mends
    }
    samples = tuple(
        replace(
            keep(request.label, growths[request.label], leaf),
            states=pooled.get(request.label),
            mended=mended.get(request.label),
            seed=request.seed,
            judge=judged.get(request.label),
        )
        for request, leaf in zip(requests, leaves, strict=True)
    )
    return RecordedQuestion(prompt_key(prompt), prompt_tokens, samples, at_prompt, id)


async def _read_leaf(
    growth: Growth,
    problem: Problem,
    form: FormEntry,
    interpreter: Interpreter,
    before: str = "",
) -> Leaf:
    """``growth`` behind the text ``before`` as a candidate, its answer read."""
    text, finish = before + growth.text, _end_at_mark(growth.finish)
    written = Written(problem, text, finish)
    reading = await form.read(written, interpreter)
    candidate = Candidate(
        growth.label, text, growth.tokens, finish, reading.answer, form=form.name, ran=reading.ran
    )
    return Leaf(candidate, growth.branch)


def _begin_anew(session: Session, leaf: Leaf, form: FormEntry) -> Start | None:
    """Where ``auto`` would let it go on: from its wrong sum, or behind its failure."""
    if form.name == PROSE:
        return begin_at_slip(session, leaf) if leaf.candidate.answer else None
    return begin_behind_failure(session, leaf, form)


def _end_at_mark(finish: Finish) -> Finish:
    """A candidate that wrote its form's own mark is complete."""
    return Finish.STOP if finish is Finish.MARK else finish


def _count_pieces(growth: Growth, lengths: list[int]) -> tuple[int, ...]:
    """The number of characters that each token added, from ``lengths`` that ``Grew`` events told.

    Engines need not tell of every token: the one that ends the turn spells nothing, and the first,
    drawn from the prompt's own row, may be told of with the second. Characters that no event told
    of are the last token's.
    """
    lengths = lengths[: growth.tokens]
    if growth.finish is Finish.STOP and len(lengths) < growth.tokens:
        lengths = [*lengths, 0]
    lengths = [0] * (growth.tokens - len(lengths)) + lengths
    if lengths:
        lengths[-1] += len(growth.text) - sum(lengths)
    return tuple(lengths)


class _Listener(WrappedSession):
    """A session that remembers what was scored and what reading it cost."""

    def __init__(self, session: Session, ledger: Ledger) -> None:
        super().__init__(session)
        self._ledger = ledger
        self.heard: dict[int, dict[str, RecordedScore]] = {}

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """As the session; each row is remembered under its branch."""
        before = self._ledger.usage().verifier.prompt_tokens
        found = await super().score(rows)
        read = self._ledger.usage().verifier.prompt_tokens - before
        # One verifier asks all candidates the same, so that the rows share the cost evenly.
        each = round(read / len(rows)) if rows else 0
        for row, probabilities in zip(rows, found, strict=True):
            if probabilities:
                told = self.heard.setdefault(row.branch.id, {})
                told[row_key(row)] = RecordedScore(tuple(probabilities), each)
        return found
