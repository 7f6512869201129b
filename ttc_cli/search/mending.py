"""Going on from what is known to be wrong: a sum, or a program that failed.

Tyen et al. 2024, "LLMs cannot find reasoning errors, but can correct them given the error location"
(arXiv 2311.08516): of a wrong sum the location is known for certain, and so is what belongs there;
of a program that failed, the interpreter's own word (tool-integrated reasoning, arXiv 2409.12122).
All that was written before is kept, with its KV; only the rest is drawn.
"""

from __future__ import annotations

from ttc_cli.engines.base import Session, Span
from ttc_cli.errors import UsageError
from ttc_cli.forms.base import FormEntry
from ttc_cli.search.context import SearchContext
from ttc_cli.search.sample import Start
from ttc_cli.types import ARITHMETIC
from ttc_cli.verifiers.arithmetic.sums import find_first
from ttc_cli.verifiers.arithmetic.verifier import ArithmeticVerifier
from ttc_cli.verifiers.base import Leaf, Verifier, WeightedVerifier

_SUMS: Verifier = WeightedVerifier(ArithmeticVerifier(), 0.0)
"""What works out the sums where nobody asked for it: it is shown, and weighs nothing as a score."""


async def work_out_sums(context: SearchContext, id: int) -> None:
    """Note whether candidate ``id`` wrote a sum that is wrong.

    As the user's own ``--verifier arithmetic`` if there is one; else only wrong ones are told.
    """
    leaf = context.pool.leaves[id]
    asked = next((each for each in context.verifiers if each.name == ARITHMETIC), _SUMS)
    (score,) = await asked.score(context.session, context.problem, [leaf])
    if score is not None and (asked is not _SUMS or score.value < 1.0):
        context.add_score(id, score)


def begin_behind_failure(session: Session, leaf: Leaf, form: FormEntry) -> Start | None:
    """A branch that goes on behind ``leaf``, with what came of it; None where it cannot."""
    candidate = leaf.candidate
    told = form.retry(candidate)
    if leaf.branch is None or told is None:
        return None
    try:
        branch = session.append(leaf.branch, (Span(told),))
    except UsageError:  # the engine cannot
        return None
    return Start(branch, candidate.id, candidate.text + told, candidate.tokens, form.name)


def begin_at_slip(session: Session, leaf: Leaf) -> Start | None:
    """A branch that ends with the right number in place of the first wrong one of ``leaf``.

    None where no sum is wrong, where it is not certain what to write, or where the engine
    cannot go on from the middle of a candidate. Costs nothing by itself.
    """
    text = leaf.candidate.text
    slip = find_first(text)
    if leaf.branch is None or slip is None or slip.place is None:
        return None
    try:
        before = session.cut(leaf.branch, text[slip.place :])
        branch = session.append(before, (Span(slip.correction),))
    except UsageError:  # it cannot cut, or these tokens do not spell the text
        return None
    session.drop([before])
    tokens = round(leaf.candidate.tokens * slip.place / len(text))
    written = text[: slip.place] + slip.correction
    return Start(branch, leaf.candidate.id, written, tokens, leaf.candidate.form)
