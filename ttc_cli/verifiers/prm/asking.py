"""``--verifier prm=MODEL[@FORMAT][@AGGREGATE]``: what it says, and the verifier it asks for."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass

from ttc_cli.engines.base import Engine
from ttc_cli.errors import UsageError, find_near
from ttc_cli.verifiers.aggregate import Aggregate
from ttc_cli.verifiers.base import VerifierEntry
from ttc_cli.verifiers.prm.formats import FORMATS, find_format
from ttc_cli.verifiers.prm.verifier import PrmVerifier

AGGREGATES: tuple[Aggregate, ...] = typing.get_args(Aggregate)
_EXAMPLE = "ttc solve --verifier prm=rlhflow-prm-8b …"


@dataclass(frozen=True, slots=True)
class PrmRequest:
    """``model`` is a registry name, a file or a hub reference. None: as the registry says."""

    model: str
    format: str | None = None
    aggregate: Aggregate | None = None

    @property
    def text(self) -> str:
        """As it is written behind ``prm=``."""
        return "@".join(part for part in (self.model, self.format, self.aggregate) if part)


def read_request(argument: str | None) -> PrmRequest:
    """Read ``MODEL[@FORMAT][@AGGREGATE]``; the words behind ``@`` may come in any order.

    Words that are neither format nor aggregate belong to the model: ``user/repo:Q4_K_M@v2``.

    Raises:
        UsageError: no model, or two formats or aggregates.
    """
    model = argument or ""
    format: str | None = None
    aggregate: Aggregate | None = None
    while "@" in model:
        before, _, word = model.rpartition("@")
        if word in FORMATS and format is None:
            format = word
        elif word in AGGREGATES and aggregate is None:
            aggregate = word
        elif word in FORMATS or word in AGGREGATES:
            raise UsageError(f"--verifier prm={argument}: one format and one aggregate.", _EXAMPLE)
        elif near := find_near(word, (*FORMATS, *AGGREGATES), 0.8):
            raise UsageError(
                f"--verifier prm={argument}: {word!r} is neither a format nor an aggregate.",
                f"Did you mean {near}?",
            )
        else:
            break
        model = before
    if not model:
        raise UsageError("--verifier prm needs the name of a model.", _EXAMPLE)
    return PrmRequest(model, format, aggregate)


def make_prm(argument: str | None, load: Callable[[str], Engine] | None) -> PrmVerifier:
    """The verifier that ``prm=argument`` asks for, on the engine that ``load`` gives.

    Raises:
        UsageError: no model or format, or one that does not fit the model's vocabulary.
        TemplateError: the format needs a chat template that can be used.
    """
    request = read_request(argument)
    if request.format is None:
        raise UsageError(
            f"It is not known how {request.model} is asked.",
            f"Say it with --verifier prm={request.model}@FORMAT, one of {', '.join(FORMATS)}.",
        )
    if load is None:
        raise UsageError("No second model can be loaded here.", "Use --verifier judge.")
    engine = load(request.model)
    return PrmVerifier(engine, find_format(request.format, engine.info), request.aggregate)


PRM = VerifierEntry(
    "prm",
    lambda context, argument: make_prm(argument, context.load),
    "a process reward model",
    "steps and whole",
    "each step's tokens, by the other model",
    "MODEL[@FORMAT]",
    check=read_request,
)
