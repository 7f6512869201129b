"""Going on behind candidates that failed the user's check, with what it printed.

Chen et al. 2023, "Teaching Large Language Models to Self-Debug" (arXiv 2304.05128): what a test
really said is worth more to a model than being asked to look again, and nearly all of the gain
comes with the first turns. Olausson et al. 2023, "Is Self-Repair a Silver Bullet for Code
Generation?" (arXiv 2306.09896): for the same tokens a repair is worth about as much as a new
sample, and more the more different the programs are that repairs begin with. So neither is bet on
alone: half of a wave goes to repairs, one for each program, and the rest is new.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ttc_cli.engines.base import Prompt
from ttc_cli.errors import TemplateError, UsageError
from ttc_cli.prompts import request_repair
from ttc_cli.search.asking import ask_back
from ttc_cli.search.context import SearchContext
from ttc_cli.search.sample import Start
from ttc_cli.search.vote import find_remarks
from ttc_cli.types import Candidate

ROUNDS = 2
"""Repairs one behind the other. The second sees what became of the first; a third would seldom
mend what two did not, and each reads and fills more of the context."""


@dataclass(slots=True)
class Repairs:
    """What of a search's failed candidates was repaired, and what still may be.

    Each candidate is repaired once, and so is each program: the same one fails in the same way.
    ``able``: the model can be asked back.
    """

    context: SearchContext
    able: bool = True
    _requests: dict[int, Prompt] = field(default_factory=dict)
    _programs: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        try:
            chat = self.context.chat
            self.able = chat is not None and bool(chat.follow_up("?"))
        except TemplateError:
            self.able = False

    def may_repair(self, candidate: Candidate) -> bool:
        """Whether it is repaired, should it fail: it came to a program by itself, not too late."""
        return self.able and candidate.answer is not None and self._count_rounds(candidate) < ROUNDS

    def begin(self, most: int) -> list[Start]:
        """At most ``most`` places to grow repairs from, of those that failed first.

        Costs nothing by itself. Depends on the pool alone, so that a resumed run comes to the
        same.
        """
        return [start for id in self._find()[:most] if (start := self._begin(id)) is not None]

    def _find(self) -> list[int]:
        """Those that failed and were not repaired, one for each program.

        Others give their KV back; those that were repaired have lent it to their repairs.
        """
        found, programs = [], set(self._programs)
        for each in self.context.pool.candidates:
            program = "" if each.answer is None else each.answer.key
            failed = each.passed is False and bool(find_remarks(each))
            wanted = failed and each.id not in self._requests and self.may_repair(each)
            if wanted and program not in programs:
                programs.add(program)
                found.append(each.id)
            elif not self.context.reads_branches:  # a verifier may read on from it
                self.context.free(each.id)
        return found

    def _begin(self, id: int) -> Start | None:
        context = self.context
        candidate = self._get(id)
        assert context.chat is not None
        assert candidate.answer is not None
        asked = request_repair(context.problem.answer_type, find_remarks(candidate))
        try:
            self._requests[id] = context.chat.follow_up(asked)
            seen = self._find_line(candidate)
            requests = [self._requests[each] for each in seen]
            branch = ask_back(context, [context.pool.leaves[each] for each in seen], requests)
        except (TemplateError, UsageError):  # an engine that cannot add to what it has grown
            self.able = False
            return None
        self._programs.add(candidate.answer.key)
        return Start(branch, id)

    def _find_line(self, candidate: Candidate) -> list[int]:
        """The candidates that it goes on from, first to last, and itself."""
        line = [candidate.id]
        while (parent := self._get(line[0]).parent) is not None:
            line.insert(0, parent)
        return line

    def _count_rounds(self, candidate: Candidate) -> int:
        parent = candidate.parent
        return 0 if parent is None else len(self._find_line(self._get(parent)))

    def _get(self, id: int) -> Candidate:
        return self.context.pool.leaves[id].candidate
