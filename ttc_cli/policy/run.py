"""``solve``: the one way from a question to a result, for the command line and the bench."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ttc_cli.answers import Comparer, resolve
from ttc_cli.engines.base import Prompt, Session
from ttc_cli.errors import TemplateError, UsageError
from ttc_cli.events import EventStream, RunEnded, RunStarted, Warned
from ttc_cli.forms import registry as forms
from ttc_cli.forms.base import FormEntry, Interpreter
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.forms.program import show_solution
from ttc_cli.ledger import Ledger
from ttc_cli.policy.adaptive import solve_adaptively
from ttc_cli.policy.estimate import estimate
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.standing import take_stand
from ttc_cli.policy.table import Table
from ttc_cli.search import registry
from ttc_cli.search.conclude import count_heard, is_heard
from ttc_cli.search.context import Forms, SearchContext, SearchOutcome, Strategy, StrategyEntry
from ttc_cli.search.sessions.resumed import KnownSession, KnownVerifier
from ttc_cli.search.sessions.structured import StructuredSession
from ttc_cli.search.sessions.thinking import (
    Thinking,
    ThinkingSession,
    begin_answer,
    find_opened_thought,
)
from ttc_cli.search.vote import merit
from ttc_cli.types import PROSE, AnswerType, Estimate, Problem, Result, Sampling, Span
from ttc_cli.verifiers.base import Verifier, VerifierContext
from ttc_cli.verifiers.registry import build
from ttc_cli.verifiers.verdicts import silence

AUTO = StrategyEntry("auto", solve_adaptively, "as much as the question needs", verifies=True)


async def solve(
    problem: Problem,
    stage: Stage,
    options: SearchOptions,
    *,
    comparer: Comparer,
    events: EventStream | None = None,
    ledger: Ledger | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Answer ``problem`` with one model; emits ``RunStarted`` first and ``RunEnded`` last.

    Args:
        problem: the question; ``AnswerType.AUTO`` is resolved here, and a schema makes it JSON.
        stage: the model. One session is opened, and closed again on every way out.
        options: how to search.
        comparer: groups answers that mean the same.
        events: gets every event; None discards them.
        ledger: books the usage, against its own budget; None makes one of ``options.budget``.
        stopped: whether the user has asked to end; a result from then on says ``interrupted``.

    Returns:
        The best answer so far, also when a cap was reached or ``engine.interrupt()`` was called
        (``result.interrupted``). ``answer`` is None when no candidate stated one.

    Raises:
        UsageError: an unknown strategy or knob, or a strategy or verifier that the engine cannot
            serve.
        PromptTooLong: the question leaves no room to answer.
        EngineError: the native library failed and no candidate had ended before.
    """
    ledger = ledger or Ledger(options.budget)
    options = replace(options, budget=ledger.budget)
    events = events or EventStream()
    problem = resolve(problem)
    stage = replace(stage, table=stage.table.for_answers(problem.answer_type))
    strategy, engine, chat = options.strategy, stage.engine, stage.chat
    entry = AUTO if strategy == "auto" else registry.find(strategy)
    if entry is AUTO:
        run: Strategy = functools.partial(solve_adaptively, table=stage.table)
    else:
        run = registry.prepare(entry, options.knobs)
    samples = count_samples(options, stage.table)
    _refuse_unable(entry, problem, stage)
    asked = silence(_choose_verifiers(entry, stage, problem), stage.refused)
    entries = choose_forms(
        problem.answer_type, options, stage.table, samples=samples, marks=engine.info.marks
    )
    if problem.conversation is not None and problem.conversation.stop:
        stop = problem.conversation.stop
        entries = [replace(each, marks=(*each.marks, *stop)) for each in entries]
    _refuse_unmarked(entries, stage)
    prompts = {each.name: _write_prompt(stage, each, problem) for each in entries}
    prompt, *_ = prompts.values()
    if entry.continues:
        chat.follow_up("?")  # before anything is computed that could not be asked about
    events.emit(
        RunStarted(
            problem=problem,
            model=engine.info.model,
            strategy=strategy,
            verifiers=tuple(each.name for each in asked),
            budget=options.budget,
            seed=options.seed,
            parallel=engine.info.parallel,
        )
    )
    for note in stage.notes:
        events.emit(Warned(note))
    for each in asked:
        if each.name in stage.refused:
            events.emit(Warned(stage.refused[each.name]))
    if stage.verifiers and not asked:
        unasked = ", ".join(each.name for each in stage.verifiers)
        events.emit(Warned(f"The strategy {strategy} uses no verifier: {unasked} is ignored."))
    async with contextlib.AsyncExitStack() as stack:
        opened = await engine.open(prompt, ledger, events.emit)
        session: Session = await stack.enter_async_context(opened)
        interpreter: Interpreter | None = stage.interpreter
        if interpreter is None:
            own = Interpreters(warn=lambda text: events.emit(Warned(text)))
            interpreter = await stack.enter_async_context(own)
        if stage.thinking is not None:
            forces = engine.info.steps
            session = ThinkingSession(opened, prompt, stage.thinking, forces=forces)
        elif (marks := find_opened_thought(prompt)) is not None:
            session = ThinkingSession(opened, prompt, Thinking(*marks), forces=False)
        if problem.schema is not None:
            session = StructuredSession(session, problem.schema)
        if stage.known:
            ends = {each.name: each.marks for each in entries}
            session = KnownSession(session, stage.known, options.seed, ends)
            asked = tuple(KnownVerifier(each, stage.known) for each in asked)
        context = SearchContext(
            problem=problem,
            session=session,
            ledger=ledger,
            events=events,
            comparer=comparer,
            verifiers=asked,
            sampling=stage.sampling,
            seed=options.seed,
            samples=samples,
            parallel=engine.info.parallel,
            forms=Forms(
                session,
                {each.name: each for each in entries},
                prompts,
                interpreter,
                _choose_samplings(stage, entries),
                options.limits,
            ),
            chat=chat if engine.info.steps else None,
            overlaps=stage.overlaps,
        )
        try:
            outcome = await run(context)
        finally:
            for verifier in asked:
                await verifier.leave(session)
    outcome = replace(outcome, interrupted=outcome.interrupted or stopped())
    result = _make_result(outcome, strategy, ledger, stage.table)
    result = replace(result, model=engine.info.model, samples=samples)
    events.emit(RunEnded(result))
    return result


