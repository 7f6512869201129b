"""The verifiers of a request: the models they need, and what a check may reach."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ttc_cli.errors import UsageError
from ttc_cli.solving.request import VerifierModel
from ttc_cli.types import CHECK

if TYPE_CHECKING:
    from ttc_cli.engines.llamacpp import Settings
    from ttc_cli.models.files import Model
    from ttc_cli.verifiers.prm.verifier import PrmRequest


def choose_verifier_models(
    verifiers: Sequence[str], settings: Settings
) -> tuple[tuple[str, ...], tuple[VerifierModel, ...]]:
    """``verifiers``, and the models they need beside the generator. Touches no network.

    ``prm=NAME`` gets the format that the registry knows of NAME; ``settings`` are of the models.

    Raises:
        UsageError: no such verifier or model, or a format that nobody states.
        ModelError: a path without a file, or a file that is not what it should be.
    """
    from ttc_cli.models import files
    from ttc_cli.verifiers import critiques, registry
    from ttc_cli.verifiers.prm.implicit import read_pair

    words: list[str] = []
    models: dict[str, VerifierModel] = {}
    for word in verifiers:
        spec = registry.parse(word)
        asked, model = "", None
        if spec.name == "prm":
            request, model = _complete(spec.argument)
            asked = request.model
            weight = "" if spec.weight == 1.0 else f":{spec.weight:g}"
            word = f"prm={request.text}{weight}"
        elif spec.name == "generative" and spec.argument:
            asked, _ = critiques.read_critic(spec.argument)
            model = files.resolve(asked) if asked else None
        elif spec.name == "implicit":
            pair = read_pair(spec.argument)
            for name, part in ((pair.model, spec.name), (pair.reference, "reference")):
                models[name] = VerifierModel(name, files.resolve(name), settings, part)
        words.append(word)
        if model is not None:
            models[asked] = VerifierModel(asked, model, settings, spec.name)
    return tuple(words), tuple(models.values())


def refuse_foreign(verifiers: Sequence[str], where: str) -> None:
    """Refuse what the generator itself cannot serve; ``where`` loads no other model.

    Raises:
        UsageError: one of ``verifiers`` needs another model, or a command; or as
            ``choose_verifier_models``.
    """
    from ttc_cli.engines.llamacpp import Settings
    from ttc_cli.verifiers import registry

    for verifier in verifiers:
        command = registry.parse(verifier).name == CHECK
        if command or choose_verifier_models([verifier], Settings())[1]:
            raise UsageError(
                f"{where.capitalize()} uses only what the model itself can be asked; {verifier} "
                "needs "
                f"{'a command' if command else 'another model'}.",
                "ttc verifiers test measures such a verifier; ttc solve --batch runs it.",
            )


def warn_of(models: Sequence[VerifierModel], warn: Callable[[str], None]) -> None:
    """Say which of ``models`` are asked for process rewards and are not known to give any."""
    for each in models:
        if each.verifier in ("prm", "implicit") and each.model.entry.kind != "verifier":
            warn(
                f"{each.asked} is not known as a process reward model: if it was not trained as "
                "one, its scores mean nothing"
            )


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


def _complete(argument: str | None) -> tuple[PrmRequest, Model]:
    """``argument`` of ``prm=`` with its format, and the model."""
    from ttc_cli.models import files
    from ttc_cli.verifiers.prm.verifier import read_request

    request = read_request(argument)
    model = files.resolve(request.model)
    return replace(request, format=request.choose_format(model.entry.format)), model
