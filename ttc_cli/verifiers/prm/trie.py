"""What a process reward model has read of one question: a tree of steps and their scores.

Solutions that share their first steps share the nodes. A node keeps its score for good; its
branch, which holds KV, is given back when nothing has passed there for a while. Coming back to
it then costs reading its path again, never a wrong score.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ttc_cli.engines.base import Branch, Session
from ttc_cli.verifiers.prm.formats import Format

SPARE = 32
"""Branches kept beside those of the paths that were asked about last."""


@dataclass(slots=True, eq=False)
class StepNode:
    """The end of one step. ``score`` is None until it is read; ``branch`` None when given back.

    ``ratio`` is the log-ratio of two models up to here, where that is what scores.
    """

    step: str
    parent: StepNode | None
    branch: Branch | None = None
    score: float | None = None
    ratio: float = 0.0
    asked: int = 0
    children: dict[str, StepNode] = field(default_factory=dict)

    @property
    def path(self) -> list[StepNode]:
        """From the first step to this one."""
        nodes: list[StepNode] = []
        node: StepNode | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class Trie:
    """The steps read on ``session``, which was opened on ``question`` as ``format`` says.

    ``held`` are the nodes whose branches are kept.
    """

    def __init__(self, session: Session, format: Format, question: str) -> None:
        self.session = session
        self._format = format
        self._question = question
        self._root = StepNode("", None, session.root)
        self.held: list[StepNode] = []
        self._clock = 0

    def find(self, steps: Iterable[str]) -> StepNode:
        """The node after ``steps``, made where it is new."""
        node = self._root
        for step in steps:
            if step not in node.children:
                node.children[step] = StepNode(step, node)
            node = node.children[step]
        return node

    def stand(self, node: StepNode) -> Branch:
        """The branch that ends with this node's step; whatever is missing before it is made.

        Nothing is read by this: the engine reads what is new when the branch is scored.
        """
        if node.branch is None:
            parent = node.parent
            assert parent is not None  # the root always has its branch
            before = self.stand(parent)
            if parent is self._root:
                text = self._format.begin(self._question, node.step)
            else:
                text = self._format.go_on(node.step)
            node.branch = self.session.append(before, text)
            self.held.append(node)
        return node.branch

    def release(self, asked: Iterable[StepNode], ended: Iterable[StepNode]) -> None:
        """Give back the branches that are not needed any more.

        The paths of ``asked`` stay, but for ``ended``, which no solution goes on from.
        """
        self._clock += 1
        for node in asked:
            for each in node.path:
                each.asked = self._clock
        idle = {id(node) for node in ended if not node.children}
        spare = [node for node in self.held if node.asked < self._clock]
        # Nothing is older than what hangs below it, so that parents go after their children.
        spare.sort(key=lambda node: (-node.asked, len(node.path)))
        idle |= {id(node) for node in spare[SPARE:]}
        gone = [node for node in self.held if id(node) in idle and node.branch is not None]
        self.session.drop([node.branch for node in gone if node.branch is not None])
        for node in gone:
            node.branch = None
        self.held = [node for node in self.held if node.branch is not None]
