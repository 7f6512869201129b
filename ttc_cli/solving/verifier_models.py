"""Verifiers that are models of their own: which files they name, and loading them all together."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ttc_cli.errors import UsageError
from ttc_cli.types import CHECK

if TYPE_CHECKING:
    from ttc_cli.engines.base import Engine
    from ttc_cli.engines.llamacpp import Settings
    from ttc_cli.engines.llamacpp.memory import MemoryPlan
    from ttc_cli.models.files import Model
    from ttc_cli.verifiers.prm.verifier import PrmRequest

Open = Callable[..., "Engine"]
"""Loads a file under settings and a name, within a plan where there is one."""


@dataclass(frozen=True, slots=True)
class VerifierModel:
    """A model that ``verifier`` asks; ``VerifierContext.load`` knows it as ``asked``."""

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
class Choice:
    """The verifiers, each with all that is known of it, and the models that they need."""

    verifiers: tuple[str, ...]
    models: tuple[VerifierModel, ...]


def choose_verifier_models(verifiers: Sequence[str], settings: Settings) -> Choice:
    """What ``--verifier`` words need beside the generator. Touches no network.

    Args:
        verifiers: as given; ``prm=NAME`` gets the format that the registry knows of NAME.
        settings: for these models.

    Raises:
        UsageError: no such verifier or model, or a format that nobody states.
        ModelError: a path without a file, or a file that is not what it should be.
    """
    from ttc_cli.models import files
    from ttc_cli.verifiers import registry

    words: list[str] = []
    models: dict[str, VerifierModel] = {}
    for word in verifiers:
        spec = registry.parse(word)
        model: Model | None
        if spec.name == "prm":
            request, model = _complete(spec.argument)
            asked = request.model
            weight = "" if spec.weight == 1.0 else f":{spec.weight:g}"
            word = f"prm={request.text}{weight}"
        else:
            asked = _critic_of(spec.name, spec.argument)
            model = files.resolve(asked) if asked else None
        words.append(word)
        if model is not None:
            models[asked] = VerifierModel(asked, model, settings, spec.name)
    return Choice(tuple(words), tuple(models.values()))


def refuse_foreign(verifiers: Sequence[str], where: str) -> None:
    """Refuse what the generator itself cannot serve; ``where`` is what loads no other model.

    Raises:
        UsageError: one of ``verifiers`` needs another model, or a command; or as
            ``choose_verifier_models``.
    """
    from ttc_cli.engines.llamacpp import Settings
    from ttc_cli.verifiers import registry

    for verifier in verifiers:
        command = registry.parse(verifier).name == CHECK
        if command or choose_verifier_models([verifier], Settings()).models:
            raise UsageError(
                f"{where.capitalize()} asks what the model itself can be asked; {verifier} needs "
                f"{'a command' if command else 'another model'}.",
                "ttc verifiers test measures such a verifier; ttc solve --batch runs it.",
            )


def warn_of(models: Sequence[VerifierModel], warn: Callable[[str], None]) -> None:
    """Say which of ``models`` are asked for process rewards and are not known to give any."""
    for each in models:
        if each.verifier == "prm" and each.model.entry.kind != "verifier":
            warn(
                f"{each.asked} is not known as a process reward model: if it was not trained as "
                "one, its scores mean nothing"
            )


def wants_certainty(verifiers: Sequence[str]) -> bool:
    """Whether the generator's engine must note self-certainty for these."""
    from ttc_cli.verifiers import registry

    return registry.wants_certainty(verifiers)


def find_sandbox(verifiers: Sequence[str], warn: Callable[[str], None]) -> str | None:
    """What confines a ``--check`` among ``verifiers``; warns of what is not confined.

    Raises:
        UsageError: a check names something that it could not open in there.
    """
    from ttc_cli.verifiers import registry

    checks = [each.argument for each in map(registry.parse, verifiers) if each.name == CHECK]
    if not checks:
        return None
    from ttc_cli.verifiers.checking.cells import describe_gaps
    from ttc_cli.verifiers.checking.command import read_command
    from ttc_cli.verifiers.checking.removal import sweep
    from ttc_cli.verifiers.checking.sandbox import explain_sandbox, find_hidden, find_sandbox

    found = find_sandbox()
    if why := explain_sandbox():
        gaps = describe_gaps(found)
        warn(f"{why}: the check runs model-written text {gaps} (docs/verifiers.md)")
    for left in sweep():
        warn(f"an earlier check's folder cannot be removed: {left}")
    for check in filter(None, checks):
        for hidden in find_hidden(read_command(check), found):
            raise UsageError(
                f"The check cannot open {hidden}: its sandbox does not show it, or not to root.",
                f"chmod a+rX {shlex.quote(hidden)}, and folders above it; or move it, or run ttc "
                "as its owner.",
            )
    return found


def open_engines(
    path: Path,
    settings: Settings,
    name: str,
    others: Sequence[VerifierModel],
    open_one: Open,
) -> tuple[Engine, Mapping[str, Engine]]:
    """The generator's engine, and those of ``others`` by what they are asked for by.

    All are planned together before any is loaded; a file that is named twice is loaded once.

    Raises:
        MemoryShort: they do not fit together; nothing has been loaded then.
        TtcError: as ``open_one``; what was loaded before is closed.
    """
    from ttc_cli.engines import llamacpp
    from ttc_cli.models import gguf, hardware
    from ttc_cli.solving.choosing import label_model

    wanted = [(path, settings, name)]
    places: dict[str, int] = {}
    for each in others:
        own = each.model.path
        assert own is not None  # obtained before
        same = (n for n, (known, _, _) in enumerate(wanted) if each.is_file(known))
        place = next(same, len(wanted))
        if place == len(wanted):
            wanted.append((own, each.settings, label_model(each.model)))
        places[each.asked] = place
    plans: Sequence[MemoryPlan | None] = [None]
    if len(wanted) > 1:
        headers = [(gguf.read_header(file), how) for file, how, _ in wanted]
        plans = llamacpp.plan_all(headers, hardware.read_memory().free)
    engines: list[Engine] = []
    try:
        for (file, how, called), planned in zip(wanted, plans, strict=True):
            within = () if planned is None else (planned,)
            engines.append(open_one(file, how, called, *within))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return engines[0], {asked: engines[place] for asked, place in places.items()}


def spread(settings: Settings, gpu_layers: int | None) -> Settings:
    """The generator's ``settings`` for a verifier, with layers of its own on the GPU."""
    return settings if gpu_layers is None else replace(settings, gpu_layers=gpu_layers)


def _critic_of(verifier: str, argument: str | None) -> str:
    """The model that writes the critiques, empty where it is the generator itself."""
    if verifier != "generative" or not argument:
        return ""
    from ttc_cli.verifiers.critiques import FORMATS

    model, _, word = argument.rpartition("@")
    return model if word in FORMATS else argument


def _complete(argument: str | None) -> tuple[PrmRequest, Model]:
    """``argument`` of ``prm=`` with its format, and the model."""
    from ttc_cli.models import files
    from ttc_cli.verifiers.prm.formats import FORMATS
    from ttc_cli.verifiers.prm.verifier import read_request

    request = read_request(argument)
    model = files.resolve(request.model)
    format = request.format or model.entry.format
    if format is None:
        raise UsageError(
            f"It is not known how {request.model} is asked.",
            f"Say it with --verifier prm={request.model}@FORMAT, one of {', '.join(FORMATS)}.",
        )
    return replace(request, format=format), model
