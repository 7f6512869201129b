"""Resuming a run where it stopped: what of it can be re-used, and whether its models changed.

The candidates that ended are in the log, and a run with the same seed and flags asks for the same
ones in the same order. So the question is put again, and known candidates are neither grown nor
scored again. Each attempt is a run of its own; all of them together tell what is known.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError
from ttc_cli.events import CandidateEnded, RunStarted, Scored
from ttc_cli.runs.run import Run
from ttc_cli.runs.store import RunStore
from ttc_cli.types import WHOLE, Candidate, Result

LEVELS = ("quick", "normal", "deep", "max")
BUDGET = ("budget", "samples", "max_tokens", "max_seconds", "max_flops", "max_samples")
"""Flags of the budget, by their parameter."""

_SAMPLED_BYTES = 64 * 1024
_SAMPLED_PLACES = 64
_LONGEST_QUESTION = 200

Known = Mapping[int, Candidate]


def collect_known(store: RunStore, run: Run) -> tuple[Known, ...]:
    """The candidates of ``run`` and of those it resumed, for each of its models in turn.

    By id, in the order in which they ended first, with the scores that they got as a whole.

    Raises:
        RunDamaged: an event cannot be read.
    """
    chain = [run]
    while chain[-1].parent is not None:
        try:
            chain.append(store.find(chain[-1].parent))
        except UsageError:  # removed: what it knew and the later ones had not got to is lost
            break
    turns: list[dict[int, Candidate]] = []
    for each in reversed(chain):
        turn = -1
        for timed in store.events(each.id):
            event = timed.event
            if isinstance(event, RunStarted):
                turn += 1
                turns += [{}] if turn == len(turns) else []
            elif isinstance(event, CandidateEnded):
                known = turns[turn].get(event.candidate.id)
                if known is None or known.finish not in WHOLE:
                    turns[turn][event.candidate.id] = replace(event.candidate, scores=())
            elif isinstance(event, Scored) and event.score.step is None:
                known = turns[turn].get(event.id)
                scored = known and event.score.verifier in {each.verifier for each in known.scores}
                if known and not scored:
                    turns[turn][event.id] = known.with_scores(event.score)
    return tuple(turns)


def reached_cap(result: Result, flags: Mapping[str, Any], ended: int) -> bool:
    """Whether a hard cap ended the run, so that there is more to do than was done.

    ``flags`` hold the caps; ``ended`` are the run's candidates, of all models.
    """
    usage = result.usage
    spent = {
        "max_tokens": usage.generated_tokens,
        "max_flops": usage.flops,
        "max_seconds": usage.seconds,
        "max_samples": ended,
    }
    return any(flags[cap] is not None and used >= flags[cap] for cap, used in spent.items())


def raise_budget(run: Run, given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of the budget that go on from those of ``run``: ``given`` ones hold.

    Where none is given it is the next level up. The samples that the run was held to are twice as
    many.

    Raises:
        UsageError: there is nothing above, or one candidate is all that its strategy grows.
    """
    flags = run.request["flags"]
    changed = {name: 2 * flags[name] for name in ("samples", "max_samples") if flags.get(name)}
    if run.strategy == "greedy":
        raise UsageError(
            "The last run was greedy: it has only one candidate.",
            f"ttc solve --strategy auto {shlex.quote(_shorten(run.question))}",
        )
    if not given:
        place = LEVELS.index(run.level) + 1
        if place < len(LEVELS):
            changed["budget"] = LEVELS[place]
        elif not changed:
            raise UsageError(
                "The last run had --budget max: there is no level above.",
                "ttc solve --continue --max-samples 512",
            )
    return {**changed, **given}


def choose_known(
    known: tuple[Known, ...], *, steps: bool, continues: bool, as_before: bool
) -> tuple[Known, ...]:
    """What of ``known`` a strategy can be given: nothing where it grows ``steps``.

    Where it ``continues`` after other candidates, and the number of samples is not ``as_before``,
    these lie elsewhere: only those that began at the prompt stand.
    """
    if steps:
        return ()
    if as_before or not continues:
        return known
    return tuple({id: each for id, each in turn.items() if each.parent is None} for turn in known)


def identify_file(path: Path) -> str:
    """A hash over the size and 64 stretches of a file, evenly spread; empty where there is none.

    It reads 4 MiB at most, so that every run can be told its model by it; hashing all of a large
    one takes longer than many a run.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            found = hashlib.sha256(str(size).encode())
            last = max(0, size - _SAMPLED_BYTES)
            for place in range(_SAMPLED_PLACES):
                file.seek(last * place // (_SAMPLED_PLACES - 1))
                found.update(file.read(_SAMPLED_BYTES))
    except OSError:
        return ""
    return found.hexdigest()


def check_files(run: Run, now: Mapping[str, str]) -> None:
    """Make sure that the model files are those that ``run`` used; ``now`` is what they are.

    Raises:
        UsageError: one changed; the hint is the command to start over.
    """
    before = run.request["files"]
    changed = [name for name, found in now.items() if before.get(name, found) != found]
    if changed:
        raise UsageError(
            f"The file of the model {changed[0]} changed since the run {run.id}: it would not "
            "grow the same candidates now.",
            f"start again: {word_command(run)}",
        )


def word_command(run: Run) -> str:
    """The command that asks for ``run`` again."""
    question = _shorten(run.question)
    words = ["ttc", "solve", *run.request["words"]]
    return shlex.join([*words, *(["--"] if question.startswith("-") else []), question])


def _shorten(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= _LONGEST_QUESTION else f"{line[:_LONGEST_QUESTION]}…"
