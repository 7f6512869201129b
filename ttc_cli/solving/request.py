"""A request: a question, the models that answer it, and how. Nothing here is loaded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttc_cli.engines.llamacpp import Settings
    from ttc_cli.models.files import Model
    from ttc_cli.policy.stage import SearchOptions
    from ttc_cli.search.sessions.thinking import Thinking
    from ttc_cli.types import Budget, Candidate, Problem, Sampling


@dataclass(frozen=True, slots=True)
class Server:
    """A model on a server: its address, and what it is called there (None: whatever is served).

    ``template`` names a chat template as ``--chat-template`` does; ``parameters`` is the model's
    size, for FLOPs.
    """

    url: str
    model: str | None = None
    template: str | None = None
    parameters: float | None = None
    parallel: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class VerifierModel:
    """A model that ``verifier`` asks, which knows it as ``asked``."""

    asked: str
    model: Model
    settings: Settings
    verifier: str = "prm"

    def is_file(self, path: Path | None) -> bool:
        """Whether it is the file ``path``."""
        own = self.model.path
        if own is None or path is None:
            return False
        with contextlib.suppress(OSError):
            return own.samefile(path)
        return own == path


@dataclass(frozen=True, slots=True)
class LargerModel:
    """A further model of a cascade, with its own sampling and thinking."""

    model: Model
    sampling: Sampling
    thinking: Thinking | None


@dataclass(frozen=True, slots=True)
class Request:
    """One question, and everything that decides how it is answered.

    Attributes:
        problem: the question.
        model: the generator; its ``path`` is None until it has been obtained.
        strategy: ``auto``, or a fixed one with its ``knobs`` as text.
        verifiers: as the user wrote them, formats filled in.
        samples: the N of a fixed strategy, or the most candidates of ``auto``.
        seed: of all that is drawn.
        sampling: how tokens are drawn.
        budget: its caps; ``tokens_per_candidate`` is also the room that ``settings`` keeps for
            an answer.
        settings: how models are loaded on this machine.
        verifier_models: loaded beside ``model``, unless they are the same file.
        server: grows the candidates in place of ``model``.
        thinking: how the model thinks before it answers; None where it does not.
        larger: the further models of a cascade, asked in turn.
        check_seconds: the time limit of one ``--check``.
        sandbox: what confines a check (``verifiers.checking.sandbox``).
        form: of all candidates, or ``auto``.
        known: candidates of an earlier run that this one resumes, for each model in turn.
    """

    problem: Problem
    model: Model
    strategy: str
    knobs: Mapping[str, str]
    verifiers: tuple[str, ...]
    samples: int | None
    seed: int
    sampling: Sampling
    budget: Budget
    settings: Settings
    verifier_models: tuple[VerifierModel, ...] = ()
    server: Server | None = None
    thinking: Thinking | None = None
    larger: tuple[LargerModel, ...] = ()
    check_seconds: float | None = None
    sandbox: str | None = None
    form: str = "auto"
    known: tuple[Mapping[int, Candidate], ...] = ()

    @property
    def label(self) -> str:
        """What the generator is called in views and results."""
        return label_model(self.model)

    @property
    def search_options(self) -> SearchOptions:
        """How to search, whichever of its models is asked."""
        from ttc_cli.policy.stage import SearchOptions

        return SearchOptions(
            self.strategy, self.knobs, self.samples, self.budget, self.seed, self.form
        )

    def in_turn(self) -> tuple[Request, ...]:
        """This request as each model of a cascade is asked it; without one, itself alone."""
        others = (
            replace(self, model=each.model, sampling=each.sampling, thinking=each.thinking)
            for each in self.larger
        )
        return (self, *others)

    def find_known(self, turn: int) -> Mapping[int, Candidate]:
        """What is known about the model whose turn it is, from 0."""
        return self.known[turn] if turn < len(self.known) else {}


def label_model(model: Model) -> str:
    """What to call ``model`` in views and results: a file on disk by its bare name."""
    return Path(model.name).stem if os.path.isabs(model.name) else model.name
