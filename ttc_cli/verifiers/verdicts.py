"""Keeps what ``ttc verifiers test`` found: verifiers that cannot tell right from wrong are refused.

One small JSON file, by the model's hash and the verifier's name. ``solve`` reads it: a refused
verifier scores with weight 0, which is shown and not counted, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ttc_cli.errors import UsageError
from ttc_cli.paths import write_whole
from ttc_cli.verifiers.base import Verifier, WeightedVerifier

VERSION = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is remembered of one test.

    ``auc`` is within a question, ``low`` and ``high`` its 95 % interval over ``questions``;
    ``on`` is what was scored: ``planted`` or ``sampled`` solutions.
    """

    verifier: str
    model: str
    trusted: bool
    auc: float
    low: float
    high: float
    questions: int
    on: str
    date: str

    @property
    def reason(self) -> str:
        """Why it is refused, in words."""
        return (
            f"{self.verifier} cannot tell right from wrong on {self.model} (AUC within a question "
            f"{self.auc:.2f}, {self.low:.2f} to {self.high:.2f} on {self.questions} {self.on} "
            f"questions, {self.date}): its scores are shown and do not count. "
            f"'ttc verifiers forget {self.verifier}' undoes this."
        )


def read_verdicts(path: Path) -> dict[tuple[str, str], Verdict]:
    """Everything remembered in ``path``, by model's sha256 and verifier; nothing without a file.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["v"] != VERSION:
            raise ValueError(f"version {raw['v']}")
        return {
            (sha256, name): Verdict(**verdict)
            for sha256, found in raw["models"].items()
            for name, verdict in found.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"What is known of verifiers cannot be read ({path}: {error}).",
            "ttc verifiers forget --all",
        ) from error


def write_verdicts(path: Path, verdicts: Mapping[tuple[str, str], Verdict]) -> None:
    """Replace the file, whole or not at all."""
    models: dict[str, dict[str, object]] = {}
    for (sha256, name), verdict in sorted(verdicts.items()):
        models.setdefault(sha256, {})[name] = asdict(verdict)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"v": VERSION, "models": models}, indent=1))


def find_refused(path: Path, sha256: str) -> dict[str, str]:
    """The verifiers that are refused on this model, and why."""
    return {
        name: verdict.reason
        for (model, name), verdict in read_verdicts(path).items()
        if model == sha256 and not verdict.trusted
    }


def silence(verifiers: Sequence[Verifier], refused: Mapping[str, str]) -> tuple[Verifier, ...]:
    """``verifiers``, those of ``refused`` with weight 0."""
    return tuple(
        WeightedVerifier(each.verifier if isinstance(each, WeightedVerifier) else each, 0.0)
        if each.name in refused
        else each
        for each in verifiers
    )
