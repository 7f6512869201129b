"""The candidate tree of a frame: which branches get a row, and what a row says.

Best path first, then what grows, then what finished, then what was dropped; the rest is counted
in one last row. Rows are drawn as a tree: a branch hangs from its nearest drawn ancestor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from rich.style import Style

from ttc_cli.types import AnswerType, Finish
from ttc_cli.views import words
from ttc_cli.views.cells import Row, cut_front
from ttc_cli.views.state import Node, Status, Tail, ViewState
from ttc_cli.views.styles import BAD, BOLD, CALM, DIM, GOOD, RULE

_RANK = {
    Status.GROWING: 1,
    Status.PAUSED: 2,
    Status.FINISHED: 3,
    Status.UNFINISHED: 4,
    Status.QUEUED: 5,
    Status.PRUNED: 6,
    Status.CANCELLED: 7,
}
_DEEPEST = 64
"""Ancestors looked at; more could only be a cycle or cost time."""
_SCORE_BAR = 6
_ROOMY, _WIDE = 60, 100


def branch_rows(state: ViewState, width: int, rows: int) -> list[Row]:
    """At most ``rows`` rows of ``width`` cells that show the candidates."""
    if rows <= 0:
        return []
    if not state.nodes:
        return [Row(width).add("no candidates yet", DIM)]
    best = state.best
    trail = _trail(state.nodes, best)
    order = sorted(state.nodes.values(), key=lambda node: _rank(node, trail))
    room = rows if len(order) <= rows else rows - 1
    chosen = _choose(state.nodes, order, room)
    hidden = [node for node in order if node.id not in chosen]
    drawn = _hang(state.nodes, order, chosen, max(1, (width - 50) // 5), last=not hidden)
    # Guides grow with depth, and all columns after them move together.
    start = 1 + max((len(guide) + len(str(node.id)) for guide, node in drawn), default=0)
    out = [_branch(guide, start, state, node, best, width) for guide, node in drawn]
    if hidden and len(out) < rows:
        out.append(Row(width).add("└─ ", RULE).add("… " + _count_hidden(hidden), DIM))
    return out


def _trail(nodes: Mapping[int, Node], id_: int | None) -> tuple[int, ...]:
    """``id_`` and its known ancestors, nearest first."""
    trail: list[int] = []
    while id_ is not None and id_ in nodes and id_ not in trail and len(trail) < _DEEPEST:
        trail.append(id_)
        id_ = nodes[id_].parent
    return tuple(trail)


def _rank(node: Node, trail: tuple[int, ...]) -> tuple[int, float, int]:
    if node.id in trail:
        return (0, 0.0, node.id)
    rank = _RANK[node.status]
    score = node.score if node.status is Status.FINISHED else None
    return (rank, -score.value if score is not None else 0.0, node.id)


def _choose(nodes: Mapping[int, Node], order: Iterable[Node], room: int) -> set[int]:
    """The ids that get a row: the first of ``order``, with their ancestors where these fit."""
    chosen: set[int] = set()
    for node in order:
        if len(chosen) >= room:
            break
        if node.id in chosen:
            continue
        family = {node.id}
        if node.parent is not None and not node.dropped:
            family |= set(_trail(nodes, node.parent))
        family -= chosen
        chosen |= family if len(chosen) + len(family) <= room else {node.id}
    return chosen


def _hang(
    nodes: Mapping[int, Node], order: list[Node], chosen: set[int], deepest: int, last: bool
) -> list[tuple[str, Node]]:
    """The chosen nodes in the order they are drawn, each with the guide that leads to it."""
    children: dict[int | None, list[Node]] = {}
    for node in order:
        if node.id in chosen:
            above = _trail(nodes, node.parent)
            parent = next((id_ for id_ in above if id_ in chosen and id_ != node.id), None)
            children.setdefault(parent, []).append(node)
    drawn: list[tuple[str, Node]] = []
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


def _count_hidden(hidden: list[Node]) -> str:
    counts = Counter(node.status for node in hidden)
    names = {Status.QUEUED: "waiting"}
    return " · ".join(
        f"{counts[status]} {names.get(status, status.value)}"
        for status in sorted(counts, key=_RANK.__getitem__)
    )


def _branch(
    guide: str, start: int, state: ViewState, node: Node, best: int | None, width: int
) -> Row:
    tail = state.tails.get(node.id, Tail())
    sign, word, style = _status(node, tail, node.id == best)
    row = Row(width).add(guide, RULE)
    row.add(str(node.id), DIM if node.dropped else None, start - len(guide))
    row.add(f"{sign} ", style)
    row.add(word, style, 20 if width >= _WIDE else 14 if width >= _ROOMY else 9).add(" ")
    if width >= _WIDE:
        row.add(f"{words.count(tail.tokens):>5} tok  ", DIM)
    _add_score(row, node, _SCORE_BAR if width >= _ROOMY else 0)
    if node.reason:
        return row.add(words.shorten(node.reason, row.left), DIM)
    latest = words.one_line(_latest(tail.text, 2 * row.left + 80))
    return row.add(cut_front(latest, row.left), None if node.status is Status.GROWING else DIM)


def _status(node: Node, tail: Tail, best: bool) -> tuple[str, str, Style | None]:
    """A sign, a word and a style. The sign alone tells the status apart without colour."""
    match node.status:
        case Status.GROWING:
            return "▸", f"step {tail.steps}", CALM
        case Status.PAUSED:
            return "‖", f"step {tail.steps}", CALM
        case Status.QUEUED:
            return "·", "waiting", DIM
        case Status.PRUNED | Status.CANCELLED:
            return "×", node.status.value, DIM
        case Status.UNFINISHED if node.answer is None:
            return "✗", words.FINISH_WORDS[node.finish or Finish.LENGTH], BAD
        case Status.FINISHED | Status.UNFINISHED:
            # One that was cut off after it stated an answer votes like a finished one.
            sign = "★" if best else "✓"
            if node.answer is None:
                return "✗", "no answer", BAD
            if node.answer.type is AnswerType.FREE:
                return sign, "finished", GOOD if best else None
            return sign, words.shorten(node.answer.text, 40), GOOD if best else BOLD


def _add_score(row: Row, node: Node, length: int) -> None:
    """Number, bar and sign, or as much empty room."""
    score = node.score
    if score is None or not math.isfinite(score.value):
        row.add("", None, 5 + length + bool(length) + 3)
        return
    sign = "●" if score.value >= 2 / 3 else "◐" if score.value >= 1 / 3 else "○"
    row.add(f"{score.value:.2f} ", None, 5)
    if length:
        row.add_bar(score.value, length, CALM, RULE).add(" ")
    row.add(sign, None, 1).add("  ")


def _latest(text: str, chars: int) -> str:
    """The step a text is in: what follows its last blank line, or the step before if empty."""
    end = text[-chars:].rstrip()
    return end[end.rfind("\n\n") + 1 :]
