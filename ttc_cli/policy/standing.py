"""How the two leading answers stand, where votes of several forms do not weigh the same.

Candidates of one form share their misreadings: two programs that agree prove less than a program
and a solution in prose, which agree for other reasons (CoT-PoT ensembling, arXiv 2604.17433). A
form's first vote counts ``FormTraits.first``, each further one ``FormTraits.further``, and that
another form agrees counts ``FormTraits.accord`` on top. Prose alone counts heads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ttc_cli.types import PROSE, AnswerClass, AnswerType, Candidate


@dataclass(frozen=True, slots=True)
class FormTraits:
    """What a policy knows of a form's candidates.

    Attributes:
        cost: tokens of one, as a share of a candidate in prose.
        first: what the first vote for an answer counts, in votes of prose.
        further: what each further one counts.
        accord: what it counts on top that an answer has votes of this form and of prose.
        weight: of such a candidate's vote where the answer is chosen.
        types: of answers that they are drawn for. Empty: any that the form can state.
        retry: whether one that came to nothing goes on behind what came of it.
    """

    cost: float = 1.0
    first: float = 1.0
    further: float = 1.0
    accord: float = 0.0
    weight: float = 1.0
    types: tuple[AnswerType, ...] = ()
    retry: bool = False

    def suits(self, type: AnswerType) -> bool:
        """Whether candidates of this form are drawn for answers of ``type``."""
        return not self.types or type in self.types


PLAIN = FormTraits()
"""Of prose, and of any form that nothing is known of."""

Votes = Mapping[str, int]
"""How many candidates, by form."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Votes of the leading answer and of the next, and all that were heard, each by form."""

    leader: Votes = field(default_factory=dict)
    runner_up: Votes = field(default_factory=dict)
    heard: Votes = field(default_factory=dict)
    traits: Mapping[str, FormTraits] = field(default_factory=dict)

    def weigh(self, votes: Votes) -> float:
        """What ``votes`` for one answer prove, in votes of prose."""
        total = 0.0
        for form, count in votes.items():
            if count:
                traits = self.traits.get(form, PLAIN)
                total += traits.first + (count - 1) * traits.further
                total += traits.accord if votes.get(PROSE) and form != PROSE else 0.0
        return total

    def cost(self, form: str) -> float:
        """Of one candidate of ``form``, in candidates of prose."""
        return self.traits.get(form, PLAIN).cost

    @property
    def strengths(self) -> tuple[float, float]:
        """What the votes of the leader prove, and those of the runner-up."""
        return self.weigh(self.leader), self.weigh(self.runner_up)

    @property
    def led(self) -> int:
        """Candidates that agree with the leader."""
        return sum(self.leader.values())

    @property
    def tied(self) -> bool:
        """Whether the runner-up has as many votes."""
        return self.led == sum(self.runner_up.values())


def take_stand(
    classes: Sequence[AnswerClass],
    heard: Iterable[Candidate],
    candidates: Iterable[Candidate],
    traits: Mapping[str, FormTraits],
    slipped: frozenset[int] = frozenset(),
) -> Standing:
    """How ``classes``, the leader first, stand; votes of ``slipped`` are not counted."""
    forms = {each.id: each.form for each in candidates}
    votes = [
        Counter(forms.get(id, PROSE) for id in each.members if id not in slipped)
        for each in classes
    ]
    standing = Standing(heard=Counter(each.form for each in heard), traits=traits)
    if not votes:
        return standing
    leader, *others = votes
    runner_up = max(others, key=standing.weigh, default=Counter[str]())
    return Standing(leader, runner_up, standing.heard, traits)


def head_count(leader: int, runner_up: int, heard: int) -> Standing:
    """A standing of candidates in prose alone."""
    return Standing({PROSE: leader}, {PROSE: runner_up}, {PROSE: heard})
