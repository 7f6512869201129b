"""The live tree as one frame: ``render`` turns a state into rows, by hand and within budget.

A frame is a flat list of styled segments. Nothing in it is parsed as markup, nothing is wrapped
by the terminal, and at most ``height − 1`` rows are drawn, so the cursor always finds its way
back. Colour only repeats what numbers, bars and signs already say.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from ttc_cli.types import AnswerClass, AnswerType
from ttc_cli.views import words
from ttc_cli.views.branches import branch_rows, count_rows, path_rows
from ttc_cli.views.cells import BOLD, CALM, DIM, GOOD, RULE, WARN, FrameRow, cells, cut, wrap
from ttc_cli.views.nodes import Status, TreeNode, trace
from ttc_cli.views.state import ViewState

NARROW = 40
"""Below this many columns there is no room for a tree: a few plain lines instead."""
ROOMY = 60
"""Below this many there are no labels."""
_QUESTION_SHOWN = 1_000

# Which section gets the next row, as long as it wants one. What is left goes to the branches.
_TURNS = (
    *("foot", "vote", "question", "tree", "policy", "budget", "tree", "tree", "difficulty"),
    *("vote", "warning", "path", "tree", "tree", "gap", "gap", "gap", "path", "tree", "tree"),
    *("vote", "policy", "path", "gap", "gap", "tree", "tree", "path", "tree", "tree"),
    *("vote", "question", "model", "tree", "path", "vote", "policy", "path"),
)
_SECTIONS = (
    *("question", "model", "gap", "budget", "difficulty", "policy"),
    *("gap", "vote", "gap", "path", "gap", "tree", "gap", "warning", "foot"),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows that Rich can draw. ``rows`` never exceed the size they were rendered for."""

    rows: tuple[FrameRow, ...]

    @property
    def text(self) -> str:
        """The frame without its styles."""
        return "\n".join(row.text.rstrip() for row in self.rows)

    def wrapped(self, width: int) -> int:
        """How many rows it takes on a terminal of ``width`` cells that wraps it."""
        return sum(max(1, math.ceil(cells(row.text) / width)) for row in self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        line = Segment.line()
        for row in self.rows:
            yield from row.segments
            yield line


HINT = "Ctrl-C answers now"


def render(state: ViewState, width: int, height: int, hint: str = HINT) -> Frame:
    """The frame of ``state`` on a terminal of ``width`` × ``height`` cells.

    Pure. It has at most ``height − 1`` rows, none wider than ``width``. ``hint`` says, in its last
    row, which key does what until the run has ended.
    """
    rows = max(0, height - 1)
    if width < NARROW:
        return Frame(tuple(_narrow(state, width)[:rows]))
    width -= 1  # terminals disagree about the last column
    sections = _plan_sections(state, width, hint if state.result is None else "")
    granted = _share(rows, {name: wanted for name, (wanted, _) in sections.items()})
    gaps = granted["gap"]
    out: list[FrameRow] = []
    for section in _SECTIONS:
        if section == "gap":
            if gaps and out and out[-1].text:
                out.append(FrameRow(width, 0))
                gaps -= 1
        elif granted[section]:
            out.extend(sections[section][1](granted[section]))
    return Frame(tuple(out[:rows]))


_Draw = Callable[[int], list[FrameRow]]


def _plan_sections(state: ViewState, width: int, hint: str) -> dict[str, tuple[int, _Draw]]:
    """How many rows each section would like, and what draws it in as many as it gets."""
    path = 0 if state.best is None else min(6, len(trace(state.nodes, state.best)))
    classes = len(_shown_classes(state))
    return {
        "question": (len(_question(state, width, 3)), lambda n: _question(state, width, n)),
        "model": (1, lambda n: [_model(state, width)]),
        "budget": (1, lambda n: [_budget(state, width)]),
        "difficulty": (1, lambda n: [_difficulty(state, width)]),
        "policy": (min(3, max(1, len(state.words))), lambda n: _policy(state, width, n)),
        "vote": (max(1, min(6, classes)), lambda n: _vote(state, width, n)),
        "path": (path, lambda n: path_rows(state, width, n, _gutter(width))),
        "gap": (4 + bool(path), lambda n: []),
        "tree": (count_rows(state), lambda n: branch_rows(state, width, n)),
        "warning": (
            int(bool(state.warnings)),
            lambda n: [_label("warning", width).add(words.shorten(state.warnings[-1], 300), WARN)],
        ),
        "foot": (1, lambda n: [_foot(state, width, hint)]),
    }


def _share(rows: int, wants: dict[str, int]) -> Counter[str]:
    granted: Counter[str] = Counter()
    for section in _TURNS:
        if granted[section] < wants[section] and granted.total() < rows:
            granted[section] += 1
    for section in ("tree", "question", "vote", "policy", "model"):
        granted[section] += min(rows - granted.total(), wants[section] - granted[section])
    return granted


def _gutter(width: int) -> int:
    return 12 if width >= ROOMY else 0


def _label(name: str, width: int) -> FrameRow:
    return FrameRow(width).add(name, DIM, _gutter(width))


def _question(state: ViewState, width: int, rows: int) -> list[FrameRow]:
    question = words.one_line(state.question[:_QUESTION_SHOWN])
    lines = wrap(question, width - _gutter(width) - 1, rows)
    return [_label("" if i else "question", width).add(line, BOLD) for i, line in enumerate(lines)]


def _model(state: ViewState, width: int) -> FrameRow:
    parts = [words.shorten(state.model, 40), words.shorten(state.strategy, 20)]
    if state.verifiers:
        parts.append("scored by " + ", ".join(words.shorten(v, 20) for v in state.verifiers))
    parts.append(f"seed {state.seed}")
    return _label("model", width).add(" · ".join(part for part in parts if part))


def _budget(state: ViewState, width: int) -> FrameRow:
    """What is burnt, of what. Bars where there is a cap, as long as they fit."""
    budget = state.budget
    row = _label("spent" if words.caps(budget) == "no cap" else "budget", width)
    flops = state.flops or budget.max_flops is not None
    burns = [
        _burn(state.tokens, budget.max_tokens, words.count, "tokens"),
        *([_burn(state.flops, budget.max_flops, words.flops)] if flops else []),
        _burn(state.seconds, budget.max_seconds, words.seconds),
    ]
    capped = [share for _, share in burns if share is not None]
    if budget.max_samples is not None:
        samples = _burn(state.sampled, budget.max_samples, words.count, "samples")
        if not capped or _bar_room([*burns, samples], row.left) >= 5:
            burns.append(samples)
    while len(burns) > 1 and _bar_room(burns, row.left) < 0:
        burns.pop()
    length = min(12, _bar_room(burns, row.left) - 1)
    for i, (text, share) in enumerate(burns):
        row.add(" · " if i else "", DIM).add(text)
        if share is not None and length >= 3:
            row.add(" ").add_bar(share, length, WARN if share >= 0.9 else CALM, RULE)
    return row


_Burn = tuple[str, float | None]


def _burn(spent: float, cap: float | None, word: Callable[[float], str], unit: str = "") -> _Burn:
    text = f"{word(spent)} {unit}".rstrip()
    if cap is None:
        return text, None
    return f"{word(spent)} of {word(cap)} {unit}".rstrip(), spent / cap if cap > 0 else 1.0


def _bar_room(burns: list[_Burn], room: int) -> int:
    """Cells left for each bar, when the texts are written; negative when they do not fit."""
    left = room - sum(len(text) + 3 for text, _ in burns) + 3
    return left // max(1, sum(share is not None for _, share in burns))


def _difficulty(state: ViewState, width: int) -> FrameRow:
    row = _label("difficulty", width)
    if not _gutter(width):
        row.add("difficulty ", DIM)
    estimate = state.estimate
    if estimate is None:
        return row.add("not known yet: the first answers will tell", DIM)
    level = min(5, max(0, estimate.difficulty))
    row.add("●" * level + "○" * (5 - level)).add(f" {estimate.difficulty} of 5")
    return row.add(f" · {words.odds(estimate, ' · ')}")


def _policy(state: ViewState, width: int, rows: int) -> list[FrameRow]:
    if not state.words:
        return [_label("policy", width).add("waiting for the first wave", DIM)]
    reasons = [words.shorten(word.reason, 300) for word in state.words[-rows:]]
    last = len(reasons) - 1
    return [
        _label("" if i else "policy", width).add(reason, None if i == last else DIM)
        for i, reason in enumerate(reasons)
    ]


def _shown_classes(state: ViewState) -> tuple[AnswerClass, ...]:
    return tuple(c for c in state.classes if c.answer.type is not AnswerType.FREE)


def _vote(state: ViewState, width: int, rows: int) -> list[FrameRow]:
    classes = _shown_classes(state)
    if not classes:
        return [_label("vote", width).add(_no_vote(state), DIM)]
    shown = classes if len(classes) <= rows else classes[: max(1, rows - 1)]
    total = sum(max(0.0, c.weight) for c in classes) or 1.0
    answers = [words.shorten(c.answer.text, 40) or "(empty)" for c in shown]
    name = max(4, min(max(map(len, answers)), (width - _gutter(width)) // 4))
    heard = state.heard or state.ended
    weighted = any(abs(c.weight - c.votes) > 1e-6 for c in classes)
    out = []
    for i, (answer_class, answer) in enumerate(zip(shown, answers, strict=True)):
        row = _label("" if i else "vote", width)
        votes = f"{answer_class.votes} of {max(heard, answer_class.votes)}"
        if weighted:
            votes += f", weight {answer_class.weight:.2f}"
        if not i:
            tied = len(classes) > 1 and classes[1].weight == answer_class.weight
            votes += " ◂ tied" if tied else " ◂ leads"
        length = max(3, min(40, row.left - name - 2 - (31 if weighted else 20)))
        row.add(answer, BOLD if not i else None, name).add("  ")
        row.add_bar(max(0.0, answer_class.weight) / total, length, CALM if i else GOOD, RULE)
        out.append(row.add(f" {votes}", None if not i else DIM))
    if len(shown) < len(classes) and len(out) < rows:
        rest = words.plural(len(classes) - len(shown), "other answer")
        out.append(_label("", width).add(rest, DIM))
    return out


def _no_vote(state: ViewState) -> str:
    best = state.nodes.get(state.best) if state.best is not None else None
    free = [
        node.id
        for node in state.nodes.values()
        if node.answer is not None and node.answer.type is AnswerType.FREE
    ]
    if free:
        leads = f", #{best.id} leads" if best is not None and best.id in free else ""
        return f"none on free text: {len(free)} finished{leads}"
    answers = sum(
        node.answer is not None and node.answer.type is not AnswerType.FREE
        for node in state.nodes.values()
    )
    if best is None or best.answer is None or not answers:
        return "no answer yet"
    if best.answer.type is AnswerType.CODE:
        return f"none on code: the verifier chooses, {words.plural(answers, 'program')} so far"
    says = words.shorten(best.answer.text, 40)
    return f"not taken yet: {words.plural(answers, 'answer')}, #{best.id} says {says}"


def _tally(state: ViewState) -> list[str]:
    """How many branches grow, wait and are done."""
    counts = Counter(node.status for node in state.nodes.values())
    done = counts[Status.FINISHED] + counts[Status.UNFINISHED]
    parts = [f"{counts[Status.GROWING]} growing"]

    def count(*statuses: Status) -> list[str]:
        return [f"{counts[each]} {each.word}" for each in statuses if counts[each]]

    parts += count(Status.PAUSED, Status.QUEUED)
    if done or len(parts) == 1:
        parts.append(f"{done} done")
    return parts + count(Status.PRUNED, Status.CANCELLED)


def _foot(state: ViewState, width: int, hint: str) -> FrameRow:
    row = FrameRow(width).add(" · ".join(_tally(state)))
    row.add(f" · {words.count(state.tokens_per_second)} tok/s")
    if state.kv_cells > 0:
        used = state.kv_used / state.kv_cells
        share = f"{100 * used:.0f} %"
        row.add(" · KV ")
        if row.left >= 6 + len(share) + 3 + len(hint):  # rather the hint than the bar
            row.add_bar(used, 5, WARN if used >= 0.9 else CALM, RULE).add(" ")
        row.add(share)
    if hint and row.left >= len(hint) + 3:
        row.add(" " * (row.left - len(hint))).add(hint, DIM)
    return row


def _narrow(state: ViewState, width: int) -> list[FrameRow]:
    """The most important lines first, for a terminal too narrow for a tree."""
    classes = _shown_classes(state)
    if classes:
        leader = words.shorten(classes[0].answer.text, 40)
        lead = (
            f"{leader}: {classes[0].votes} of {max(state.heard or state.ended, classes[0].votes)}"
        )
    else:
        best = state.nodes.get(state.best) if state.best is not None else None
        lead = _no_vote(state) if best is None or not best.stepwise else _describe(best)
    lines = [
        lead,
        ", ".join(_tally(state)),
        f"{words.count(state.tokens)} tokens, {words.seconds(state.seconds)}",
        words.one_line(state.question[:_QUESTION_SHOWN]),
        words.shorten(state.words[-1].reason, 200) if state.words else "",
    ]
    return [FrameRow(width, 0).add(cut(line, width)) for line in lines if line]


def _describe(best: TreeNode) -> str:
    """Where the best path of a search over steps stands."""
    score = "" if best.value is None else f", {best.value:.2f}"
    if best.answer is not None and best.answer.type is not AnswerType.FREE:
        return f"{words.shorten(best.answer.text, 40)} so far{score}"
    return f"best: step {best.depth}{score}"
