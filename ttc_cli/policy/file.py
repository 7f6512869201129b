"""Policy files: a table, what it was fitted on, and what it is expected to do.

A policy holds for one model and one way of asking: its file carries both hashes, and ``auto`` uses
it where they match. JSON, written whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import UsageError, suggest
from ttc_cli.paths import policies_dir, write_whole
from ttc_cli.policy.table import Table, find_fault
from ttc_cli.texts import decode_utf8, read_utf8
from ttc_cli.verifiers.probe import Probe

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = "ttc-policy/2"
SHIPPED_FOLDER = Path(__file__).with_name("shipped")
"""Policies that come with ttc, made by ``ttc calibrate`` like any other."""
ACTIVE = "active.json"
"""Which policy was chosen for which model, beside the policies."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Source:
    """What a policy was fitted on. ``labels`` is ``given`` or ``majority`` (``--self``).

    ``programs`` of a question were drawn beside its ``samples``, at ``program_temperature``.
    """

    data: str
    questions: int
    samples: int
    seed: int
    temperature: float
    max_tokens: int
    labels: str = "given"
    programs: int = 0
    program_temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well a score told right from wrong candidates: AUC over all, and within a question.

    ``low`` and ``high`` bound the latter (95 %, bootstrap over ``questions`` that have both).
    ``trusted``: better than chance beyond doubt; None where these are too few to tell.
    """

    verifier: str
    auc: float | None
    auc_within: float | None
    low: float | None
    high: float | None
    questions: int
    trusted: bool | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a budget level came to on questions that its fold had not seen, and of what.

    ``before`` and ``before_flops`` are those of the shipped table on the same questions.
    """

    level: str
    accuracy: float
    flops: float
    samples: float
    before: float
    before_flops: float


@dataclass(frozen=True, slots=True)
class Matched:
    """What it took to match the best fixed strategy, on questions that the fold had not seen.

    ``share`` of the baseline's FLOPs, [``low``, ``high``] (95 %, bootstrap over questions); None
    where it is not reached. ``reached``: in how many of the resamples it is. The price is picked
    on the judged questions, as a bench does.
    """

    baseline: str
    accuracy: float
    flops: float
    share: float | None
    low: float | None
    high: float | None
    reached: float


@dataclass(frozen=True, slots=True)
class Policy:
    """A table with where it comes from. ``sha256`` and ``prompt_format`` say what it is for.

    ``program_format`` is the hash of how programs are asked for; "" where none were tried.
    ``probe`` was fitted on the same questions; None where no hidden states were read.
    """

    name: str
    model: str
    sha256: str
    prompt_format: str
    date: str
    source: Source
    table: Table
    reliability: tuple[Reliability, ...] = ()
    expected: tuple[Expected, ...] = ()
    matched: Matched | None = None
    program_format: str = ""
    probe: Probe | None = None

    def choose_table(self, program_format: str | None) -> Table:
        """The table where programs are asked for in this way (None: in any).

        It knows prose alone, and its name says so, where that is not what was measured.
        """
        table = self.table
        if not table.forms or program_format in (None, self.program_format):
            return table
        name = f"{table.name}, in prose alone: programs are asked for in another way now"
        return replace(table.without_forms(), name=name)

    def save(self, path: Path) -> None:
        """Write it to ``path``, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"
        write_whole(path, text)


def load_policy(path: Path) -> Policy:
    """Read a file that ``Policy.save`` wrote.

    Raises:
        UsageError: it does not exist, or it is damaged.
    """
    from pydantic import ValidationError

    hint = "ttc calibrate QUESTIONS.jsonl makes a new one; ttc policy list shows what there is"
    try:
        data = read_utf8(path, str(path), "The policy")
        text = decode_utf8(data, f"The policy {path}", str(path))
        raw: Any = json.loads(text, parse_float=_read_finite, parse_constant=_read_finite)
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise UsageError(f"{path} is not a policy of the format {FORMAT}.", hint)
        policy = make_reader().validate_python(raw)
        if fault := find_fault(policy.table) or (policy.probe and policy.probe.find_fault()):
            raise ValueError(fault)
        return policy
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"The policy {path} is damaged: {place}: {first['msg']}.", hint) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The policy {path} is damaged: {error}.", hint) from error


def _read_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


@cache
def make_reader() -> TypeAdapter[Policy]:
    """The validator of policies. Making it takes a tenth of a second, once: do it while idle."""
    from pydantic import TypeAdapter

    return TypeAdapter(Policy)


def list_policies() -> Iterator[tuple[Path, Policy]]:
    """The user's policies, then the shipped ones; damaged files are left out."""
    for place in (policies_dir(), SHIPPED_FOLDER):
        for path in sorted(place.glob("*.json")):
            if path.name == ACTIVE:
                continue
            try:
                yield path, load_policy(path)
            except UsageError:
                continue


