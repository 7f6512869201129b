"""From the flags of ``ttc solve``, and the settings behind them, to a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ttc_cli.builtin import split_names
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.errors import UsageError
from ttc_cli.settings.config import Config
from ttc_cli.settings.keys import KEYS, PRESET_KEYS, parse_value
from ttc_cli.solving import choosing as planning
from ttc_cli.solving import serving, verifier_models
from ttc_cli.solving.solver import Request, Rung
from ttc_cli.types import Budget, Problem

if TYPE_CHECKING:
    from ttc_cli.models.files import Model
    from ttc_cli.solving.serving import Server

_CAPS = ("max_tokens", "max_seconds", "max_flops", "max_samples")
_THOUGHT = ("think_tokens", "wait", "think_keep")
_AGAINST_CASCADE = {
    "model": "--model",
    "server": "--server",
    "verifier": "--verifier",
    "check": "--check",
}
_PAIRS = (
    {"as_json": "--json", "as_jsonl": "--jsonl"},
    {"quiet": "--quiet", "verbose": "--verbose"},
    {"quiet": "--quiet", "explain": "--explain"},
    *({"cascade": "--cascade", name: flag} for name, flag in _AGAINST_CASCADE.items()),
)
"""Flags that contradict each other, by their parameters' names."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a command line wants: its flags by their parameters' names, then the settings."""

    flags: Mapping[str, Any]
    config: Config

    def option(self, key: str, default: Any = None) -> Any:
        """The flag, else the setting, else ``default``."""
        return self.config.get(key, self.flags.get(key), default)


def refuse_contradictions(flags: Mapping[str, Any]) -> None:
    """Make sure that no two flags contradict each other.

    Raises:
        UsageError: two do.
    """
    for pair in _PAIRS:
        if all(flags.get(name) for name in pair):
            raise UsageError(
                f"{' and '.join(pair.values())} contradict each other.", "leave one out"
            )


def check_wish(wish: Wish) -> None:
    """Make sure that all settings may be what they are, and that names exist, before anything else.

    Raises:
        UsageError: a number is out of range, a file says what only the user may, or there is no
            such strategy, option or verifier.
    """
    for key in KEYS:
        wish.option(key)
    for key in ("samples", "check_seconds"):
        if wish.flags[key] is not None:
            parse_value(key, wish.flags[key], f"--{key.replace('_', '-')}", PRESET_KEYS)
    knobs = planning.read_knobs(wish.flags["knobs"] or ())
    planning.check_names(wish.option("strategy", "auto"), knobs, _list_verifiers(wish))


def make_request(
    wish: Wish, problem: Problem, *, room: str, anew: bool, warn: Callable[[str], None]
) -> Request:
    """All that a search needs, nothing of it loaded or downloaded.

    Args:
        wish: what is wanted.
        problem: the question.
        room: the longest text that the context must hold beside an answer.
        anew: it is no run that is taken up, whose flags may say what its model does not do.
        warn: is told what may surprise.

    Raises:
        UsageError: a name that there is not, or what cannot go together.
        ModelError: the model is not known, or its file is damaged.
    """
    flags, option = wish.flags, wish.option
    verifiers = _list_verifiers(wish)
    ladder: tuple[Model, ...] = ()
    if flags["cascade"] is not None:
        ladder = planning.choose_cascade(split_names(flags["cascade"]))
    served = None if ladder else serving.read_server(wish.option)
    if ladder:
        verifiers = ()
    model = _choose_model(wish, ladder, served)
    asked = ladder or (model,)
    wanted = anew and any(flags[name] is not None for name in _THOUGHT)
    thoughts = [
        planning.choose_thinking(
            each,
            tokens=option("think_tokens"),
            waits=option("wait"),
            keep=option("think_keep"),
            insist=wanted and not any(other.entry.think_marks for other in asked),
        )
        for each in asked
    ]
    limits = Budget(option("budget", "normal"), **{cap: option(cap) for cap in _CAPS})
    limits = planning.make_room_to_think(limits, *thoughts)
    samplings = [planning.choose_sampling(each, option("temperature")) for each in asked]
    settings = Settings(
        threads=option("threads"),
        gpu_layers=option("gpu_layers"),
        parallel=option("parallel"),
        context=option("context") or planning.estimate_context(room, limits),
        answer=limits.tokens_per_candidate,
        kv_type=option("kv_type"),
        certainty=verifier_models.wants_certainty(verifiers),
    )
    choice = verifier_models.choose_verifier_models(
        verifiers, verifier_models.spread(settings, option("verifier_gpu_layers"))
    )
    verifier_models.warn_of(choice.models, warn)
    return Request(
        problem=problem,
        model=model,
        strategy=option("strategy", "auto"),
        knobs=planning.read_knobs(flags["knobs"] or ()),
        verifiers=choice.verifiers,
        samples=flags["samples"],
        seed=flags["seed"],
        sampling=samplings[0],
        budget=limits,
        settings=settings,
        verifier_models=choice.models,
        check_seconds=flags["check_seconds"],
        sandbox=verifier_models.find_sandbox(verifiers, warn),
        server=served,
        thinking=thoughts[0],
        larger=tuple(map(Rung, ladder, samplings, thoughts))[1:],
    )


def _list_verifiers(wish: Wish) -> tuple[str, ...]:
    given, check = wish.flags["verifier"], wish.flags["check"]
    texts = given or [wish.config.get("verifier", default="")]
    words = tuple(word for text in texts for word in split_names(text))
    return words + ((f"check={check}",) if check else ())


def _choose_model(wish: Wish, ladder: Sequence[Model], served: Server | None) -> Model:
    if ladder:
        return ladder[0]
    if served is not None:
        return serving.choose_served_model(served)
    return planning.choose_model(wish.option("model"))