def choose_forms(
    type: AnswerType, options: SearchOptions, table: Table, *, samples: int, marks: bool
) -> list[FormEntry]:
    """The forms that candidates may have; the session is opened on the first.

    Args:
        type: of the answer, resolved.
        options: how to search; ``form`` and ``strategy`` decide.
        table: the policy.
        samples: the most candidates.
        marks: whether the engine stops at a text; without, ``auto`` takes only forms that need
            no such thing.

    Raises:
        UsageError: the form asked for is unknown, or cannot state answers of this type.
    """
    if options.form == "auto":
        if options.strategy != "auto":
            return [forms.find(PROSE)]
        others = [forms.find(name) for name, traits in table.forms.items() if traits.suits(type)]
        able = [each for each in others if each.states(type) and (marks or not each.marks)]
        row = table.row(options.budget.level)
        if sum(row.mix.get(each.name, 0) for each in able) >= min(row.probe, samples):
            return [*able, forms.find(PROSE)]  # whose prompt is read where it is wanted
        return [forms.find(PROSE), *able]
    entry = forms.find(options.form)
    if not entry.states(type):
        raise UsageError(
            f"A {entry.name} cannot state an answer of type {type.value}.",
            "Use --form prose, or --answer-type to say what the answer is.",
        )
    return [entry]


def _choose_samplings(stage: Stage, entries: Sequence[FormEntry]) -> Mapping[str, Sampling]:
    """How candidates are drawn, by form, where not as the stage says of all."""
    if stage.samplings is not None:
        return stage.samplings
    return {
        each.name: replace(stage.sampling, temperature=each.temperature)
        for each in entries
        if each.temperature is not None
    }


def _refuse_unmarked(entries: Sequence[FormEntry], stage: Stage) -> None:
    """Raise ``UsageError`` where the engine cannot stop where a candidate of a form ends."""
    for each in entries:
        if each.marks and not stage.engine.info.marks:
            raise UsageError(
                f"The engine {stage.engine.info.name} cannot stop at a text, as a {each.name} "
                "must.",
                "Use --form prose.",
            )


def _write_prompt(stage: Stage, form: FormEntry, problem: Problem) -> Prompt:
    """What the model is asked, up to where a candidate of ``form`` begins."""
    talk = problem.conversation
    if talk is not None and not talk.turns:
        return (Span(problem.text),)
    prompt = stage.chat.render(form.ask(problem), talk.tools if talk else "")
    thinking = stage.thinking
    marks = (thinking.opening, thinking.closing) if thinking else find_opened_thought(prompt)
    return begin_answer(prompt, form.beginning, marks)


