"""What a run gets besides its question: a loaded model, and how to search with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from ttc_cli.engines.base import Engine
from ttc_cli.forms.base import Interpreter
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.search.sessions.thinking import Thinking
from ttc_cli.types import Budget, Candidate, Sampling
from ttc_cli.verifiers.base import Verifier


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search, whichever model is asked.

    Attributes:
        strategy: ``auto`` or the name of one in ``search.registry``.
        knobs: the strategy's own settings by name, as text.
        samples: the N of a fixed strategy, or the most candidates that ``auto`` draws. None: the
            cap of the level in the stage's table. ``budget.max_samples`` holds beside it.
        budget: the level and the hard caps.
        seed: everything random follows from it and the order of candidates.
        form: that of all candidates; ``auto`` leaves it to the policy, and is prose where a fixed
            strategy is asked for.
        limits: the most candidates that ``auto`` begins of a form, beside ``samples`` of all.
    """

    strategy: str = "auto"
    knobs: Mapping[str, str] = field(default_factory=dict)
    samples: int | None = None
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    form: str = "auto"
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of a cascade, loaded, with what holds for it alone. Most cascades have one.

    Attributes:
        engine: the loaded model.
        chat: its chat template; renders the question and what verifiers ask.
        table: the policy for this model; also gives fixed strategies their N.
        sampling: how tokens are drawn; ``greedy`` ignores it.
        verifiers: from ``verifiers.registry.build``; empty means the strategy's own default.
        probe: the one that comes with the policy, which is asked where nobody names a verifier.
        thinking: the marks and the budget of thoughts, where the model thinks before it answers.
        refused: verifiers whose scores are shown but do not count, and why; a warning says so.
        known: candidates of an earlier run of the same request that ended, in that order, with
            their scores: they are neither grown nor scored again.
        overlaps: score steps while others grow, where verifiers run on another processor.
        samplings: how tokens of candidates of a form are drawn, where not by ``sampling``. None:
            at the temperature that is best for each form.
        notes: what the user is told once the run has begun.
        interpreter: runs the programs that candidates write; None: one is started for the run.
    """

    engine: Engine
    chat: Chat
    table: Table = SHIPPED
    sampling: Sampling = field(default_factory=Sampling)
    verifiers: tuple[Verifier, ...] = ()
    probe: Verifier | None = None
    thinking: Thinking | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[int, Candidate] = field(default_factory=dict)
    overlaps: bool = False
    notes: tuple[str, ...] = ()
    interpreter: Interpreter | None = None
    samplings: Mapping[str, Sampling] | None = None


LoadStage = Callable[[], Awaitable[Stage]]
"""Loads a stage when its turn has come; the one before is not used any more."""
