"""Progress of a batch: a bar on a terminal, else a line now and then; a summary at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ttc_cli.output import Output, Ticker, use_color
from ttc_cli.sanitise import clean
from ttc_cli.views import words


@dataclass(slots=True)
class Tally:
    """What became of the questions so far. ``answered`` … count all, ``done`` this run's alone.

    ``total`` is how many questions this run asks; ``tokens`` and ``flops`` are what it spent.
    """

    min_score: float | None = None
    total: int = 0
    done: int = 0
    answered: int = 0
    unanswered: int = 0
    failed: int = 0
    tokens: int = 0
    flops: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def count(self, row: Mapping[str, Any]) -> None:
        """Book the outcome of one row, old or new."""
        if row["type"] == "error":
            self.failed += 1
        elif row["answer"] is None or not self._is_sure(row):
            self.unanswered += 1
        else:
            self.answered += 1

    def add(self, row: Mapping[str, Any]) -> None:
        """Book a row of this run."""
        self.count(row)
        self.done += 1
        usage = row.get("usage") or {}
        self.tokens += usage.get("generated_tokens", 0)
        self.flops += usage.get("flops") or 0.0

    def _is_sure(self, row: Mapping[str, Any]) -> bool:
        score = row["agreement"] if row["score"] is None else row["score"]
        return self.min_score is None or score >= self.min_score

    @property
    def exit_code(self) -> int:
        """0 where all are answered, 4 where some have no answer, 1 where some failed."""
        return 1 if self.failed else 4 if self.unanswered else 0

    @property
    def seconds(self) -> float:
        """Since the first question was asked."""
        return time.monotonic() - self.started

    def word_progress(self) -> str:
        """``3 of 8 questions, 41 tokens/s, 2 min 5 s to go``."""
        return words.progress(self.done, self.total, self.tokens, self.seconds)

    def word_summary(self, before: int) -> str:
        """The last line: outcomes of all, ``before`` of which were there, and this run's cost."""
        parts = [f"{words.plural(self.answered, 'question')} answered"]
        if before:
            parts[0] += f" ({words.count(before)} before)"
        if self.unanswered:
            parts.append(f"{words.count(self.unanswered)} without an answer")
        if self.failed:
            parts.append(f"{words.count(self.failed)} failed")
        cost = [f"{words.count(self.tokens)} tokens"]
        cost += [words.flops(self.flops)] if self.flops else []
        cost.append(words.seconds(self.seconds))
        return f"{' · '.join(parts)} · {', '.join(cost)}"


@dataclass(frozen=True, slots=True)
class Progress:
    """``tell`` says where things stand; ``say`` and ``warn`` are lines that stay."""

    tell: Callable[[Tally], None]
    say: Callable[[str], None]
    warn: Callable[[str], None]


@contextmanager
def show_progress(out: Output, view: str) -> Iterator[Progress]:
    """Progress as ``view`` wants it: ``tree`` is the bar, ``plain`` lines, ``none`` nothing."""
    if view == "tree":
        with _bar(out) as progress:
            yield progress
        return
    ticker = Ticker(out)

    def tell(tally: Tally) -> None:
        if view == "plain" and tally.done < tally.total:  # the summary says the last word
            ticker.tell(tally.word_progress())

    yield Progress(tell, out.say, out.warn)
    out.status("")


@contextmanager
def _bar(out: Output) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    console = Console(file=sys.stderr, no_color=not use_color(out.color), highlight=False)
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
    with Bars(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        task = bars.add_task("", total=None)

        def tell(tally: Tally) -> None:
            text = tally.word_progress()
            bars.update(task, description=text, completed=tally.done, total=tally.total)

        def say(text: str) -> None:
            if not out.quiet:
                bars.console.print(Text(clean(text)))

        def warn(text: str) -> None:
            bars.console.print(Text.assemble(("warning:", "bold yellow"), " ", clean(text)))

        yield Progress(tell, say, warn)
