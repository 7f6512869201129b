r"""How generative verifiers are asked for a critique, and how its verdict is read.

* ``thinkprm`` (Khalifa et al. 2025, arXiv 2504.16828; mukhal/ThinkPRM, ``prm/thinkprm_api.py``
  and ``utils/helper.py``): the whole solution in one turn, its steps numbered. The model labels
  each step ``\boxed{correct}`` or ``\boxed{incorrect}``; the score is P(yes) / (P(yes) + P(no))
  after ``Is the solution correct? ``, which is appended where the critique ends.
* ``critique``: the same for any instruct model, which must be told which form to write.
* ``genprm`` (Zhao et al. 2025, arXiv 2504.00891; RyanLiu112/GenPRM,
  ``prm_evaluation/infer_module``): a conversation, a turn for each step. The model writes
  ``<analyze>…</analyze>``; the score is P(Yes) / (P(Yes) + P(No)) after ``**Judgement**:
  $\boxed{``. This is GenPRM without its ``<verify>`` part, which lets Python be run that the
  model wrote: ttc never runs it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ttc_cli.types import Sampling

FormatName = Literal["critique", "thinkprm", "genprm"]

ASKED = "Is the solution correct?"
GENPRM_SYSTEM = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution "
    "step by step."
)
GENPRM_END = "</analyze>"
GENPRM_VERDICT = "\n<output>\n**Judgement**: $\\boxed{"

REMARK = 1000
"""Characters of a critique that are handed back, the last ones: a critic goes from the first step
to the last and stops where one is wrong, or says there what is."""

_REVIEW = (
    "Review and critique each step in the proposed solution to determine whether each step is "
    "correct. If the solution is incomplete, only verify the provided steps."
)
_FORM = (
    "Compute each step yourself and compare. Write one short paragraph for each step, which ends "
    "with \\boxed{correct} or \\boxed{incorrect}. After the last step write "
    f'"{ASKED} Yes" or "{ASKED} No" and stop.'
)
_HEAD = "You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n"
_MIDDLE = "\n\n[Solution]\n\n"
_LABEL = re.compile(
    r"\\boxed\s*\{\s*(?:\\text(?:bf)?\s*\{\s*)?(correct|incorrect)\b", re.IGNORECASE
)
_NUMBERED = re.compile(r"^(?:#+ *)?\**Step \d+\**[:.]\**\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CritiqueFormat:
    """One way to ask for a critique.

    ``turns``: a turn for each step, judged one by one, instead of one turn for all. ``start`` is
    what the critique begins with, ``tokens`` how long it (or that of a step) may be.
    """

    name: FormatName
    turns: bool
    start: str
    tokens: int
    sampling: Sampling


_OWN = Sampling(0.6, 0.95, 20)
FORMATS: dict[str, CritiqueFormat] = {
    each.name: each
    for each in (
        CritiqueFormat("critique", False, "Step 1:", 512, Sampling(0.0)),
        CritiqueFormat("thinkprm", False, "\nLet's verify step by step:", 2048, _OWN),
        CritiqueFormat("genprm", True, "<analyze>\nLet's analyze the Paragraph ", 1024, _OWN),
    )
}


def guess_format(model: str) -> CritiqueFormat:
    """The format that a model of this name was trained for; ``critique`` for any other."""
    plain = re.sub(r"[^a-z]", "", model.lower())
    return FORMATS[next((name for name in ("thinkprm", "genprm") if name in plain), "critique")]


def read_critic(argument: str | None) -> tuple[str, CritiqueFormat | None]:
    """``[MODEL][@FORMAT]``: the model (``""`` for the generator itself) and the format, if given.

    A word after ``@`` that is not a format belongs to the model: a revision.
    """
    model, _, word = (argument or "").rpartition("@")
    return (model, FORMATS[word]) if word in FORMATS else (argument or "", None)


def word_question(problem: str) -> str:
    """What all critiques of one problem's solutions begin with, in a single turn."""
    return f"{_HEAD}{problem}{_MIDDLE}"


def word_solution(steps: Sequence[str], format: CritiqueFormat) -> str:
    """The rest of that turn: the numbered steps and what is to be done."""
    numbered = "\n".join(
        f"Step {i}: {_NUMBERED.sub('', step.strip())}" for i, step in enumerate(steps, 1)
    )
    task = f"{_REVIEW} {_FORM}" if format.name == "critique" else _REVIEW
    return f"{numbered}\n\n{task}"


def word_step(problem: str, step: str, place: int) -> str:
    """A turn of a conversation: the step at ``place`` (from 0), the problem before the first."""
    return step.strip() if place else f"Question: {problem}\n\n{step.strip()}"


def start_step(place: int) -> str:
    """What the analysis of the step at ``place`` begins with."""
    return f"{FORMATS['genprm'].start}{place + 1} step by step: "


def read_remark(critique: str) -> str:
    """What of a critique is worth handing back: its end, without thoughts and without a verdict."""
    said = critique.rpartition("</think>")[2] or critique
    said = said.partition(ASKED)[0].partition(GENPRM_END)[0].strip()
    return said if len(said) <= REMARK else f"…{said[-REMARK:]}"


def read_labels(critique: str) -> list[bool]:
    r"""The verdicts on steps, in the order they were written: whether ``\boxed{correct}``.

    What a reasoning model thought before it began to write does not count.
    """
    written = critique.rpartition("</think>")[2] or critique
    labels = [found[1].lower() == "correct" for found in _LABEL.finditer(written)]
    if not labels and written is not critique:
        labels = [found[1].lower() == "correct" for found in _LABEL.finditer(critique)]
    return labels