def count_samples(options: SearchOptions, table: Table) -> int:
    """N, or the cap of ``auto``, under the hard cap; ``max`` goes as far as the hard cap.

    Raises:
        UsageError: the level is unknown, or not one candidate may be grown.
    """
    hard, samples = options.budget.max_samples, options.samples
    cap = table.row(options.budget.level).cap
    if samples is None:
        samples = hard if options.budget.level == "max" and hard is not None else cap
    if options.strategy == "greedy":
        samples = 1
    if samples < 1 or (hard is not None and hard < 1):
        raise UsageError("At least one candidate is needed.")
    return samples if hard is None else min(samples, hard)


def _refuse_unable(entry: StrategyEntry, problem: Problem, stage: Stage) -> None:
    """Raise ``UsageError`` where the strategy or the engine cannot do what the request needs."""
    able, name = stage.engine.info, stage.engine.info.name
    if entry.votes and problem.answer_type is AnswerType.FREE:
        raise UsageError(
            f"{entry.name} counts final answers, and a free-form question has none.",
            "Use --strategy best-of-n, or --answer-type to say what the answer is.",
        )
    if (entry.steps or entry.continues) and not able.steps:
        what = "pause candidates at a step" if entry.steps else "go on from a finished candidate"
        raise UsageError(
            f"The engine {name} cannot {what}, as {entry.name} does.",
            "Use --strategy auto, majority, weighted or best-of-n.",
        )
    if stage.thinking is not None and stage.thinking.forced and not able.steps:
        raise UsageError(
            f"The engine {name} cannot end or prolong a thought.",
            "Leave out --think-tokens, --wait and --think-keep.",
        )
    if problem.schema is not None and not (able.grammars and able.steps):
        raise UsageError(
            f"The engine {name} cannot hold an answer to a schema.",
            "Leave out --schema: --answer-type json asks for JSON in words.",
        )


def _choose_verifiers(entry: StrategyEntry, stage: Stage, problem: Problem) -> tuple[Verifier, ...]:
    """Those given, or the strategy's own: the probe, and beside it in ``auto`` confidence.

    Without a probe the judge takes its place; where the model cannot be asked after its turn,
    confidence alone. ``auto`` has none of its own
    for free text, which it chooses by likeness.
    """
    if not entry.verifies:
        return ()
    able = stage.engine.info
    if not able.scores and any(each.needs_branch for each in stage.verifiers):
        raise UsageError(
            f"The engine {able.name} cannot score, which this verifier needs.",
            "Use --verifier confidence.",
        )
    if stage.verifiers:
        return stage.verifiers
    if entry is AUTO and problem.answer_type is AnswerType.FREE:
        return ()
    if stage.probe is not None:
        beside = build(["confidence"], VerifierContext(stage.chat)) if entry is AUTO else ()
        return (stage.probe, *beside)
    own = VerifierContext(stage.chat)
    if able.scores:
        # A template that can be asked once may not let itself be asked back.
        with contextlib.suppress(TemplateError):
            return build(["judge", "confidence"] if entry is AUTO else ["judge"], own)
    return build(["confidence"], own)


def _estimate(outcome: SearchOutcome, table: Table) -> Estimate:
    heard = [each for each in outcome.candidates if is_heard(each)]
    standing = take_stand(outcome.classes, heard, outcome.candidates, table.forms)
    return estimate(standing, table.prior)


def _make_result(outcome: SearchOutcome, strategy: str, ledger: Ledger, table: Table) -> Result:
    winner, classes = outcome.winner, outcome.classes
    own = next((each for each in classes if winner is not None and winner.id in each.members), None)
    votes = own.votes if own is not None else 0
    agreeing = votes if outcome.agreeing is None else outcome.agreeing
    heard = count_heard(outcome.candidates) if outcome.heard is None else outcome.heard
    return Result(
        answer=own.answer if own is not None else winner.answer if winner is not None else None,
        solution=show_solution(winner) if winner is not None else None,
        winner=winner.id if winner is not None else None,
        decided_by=outcome.decided_by,
        agreeing=agreeing,
        heard=heard,
        score=merit(winner) if winner is not None else None,
        estimate=outcome.estimate or (_estimate(outcome, table) if classes else None),
        stop_reason=outcome.stop_reason,
        strategy=strategy,
        candidates=outcome.candidates,
        classes=classes,
        usage=ledger.usage(),
        interrupted=outcome.interrupted,
    )