def check_name(name: str) -> None:
    """Make sure that a policy called ``name`` can have a file of that name.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name) or f"{name}.json".lower() == ACTIVE:
        raise UsageError(
            f"{name!r} cannot be the name of a policy.",
            "Use letters, digits, dots, dashes and underscores: --name maths",
        )


def find_named(name: str) -> tuple[Path, Policy]:
    """The user's or shipped policy called ``name``, else that in the file ``name``, with its file.

    Raises:
        UsageError: it does not exist, or it is damaged.
    """
    known = list(list_policies())
    for path, policy in known:
        if policy.name == name:
            return path, policy
    own = policies_dir() / f"{name}.json"
    if _NAME.fullmatch(name) and own.is_file():
        return own, load_policy(own)  # damaged, and says how
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path):  # unlike Path's own, no error for a name that no system takes
        return path, load_policy(path)
    names = [policy.name for _, policy in known]
    hint = suggest(name, names, f"There is: {', '.join(names) or 'none yet'}")
    raise UsageError(f"There is no policy called {name!r}.", hint)


def adopt_policy(path: Path, policy: Policy) -> None:
    """Keep ``policy``, read from ``path``, with the user's own, unless it is there or shipped.

    Raises:
        UsageError: its name cannot be a file's, or another policy of the user's has it.
    """
    check_name(policy.name)  # a file says what it likes
    if path.resolve().parent in (policies_dir().resolve(), SHIPPED_FOLDER.resolve()):
        return
    own = policies_dir() / f"{policy.name}.json"
    if own.exists() and load_policy(own) != policy:
        raise UsageError(
            f"You have another policy called {policy.name}: {own}.",
            f"mv {shlex.quote(str(own))} {shlex.quote(f'{policy.name}.json.old')} moves it "
            "aside, or change the name in the file",
        )
    policy.save(own)


def find_policy(sha256: str, prompt_format: str | None) -> Policy | None:
    """The policy for this model asked in this way (None: in any), or None.

    The one chosen by ``use_policy``; else of the user's the newest; else a shipped one.
    """
    chosen = _read_active().get(sha256)
    if chosen == "":
        return None
    found = [
        (path, policy)
        for path, policy in list_policies()
        if policy.sha256 == sha256 and prompt_format in (None, policy.prompt_format)
    ]
    named = [policy for _, policy in found if policy.name == chosen]
    own = [policy for path, policy in found if path.parent == policies_dir()]
    if named:
        return named[0]
    if own:
        return max(own, key=lambda policy: policy.date)
    return found[0][1] if found else None


def use_policy(sha256: str, name: str | None) -> None:
    """Use the policy ``name`` for the model ``sha256`` from now on; None: the generic defaults."""
    folder = policies_dir()
    folder.mkdir(parents=True, exist_ok=True)
    active = _read_active() | {sha256: name or ""}
    write_whole(folder / ACTIVE, json.dumps(active, indent=1))


def _read_active() -> dict[str, str]:
    try:
        raw = json.loads((policies_dir() / ACTIVE).read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in raw.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
