"""What was measured about a request's model: its policy, and verifiers that fail with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttc_cli import paths
from ttc_cli.forms import registry as forms
from ttc_cli.models.parts import measure
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat, hash_prompts
from ttc_cli.search import registry as strategies
from ttc_cli.solving.request import Request
from ttc_cli.types import PROGRAM

if TYPE_CHECKING:
    from ttc_cli.policy.file import Policy
    from ttc_cli.verifiers.probe import ProbeVerifier


def hash_generator(request: Request) -> str:
    """The sha256 of the generator's file, which probes, policies and verdicts are known by."""
    from ttc_cli.models.files import read_hash

    return read_hash(request.model)


def find_refused(request: Request) -> dict[str, str]:
    """Verifiers that a test found unable to tell right from wrong with this model, and why."""
    known = paths.verdicts_path()
    if request.server is not None or not known.is_file():
        return {}
    from ttc_cli.verifiers import verdicts

    return verdicts.find_refused(known, hash_generator(request))


def find_policy(request: Request, chat: Chat | None = None) -> Policy | None:
    """The policy for this model and this way of asking, if there is one.

    ``chat`` is the generator's chat template; without it any way of asking will do.
    """
    from ttc_cli.policy import file

    if request.server is not None:
        return None
    if not any(paths.policies_dir().glob("*.json")) and not _may_be_shipped_for(request):
        return None  # nothing to hash a file of gigabytes for
    asked = None if chat is None else hash_prompts(chat)
    return file.find_policy(hash_generator(request), asked)


def find_table(request: Request, chat: Chat | None, policy: Policy | None) -> Table:
    """What ``auto`` goes by: ``policy``, as ``find_policy`` gives it, else the defaults."""
    if request.strategy != "auto":
        return SHIPPED
    if policy is None or not policy.table.forms:
        return SHIPPED if policy is None else policy.table
    return policy.choose_table(None if chat is None else forms.find(PROGRAM).hash_prompts(chat))


def reads_probe(request: Request) -> bool:
    """Whether the strategy asks verifiers, and nobody said which."""
    if request.verifiers or request.server is not None:
        return False
    return request.strategy == "auto" or strategies.find(request.strategy).verifies


def make_probe(request: Request, policy: Policy | None, states: int) -> ProbeVerifier | None:
    """The probe that comes with ``policy``, if the engine, whose states are so wide, serves it."""
    if policy is None or policy.probe is None or policy.probe.width != states:
        return None
    from ttc_cli.verifiers.probe import ProbeVerifier

    return ProbeVerifier(policy.probe, sha256=hash_generator(request), states=states)


def _may_be_shipped_for(request: Request) -> bool:
    """Whether a policy may come with ttc for this file: the registry knows it by its size."""
    from ttc_cli.models.registry import load_registry

    model = request.model
    if model.entry.sha256 is not None:
        return True
    try:
        size = measure(model.path)[0] if model.path is not None else 0
    except OSError:
        return False
    return any(entry.bytes == size for entry in load_registry().entries.values())
