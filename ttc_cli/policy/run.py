"""``solve``: the one way from a question to a result, for the command line and the bench alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ttc_cli.engines.base import Engine
from ttc_cli.events import EventStream
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Problem, Result, Sampling
from ttc_cli.verifiers.base import Verifier

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer
    from ttc_cli.prompts import Chat


async def solve(
    problem: Problem,
    engine: Engine,
    *,
    chat: Chat,
    comparer: Comparer,
    strategy: str = "auto",
    budget: Budget | None = None,
    samples: int | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    verifiers: Sequence[Verifier] = (),
    ledger: Ledger | None = None,
    events: EventStream | None = None,
) -> Result:
    """Answer ``problem`` with ``strategy``; emits ``RunStarted`` first and ``RunEnded`` last.

    Args:
        problem: the question; ``AnswerType.AUTO`` is resolved here.
        engine: a loaded model. One session is opened, and closed again on every way out.
        chat: the model's chat template; renders the question and the judge's question.
        comparer: groups answers that mean the same.
        strategy: ``auto`` or a name of ``search.registry.names()``.
        budget: the level and the hard caps; None is ``Budget()``.
        samples: the N of a fixed strategy, or ``auto``'s greatest number of candidates. None:
            the level's own cap (``policy.table``). ``budget.max_samples`` holds beside it.
        seed: everything random follows from it and the order of candidates.
        sampling: how tokens are drawn; None is ``Sampling()``. ``greedy`` ignores it.
        verifiers: from ``verifiers.registry.build``; none means the strategy's own default.
        ledger: books the usage; None makes one of ``budget``.
        events: gets every event; None discards them.

    Returns:
        The best answer so far, also when a cap was reached or ``engine.interrupt()`` was called
        (``result.interrupted``). ``answer`` is None when no candidate stated one.

    Raises:
        UsageError: an unknown strategy, or a verifier that the engine cannot serve.
        PromptTooLong: the question leaves no room to answer.
        EngineError: the native library failed and no candidate had ended before.
    """
    raise NotImplementedError
