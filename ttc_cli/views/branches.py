"""The candidate tree of a frame: which branches get a row, and what a row says.

Best path first, then what grows, then what finished, then what was dropped; the rest is counted
in one last row. Rows are drawn as a tree: a branch hangs from its nearest drawn ancestor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from rich.style import Style

from ttc_cli.forms.passages import FENCE
from ttc_cli.types import AnswerType, Execution, Finish
from ttc_cli.views import words
from ttc_cli.views.cells import BAD, BOLD, CALM, DIM, GOOD, RULE, FrameRow, cells, cut, cut_front
from ttc_cli.views.nodes import LIVE, SIGNS, Status, TreeNode, find_ancestors, trace
from ttc_cli.views.state import Tail, ViewState

_RANK = {
    Status.GROWING: 1,
    Status.PAUSED: 1,  # those that wait for the others to step too: best first among both
    Status.FINISHED: 3,
    Status.UNFINISHED: 4,
    Status.QUEUED: 5,
    Status.PRUNED: 6,
    Status.CANCELLED: 7,
}
_DEEPEST = 64
"""Ancestors looked at; more could only be a cycle or cost time."""
DROPPED_SHOWN = 4
"""Candidates that were dropped and still get a row, with the reason; the others are counted."""
_NEAREST = 3
"""Ancestors that get a row for the sake of a branch below them."""
_INDENT = 6
"""Guides beside each other at most, however deep the tree."""
_SCORE_BAR = 6
_ROOMY, _MEDIUM, _WIDE = 60, 78, 100
_VERIFIERS = 3
"""Verifiers that get a column of their own."""
_STEP_TEXT = 300
_CODE = 5
"""Cells of a line of code that are worth showing before what it printed."""
_LEVELS = "▁▂▃▄▅▆▇█"


class _Columns(NamedTuple):
    """Where the columns of all rows stand, so that they stand below each other."""

    text: int
    """Where what follows the number of a branch begins: guides grow with depth."""
    word: int
    bar: int
    scored: bool
    low: bool
    verifiers: tuple[str, ...]
    form: int
    """Cells of the marks of forms; 0 where all candidates are prose."""


def branch_rows(state: ViewState, width: int, rows: int) -> list[FrameRow]:
    """At most ``rows`` rows of ``width`` cells that show the candidates."""
    rows = min(rows, count_rows(state))
    if rows <= 0:
        return []
    if not state.nodes:
        return [FrameRow(width).add("no candidates yet", DIM)]
    best = state.best
    trail = {node.id for node in islice(find_ancestors(state.nodes, best), _DEEPEST)}
    order = sorted(state.nodes.values(), key=lambda node: _rank(node, best))
    room = rows if len(order) <= rows else rows - 1
    chosen = _choose(state.nodes, order, room)
    hidden = [node for node in order if node.id not in chosen]
    drawn = _hang(
        state.nodes, order, chosen, min(_INDENT, max(1, (width - 50) // 5)), last=not hidden
    )
    ends = {(node.parent, node.taken) for node in order}
    said = [
        _status(node, state.tails.get(node.id, Tail()), node.id == best, ends, width)
        for _, node in drawn
    ]
    columns = _measure(state, drawn, [word for _, word, _ in said], width)
    out = [
        _branch(guide, state, node, status, columns, width, node.id in trail)
        for (guide, node), status in zip(drawn, said, strict=True)
    ]
    if hidden and len(out) < rows:
        counts = Counter(node.status for node in hidden)
        names = (f"{counts[status]} {status.word}" for status in _RANK if counts[status])
        out.append(FrameRow(width).add("└─ ", RULE).add("… " + " · ".join(names), DIM))
    return out


def _rank(node: TreeNode, best: int | None) -> tuple[int, float, int]:
    rank = 0 if node.id == best else _RANK[node.status]
    if node.dropped:
        return (rank, 0.0, -node.id)  # the latest tell what the search is doing
    return (rank, -(node.value or 0.0), node.id)


def count_rows(state: ViewState) -> int:
    """How many rows the tree would like: some of what was dropped is enough."""
    dropped = sum(node.dropped for node in state.nodes.values())
    kept = len(state.nodes) - dropped
    return max(1, kept + min(dropped, DROPPED_SHOWN)) + (dropped > DROPPED_SHOWN)


def _choose(nodes: Mapping[int, TreeNode], order: Iterable[TreeNode], room: int) -> set[int]:
    """The ids that get a row: the first of ``order``, with their near ancestors where these fit.

    An ancestor that was dropped after its steps were taken over gets one for its own sake only.
    """
    chosen: set[int] = set()
    for node in order:
        if len(chosen) >= room:
            break
        if node.id in chosen:
            continue
        family = {node.id}
        if node.parent is not None and not node.dropped:
            above = islice(find_ancestors(nodes, node.parent), _NEAREST)
            family |= {each.id for each in above if not each.dropped}
        family -= chosen
        chosen |= family if len(chosen) + len(family) <= room else {node.id}
    return chosen


def _hang(
    nodes: Mapping[int, TreeNode], order: list[TreeNode], chosen: set[int], deepest: int, last: bool
) -> list[tuple[str, TreeNode]]:
    """The chosen nodes in the order they are drawn, each with the guide that leads to it."""
    children: dict[int | None, list[TreeNode]] = {}
    for node in order:
        if node.id in chosen:
            above = (each.id for each in islice(find_ancestors(nodes, node.parent), _DEEPEST))
            parent = next((id_ for id_ in above if id_ in chosen and id_ != node.id), None)
            children.setdefault(parent, []).append(node)
    drawn: list[tuple[str, TreeNode]] = []
    seen: set[int] = set()

    def draw(parent: int | None, lines: str, depth: int) -> None:
        siblings = children.get(parent, [])
        for node in siblings:
            if node.id in seen or depth > _DEEPEST:
                continue
            seen.add(node.id)
            ends = node is siblings[-1] and (last or depth > 0)
            drawn.append((lines + ("└─ " if ends else "├─ "), node))
            deeper = lines + ("   " if ends else "│  ") if depth < deepest else lines
            draw(node.id, deeper, depth + 1)

    draw(None, "", 0)
    # Only a cycle of parents leaves nodes out: they hang from the root.
    drawn += [("├─ ", node) for node in order if node.id in chosen and node.id not in seen]
    return drawn


_Drawn = Sequence[tuple[str, TreeNode]]
_Status = tuple[str, str, Style | None]


def _measure(state: ViewState, drawn: _Drawn, said: Iterable[str], width: int) -> _Columns:
    nodes = [node for _, node in drawn]
    scored = [node for node in nodes if node.judged]
    paths = max((len(node.path) for node in scored), default=0)
    if any(not node.path for node in scored):
        paths = _SCORE_BAR
    marks = [words.mark_form(node.form) for node in nodes]
    most = 20 if width >= _WIDE else 14 if width >= _ROOMY else 9
    several = width >= _MEDIUM and any(len(node.newest) > 1 for node in nodes)
    return _Columns(
        text=1 + max((len(guide) + len(str(node.id)) for guide, node in drawn), default=0),
        word=min(most, max(map(cells, said), default=0)),
        bar=min(_SCORE_BAR, paths) if width >= _ROOMY else 0,
        scored=bool(scored),
        low=width >= _WIDE and any(len(node.path) > 1 for node in nodes),
        verifiers=state.verifiers[:_VERIFIERS] if several else (),
        form=min(8 if width >= _ROOMY else 3, max(map(cells, marks), default=0)),
    )


def _branch(
    guide: str,
    state: ViewState,
    node: TreeNode,
    status: _Status,
    columns: _Columns,
    width: int,
    best: bool,
) -> FrameRow:
    tail = state.tails.get(node.id, Tail())
    sign, word, style = status
    row = FrameRow(width).add(guide, RULE)
    row.add(
        str(node.id), DIM if node.dropped else BOLD if best else None, columns.text - len(guide)
    )
    row.add(f"{sign} ", style).add(word, style, columns.word).add("  ")
    if width >= _WIDE:
        row.add(f"{words.count(tail.tokens):>5} tok  ", DIM)
    if columns.scored:
        _add_score(row, node, columns)
    if columns.form:
        row.add(words.mark_form(node.form), DIM, columns.form).add(" ")
    if node.reason:
        return row.add(words.shorten(node.reason, row.left), DIM)
    if node.parent is not None and not node.taken:
        wave = state.waves.get(node.wave, "")
        verbs = {"mend": "mends", "repair": "repairs"}
        verb = "revises" if "revis" in wave else verbs.get(wave, "after")
        row.add(f"{verb} #{node.parent}: ", DIM)
    if node.ahead and node.status in LIVE:
        row.add("looks ahead: ", DIM)
    calm = None if node.status is Status.GROWING else DIM
    if node.steps and not tail.text:  # it pauses, or has not written a word since
        return row.add(cut_front(words.one_line(node.steps[-1].text), row.left), DIM)
    if node.ran is not None:
        return _add_run(row, tail.text, node.ran)
    end = tail.text[-(2 * row.left + 80) :].rstrip()
    if node.program:
        lines = (words.one_line(line) for line in end.removesuffix(FENCE).splitlines())
        return row.add(cut_front("  ".join(filter(None, lines)), row.left), calm)
    # The step that it is in: what follows the last blank line.
    latest = words.one_line(end[end.rfind("\n\n") + 1 :])
    return row.add(cut_front(latest, row.left), calm)


def _add_run(row: FrameRow, text: str, ran: Execution) -> FrameRow:
    """The last line of a program and what it printed, or its error."""
    if ran.error:
        return row.add(words.one_line(ran.error) or "failed", DIM)
    lines = (line.strip() for line in reversed(text.splitlines()))
    code = next((line for line in lines if line and not line.startswith("#")), "")
    came = f"→ {words.one_line(ran.output) or '(nothing)'}"
    room = max(row.left - cells(came) - 2, row.left // 2 - 2)
    if code and room >= _CODE:
        row.add(cut(words.one_line(code), room), DIM).add("  ")
    return row.add(came, DIM)


def _status(
    node: TreeNode, tail: Tail, best: bool, ends: Collection[tuple[int | None, int]], width: int
) -> _Status:
    """A sign, a word and a style. The sign alone tells the status apart without colour.

    ``ends`` are where others went on from: a branch, and how many of its steps they took over.
    """
    sign = SIGNS.get(node.status, "★" if best else "✓")
    part = "line" if node.program else "step"
    match node.status:
        case Status.GROWING:
            return sign, f"{part} {node.depth + tail.steps}", CALM
        case Status.PAUSED:
            # One that others went on from, or one that waits to go on itself.
            sign = "◇" if (node.id, node.depth) in ends else sign
            return sign, f"{part} {node.depth or tail.steps}", CALM
        case Status.QUEUED | Status.PRUNED | Status.CANCELLED:
            at = f", step {node.depth}" if node.dropped and node.depth and width >= _WIDE else ""
            return sign, node.status.word + at, DIM
        case Status.UNFINISHED if node.answer is None:
            return "✗", words.FINISH_WORDS[node.finish or Finish.LENGTH], BAD
        case Status.FINISHED | Status.UNFINISHED:
            # One that was cut off after it stated an answer votes like a finished one.
            if node.answer is None:
                return "✗", "failed" if node.failed else "no answer", BAD
            if node.answer.type is AnswerType.FREE:
                return sign, "finished", GOOD if best else None
            return sign, words.shorten(node.answer.text, 40), GOOD if best else BOLD


def _add_score(row: FrameRow, node: TreeNode, columns: _Columns) -> None:
    """Number, bar (of a path: its process scores, step by step) and sign, or as much room."""
    value = node.value
    if value is None:
        row.add("", None, 5 + columns.bar + bool(columns.bar) + 3)
    else:
        row.add(f"{value:.2f} ", None, 5)
        if columns.bar and node.path:
            row.add(sparkline(node.path[-columns.bar :]), CALM, columns.bar).add(" ")
        elif columns.bar:
            row.add_bar(value, columns.bar, CALM, RULE).add(" ")
        row.add("●" if value >= 2 / 3 else "◐" if value >= 1 / 3 else "○", None, 1).add("  ")
    if columns.verifiers:
        found = {score.verifier: score.value for score in node.newest}
        said = [f"{found[name]:.2f}" if name in found else "–" for name in columns.verifiers]
        row.add("/".join(said) if found else "", DIM, 5 * len(said) + 1)
    if columns.low:
        known = [each for each in node.path if each is not None]
        row.add(f"low {min(known):.2f}" if len(known) > 1 else "", DIM, 10)


def sparkline(values: Iterable[float | None]) -> str:
    """One character a value, clipped to [0, 1], higher for more; a dot where there is none."""
    levels = (each if each is None else math.floor(8 * min(1.0, max(0.0, each))) for each in values)
    return "".join("·" if level is None else _LEVELS[min(7, level)] for level in levels)


def path_rows(state: ViewState, width: int, rows: int, gutter: int) -> list[FrameRow]:
    """The steps of the best path, one a row, each with its process score; the newest ``rows``."""
    best = state.best
    if best is None or rows <= 0:
        return []
    marks = trace(state.nodes, best)
    out = []
    for at, mark in enumerate(marks[-rows:]):
        label = f"best #{best}" if not at else ""
        row = FrameRow(width).add(label if gutter else "", DIM, gutter)
        row.add(f"{mark.number:>2} ", DIM)
        if any(each.value is not None for each in marks):
            row.add("" if mark.value is None else f"{mark.value:.2f}", None, 6)
        text = cut(words.shorten(mark.step.text, _STEP_TEXT), row.left)
        out.append(row.add(text, DIM if mark.step.thought else None))
    return out
