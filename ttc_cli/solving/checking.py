"""What is to be said of a solution that somebody else wrote."""

from __future__ import annotations

from ttc_cli.ledger import Ledger
from ttc_cli.policy.stage import Stage
from ttc_cli.prompts import build_messages
from ttc_cli.solving.request import Request
from ttc_cli.types import ARITHMETIC, Candidate, Finish, Score, Span
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import Leaf, VerifierContext


async def check(stage: Stage, request: Request, solution: str) -> tuple[Score, ...]:
    """The scores of the judge, who is the generator itself, and of the sums in ``solution``.

    Raises:
        PromptTooLong: question and solution do not fit.
        TemplateError: the model cannot be asked after an answer.
    """
    problem = request.problem
    verifiers = registry.build(["judge", ARITHMETIC], VerifierContext(stage.chat))
    prompt = (*stage.chat.render(build_messages(problem)), Span(solution))
    scores = []
    async with await stage.engine.open(prompt, Ledger(request.budget)) as session:
        leaf = Leaf(Candidate(0, solution, 0, Finish.STOP), session.root)
        for each in verifiers:
            scores += await each.score(session, problem, [leaf])
    return tuple(score for score in scores if score is not None)
