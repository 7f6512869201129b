"""Short solutions are right more often than long ones (Hassid et al. 2025, arXiv 2505.17813)."""

from dataclasses import dataclass, replace

from ttc_cli.search.conclude import conclude_by_verifier
from ttc_cli.search.context import StrategyEntry
from ttc_cli.search.sample import count_pool, sample_all, verify
from ttc_cli.types import Score
from ttc_cli.verifiers.base import VerifierEntry, WholeVerifier


@dataclass(frozen=True)
class Brevity(WholeVerifier):
    """Scores h / (h + tokens): 1 for nothing at all, 0.5 at ``half`` tokens, towards 0 beyond."""

    half: int = 200
    name: str = "brevity"

    async def score(self, session, problem, leaves):
        return [Score(self.name, self.half / (self.half + x.candidate.tokens)) for x in leaves]


async def shortest_of_n(context):
    """``samples`` independent candidates; the shortest that stated an answer wins."""
    await sample_all(context)
    brief = replace(context, verifiers=(Brevity(),))
    await verify(brief, [each.id for each in context.pool.answered])
    reason = context.pool.halted or f"{context.samples} candidates asked for"
    return conclude_by_verifier(context, await count_pool(context), reason)


SHORTEST = StrategyEntry("shortest-of-n", shortest_of_n, "N candidates, the shortest one")
BREVITY = VerifierEntry(
    "brevity",
    lambda context, argument: Brevity(int(argument or 200)),
    "shorter is better",
    scores="whole",
    cost="nothing",
    argument="[TOKENS]",
)
