"""``solve``: the one way from a question to a result, for the command line and the bench alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ttc_cli.answers import Comparer, resolve
from ttc_cli.engines.base import Engine, Session
from ttc_cli.errors import TemplateError, UsageError
from ttc_cli.events import EventStream, RunEnded, RunStarted, Warned
from ttc_cli.ledger import Ledger
from ttc_cli.policy.adaptive import solve_adaptively
from ttc_cli.policy.difficulty import estimate
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.search import registry
from ttc_cli.search.conclude import count_heard
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sessions.resumed import KnownSession, KnownVerifier
from ttc_cli.search.sessions.structured import StructuredSession
from ttc_cli.search.sessions.thinking import Thinking, ThinkingSession, find_opened_thought
from ttc_cli.search.vote import merit
from ttc_cli.types import AnswerType, Budget, Candidate, Problem, Result, Sampling
from ttc_cli.verifiers.base import Verifier
from ttc_cli.verifiers.registry import Means, build
from ttc_cli.verifiers.verdicts import silence


async def solve(
    problem: Problem,
    engine: Engine,
    *,
    chat: Chat,
    comparer: Comparer,
    strategy: str = "auto",
    knobs: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    samples: int | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    verifiers: Sequence[Verifier] = (),
    ledger: Ledger | None = None,
    events: EventStream | None = None,
    table: Table = SHIPPED,
    thinking: Thinking | None = None,
    refused: Mapping[str, str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    overlaps: bool = False,
    known: Mapping[int, Candidate] | None = None,
) -> Result:
    """Answer ``problem`` with ``strategy``; emits ``RunStarted`` first and ``RunEnded`` last.

    Args:
        problem: the question; ``AnswerType.AUTO`` is resolved here, and a schema makes it JSON.
        engine: a loaded model. One session is opened, and closed again on every way out.
        chat: the model's chat template; renders the question and the judge's question.
        comparer: groups answers that mean the same.
        strategy: one of ``strategies()``.
        knobs: the strategy's own settings by name, as text.
        budget: the level and the hard caps; None is ``Budget()``. A ledger brings its own.
        samples: the N of a fixed strategy, or ``auto``'s greatest number of candidates. None:
            the level's own cap (``policy.table``). ``budget.max_samples`` holds beside it.
        seed: everything random follows from it and the order of candidates.
        sampling: how tokens are drawn; None is ``Sampling()``. ``greedy`` ignores it.
        verifiers: from ``verifiers.registry.build``; none means the strategy's own default.
        ledger: books the usage, against its own budget; None makes one of ``budget``.
        events: gets every event; None discards them.
        table: the policy; also gives fixed strategies their N.
        thinking: the marks and the budget of thoughts, where the model thinks before it answers.
        refused: verifiers whose scores are to be shown and not counted, and why; it is said.
        stopped: whether the user has asked to end; a result from then on says ``interrupted``.
        overlaps: score steps while others grow: for a verifier's engine on another processor.
        known: candidates of an earlier run of the same request that ended, in that order, with
            their scores: they are not grown, and not scored, again.

    Returns:
        The best answer so far, also when a cap was reached or ``engine.interrupt()`` was called
        (``result.interrupted``). ``answer`` is None when no candidate stated one.

    Raises:
        UsageError: an unknown strategy or knob, or a strategy or verifier that the engine cannot
            serve.
        PromptTooLong: the question leaves no room to answer.
        EngineError: the native library failed and no candidate had ended before.
    """
    ledger = ledger or Ledger(budget or Budget())
    budget = ledger.budget
    events = events or EventStream()
    row = table.row(budget.level)
    entry = None if strategy == "auto" else registry.find(strategy)
    run = registry.prepare(entry, knobs or {}) if entry is not None else None
    problem = resolve(problem)
    if entry is not None and entry.votes and problem.answer_type is AnswerType.FREE:
        raise UsageError(
            f"A free-form question has no final answers to count, as {strategy} does.",
            "Use --strategy best-of-n, or --answer-type to say what the answer is.",
        )
    if entry is not None and (entry.steps or entry.continues) and not engine.info.steps:
        what = "pause candidates at a step" if entry.steps else "go on behind a candidate"
        raise UsageError(
            f"The engine {engine.info.name} cannot {what}, as {strategy} does.",
            "Use --strategy auto, majority, weighted or best-of-n.",
        )
    if thinking is not None and thinking.forced and not engine.info.steps:
        raise UsageError(
            f"The engine {engine.info.name} cannot end or prolong a thought.",
            "Leave out --think-tokens, --wait and --think-keep.",
        )
    if problem.schema is not None and not (engine.info.grammars and engine.info.steps):
        raise UsageError(
            f"The engine {engine.info.name} cannot hold an answer to a schema.",
            "Leave out --schema: --answer-type json asks for JSON in words.",
        )
    refused = refused or {}
    asked = silence(_choose_verifiers(entry, verifiers, chat, engine), refused)
    prompt = chat.render(build_messages(problem))
    if entry is not None and entry.continues:
        chat.follow_up("?")  # before anything is computed that could not be asked about
    events.emit(
        RunStarted(
            problem=problem,
            model=engine.info.model,
            strategy=strategy,
            verifiers=tuple(each.name for each in asked),
            budget=budget,
            seed=seed,
            parallel=engine.info.parallel,
        )
    )
    for each in asked:
        if each.name in refused:
            events.emit(Warned(refused[each.name]))
    if verifiers and not asked:
        unasked = ", ".join(each.name for each in verifiers)
        events.emit(Warned(f"The strategy {strategy} asks no verifier: {unasked} is not used."))
    async with await engine.open(prompt, ledger, events.emit) as opened:
        session: Session = opened
        if thinking is not None:
            forces = engine.info.steps
            session = ThinkingSession(opened, prompt, thinking, forces=forces)
        elif (marks := find_opened_thought(prompt)) is not None:
            session = ThinkingSession(opened, prompt, Thinking(*marks), forces=False)
        if problem.schema is not None:
            session = StructuredSession(session, problem.schema)
        if known:
            session = KnownSession(session, known, seed)
            asked = tuple(KnownVerifier(each, known) for each in asked)
        context = SearchContext(
            problem=problem,
            session=session,
            ledger=ledger,
            events=events,
            comparer=comparer,
            verifiers=asked,
            sampling=sampling or Sampling(),
            seed=seed,
            samples=count_samples(samples, row.cap, budget, strategy),
            parallel=engine.info.parallel,
            chat=chat,
            overlaps=overlaps,
        )
        try:
            if run is None:
                outcome = await solve_adaptively(context, table)
            else:
                outcome = await run(context)
        finally:
            for verifier in asked:
                await verifier.leave(session)
    outcome = replace(outcome, interrupted=outcome.interrupted or stopped())
    result = _make_result(outcome, strategy, ledger, table)
    result = replace(result, model=engine.info.model, samples=context.samples)
    events.emit(RunEnded(result))
    return result


def strategies() -> tuple[str, ...]:
    """What ``strategy`` may be."""
    return ("auto", *registry.names())


def _choose_verifiers(
    entry: registry.Entry | None, given: Sequence[Verifier], chat: Chat, engine: Engine
) -> tuple[Verifier, ...]:
    """Those given, or the strategy's own: the judge, and beside it in ``auto`` confidence.

    Where the model cannot be asked after its turn, confidence alone.
    """
    if entry is not None and not entry.verifies:
        return ()
    if not engine.info.scores and any(each.needs_branch for each in given):
        raise UsageError(
            f"The engine {engine.info.name} cannot score, which this verifier needs.",
            "Use --verifier confidence.",
        )
    if given:
        return tuple(given)
    own = build(["confidence"], Means(chat))
    if not engine.info.scores:
        return own
    try:
        judge = build(["judge"], Means(chat))
    except TemplateError:  # it can be asked once, but not asked back
        return own
    return judge + own if entry is None else judge


def count_samples(samples: int | None, cap: int, budget: Budget, strategy: str) -> int:
    """N, or the cap of ``auto``, under the hard cap; ``max`` goes as far as the hard cap."""
    hard = budget.max_samples
    if samples is None:
        samples = hard if budget.level == "max" and hard is not None else cap
    if strategy == "greedy":
        samples = 1
    if samples < 1 or (hard is not None and hard < 1):
        raise UsageError("At least one candidate is needed.")
    return samples if hard is None else min(samples, hard)


def _show_solution(winner: Candidate) -> str:
    """What it wrote after its thought."""
    return winner.text[winner.thought :].lstrip() if winner.thought else winner.text


def _make_result(outcome: Outcome, strategy: str, ledger: Ledger, table: Table) -> Result:
    winner, classes = outcome.winner, outcome.classes
    own = next((each for each in classes if winner is not None and winner.id in each.members), None)
    votes = own.votes if own is not None else 0
    agreeing = votes if outcome.agreeing is None else outcome.agreeing
    heard = count_heard(outcome.candidates) if outcome.heard is None else outcome.heard
    return Result(
        answer=own.answer if own is not None else winner.answer if winner is not None else None,
        solution=_show_solution(winner) if winner is not None else None,
        winner=winner.id if winner is not None else None,
        decided_by=outcome.decided_by,
        agreeing=agreeing,
        heard=heard,
        score=merit(winner) if winner is not None else None,
        estimate=outcome.estimate or (estimate(classes, heard, table.prior) if classes else None),
        stop_reason=outcome.stop_reason,
        strategy=strategy,
        candidates=outcome.candidates,
        classes=classes,
        usage=ledger.usage(),
        interrupted=outcome.interrupted,
    )
