"""A recorded run as one self-contained HTML page, readable without network or scripts.

Model text is hostile. All of it goes through one place, the template's ``{{ }}``: ``clean`` takes
out control and bidirectional characters, Jinja escapes the rest. A content security policy then
allows the page's own style and script, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.events import Event
from ttc_cli.sanitise import clean
from ttc_cli.types import PROSE, Answer, AnswerType, Budget, Result, RoleUsage
from ttc_cli.views import charts, plain, words
from ttc_cli.views.nodes import SIGNS, TreeNode
from ttc_cli.views.record import Life, StageRecord, look_back

if TYPE_CHECKING:
    from jinja2 import Template

_ANSWER_CHARS = 80
_LONG_ANSWER = 40
"""Characters beyond which an answer is set smaller."""
_LONG_QUESTION = 180
"""Characters beyond which a question is a text of its own and no headline."""
_INDENTS = 8
"""Levels of the tree that are indented; deeper ones stand at the last."""
_LANES = 240.0
"""Pixels that the lives of all candidates share, where that leaves each at least two."""
_AFTER = 0.03
"""Part of a run's time that is drawn after its end, so that how it ended is seen."""
_FEW_ROUNDS = 3
"""Rounds of a search that are told one by one; more are folded away."""


def render_page(timed: Iterable[tuple[float, Event]], *, name: str = "", when: str = "") -> str:
    """The page of a run, from its events with the seconds since its start.

    ``name`` is shown small; ``when`` is the date it was recorded, in words.
    """
    record = look_back(timed)
    started = record.stages[0].started
    style, script = _read("page.css"), _read("page.js")
    drawn = _template().render(
        record=record,
        views=[_describe(stage) for stage in record.stages],
        caps=words.caps(started.budget) if started is not None else "",
        name=name,
        when=when,
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
    )
    return drawn.lstrip() + "\n"  # the macros before the first tag leave their line ends


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def expose(value: Any) -> Any:
        """What every expression of the template passes on its way to being escaped."""
        return clean(value) if isinstance(value, str) else value

    room = Environment(
        autoescape=True,
        finalize=expose,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {
        "count": words.count,
        "flops": words.flops,
        "seconds": words.seconds,
        "plural": words.plural,
        "estimate": plain.estimate_words,
        "summary": plain.summary_line,
        "wording": _word_answer,
        "spent_by": _spent_by,
        "indent_level": lambda level: min(level, _INDENTS),
        "bar": lambda value: round(100 * min(1.0, max(0.0, value)), 1),
        "own": Markup,  # the page's own style and script; no other text may pass here
    }
    room.globals |= {
        "AnswerType": AnswerType,
        "FEW_ROUNDS": _FEW_ROUNDS,
        "LONG_ANSWER": _LONG_ANSWER,
        "LONG_QUESTION": _LONG_QUESTION,
    }
    return room.from_string(_read("page.html"))


@cache
def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _describe(stage: StageRecord) -> dict[str, Any]:
    """What the template draws of one stage."""
    room = _AFTER * (stage.ended - stage.began)
    axis = charts.Axis(stage.began, stage.ended + room)
    budget = stage.started.budget if stage.started is not None else Budget()
    winner = stage.winner
    return {
        "ticks": axis.ticks(),
        "marks": charts.mark_moments(axis, stage.moments),
        "layers": charts.draw_vote(axis, stage, lambda one: _word_answer(one.answer)),
        "tokens": charts.draw_curve(axis, stage.spending, lambda s: s.tokens, budget.max_tokens),
        "flops": charts.draw_curve(axis, stage.spending, lambda s: s.flops, budget.max_flops),
        "spending": charts.pick(stage.spending, charts.ROWS),
        "place": axis.place,
        "lane": min(10.0, max(2.0, _LANES / max(1, len(stage.lives)))),
        "path": stage.path(winner),
        "passages": stage.passages(winner),
        "form": next((_word_form(life.node) for life in stage.lives if life.node.id == winner), ""),
        "rows": [_row(life, stage) for life in stage.lives],
    }


def _row(life: Life, stage: StageRecord) -> dict[str, Any]:
    """How one candidate is shown: a sign, a word, a kind for its colour, and why it ended."""
    node = life.node
    sign, word = _sign(node, best=node.id == stage.winner)
    kind = "gone" if node.dropped else "silent" if sign == "✗" else "answered"
    if sign == "★":
        kind = "best"
    return {
        "life": life,
        "sign": sign,
        "word": word,
        "kind": kind,
        "finite": [s for s in node.newest if math.isfinite(s.value)],
        "answer": _word_answer(node.answer) if node.answer is not None else "",
        "form": _word_form(node),
    }


def _sign(node: TreeNode, *, best: bool) -> tuple[str, str]:
    if node.answer is not None and not node.dropped:
        return ("★", "chosen") if best else ("✓", "answered")
    if node.status in SIGNS:
        return SIGNS[node.status], node.status.word
    reason = words.FINISH_WORDS[node.finish] if node.finish is not None else "no answer"
    if node.failed and reason == "finished":
        return "✗", "failed"
    return "✗", "no answer" if reason == "finished" else reason


def _word_form(node: TreeNode) -> str:
    """The form of a candidate, where it is not prose as ever."""
    return "" if node.form == PROSE else words.shorten(node.form, 20)


def _word_answer(answer: Answer) -> str:
    """An answer as a label. A free-form one is a whole text: its beginning stands for it."""
    return words.shorten(answer.text, _ANSWER_CHARS) or "(empty)"


def _spent_by(result: Result) -> list[tuple[str, RoleUsage]]:
    roles = (("Generator", result.usage.generator), ("Verifier", result.usage.verifier))
    return [(name, role) for name, role in roles if role != RoleUsage()]
