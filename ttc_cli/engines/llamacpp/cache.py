"""Which branch sits where in the KV cache: seats, prefix sharing, eviction.

A ``Node`` is one path of tokens. It can always be read again from its tokens, so losing its seat
(its sequence in the cache) costs time, never work. Seats are given lowest first and taken back
from whoever has gone longest without decoding, so that a run's cache depends on its requests alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ttc_cli.engines.llamacpp.native import Context, Row
from ttc_cli.engines.pooling import StatePool


@dataclass(slots=True, eq=False)
class Node:
    """A path of tokens, and how much of it the cache holds.

    ``tokens[:held]`` are in sequence ``seat`` (−1: none). ``logits`` is the next-token row after
    all of ``tokens``, where it is known without another decode. ``pool`` has the hidden states of
    all that was drawn since the prompt, if that was asked for all the way.
    """

    tokens: list[int]
    origin: Node | None = None
    seat: int = -1
    held: int = 0
    shared: int = 0
    logits: Row | None = None
    touched: int = 0
    jobs: int = 0
    keep: bool = False
    pool: StatePool | None = None

    @property
    def root(self) -> Node:
        """The prompt that this path begins with."""
        node = self
        while node.origin is not None:
            node = node.origin
        return node

    def fork(self) -> Node:
        """A new node that continues from here."""
        pool = self.pool and self.pool.copy()
        return Node(list(self.tokens), origin=self, logits=self.logits, pool=pool)

    def append(self, tokens: list[int]) -> Node:
        """A new node that continues from here with ``tokens``."""
        return Node(tokens=[*self.tokens, *tokens], origin=self) if tokens else self.fork()


@dataclass(slots=True)
class KvCache:
    """The seats of one context. ``clock`` counts decode steps, for least-recently-used order."""

    context: Context
    clock: int = 0
    _free: list[int] = field(default_factory=list)
    _seated: dict[int, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._free = list(range(self.context.sequences - 1, -1, -1))

    @property
    def used(self) -> int:
        """Cells taken, shared prefixes counted once."""
        return sum(node.held - node.shared for node in self._seated.values())

    def touch(self, node: Node) -> None:
        """Note that ``node`` is in use now."""
        node.touched = self.clock

    def seat(self, node: Node) -> int | None:
        """Give ``node`` a sequence, sharing the longest prefix some ancestor still holds.

        Returns:
            The number of tokens that came from the cache, or None if every seat is taken by a
            node that is at work.
        """
        if node.seat >= 0:
            return node.held
        if not self._free and not self.evict_idle(sparing=node):
            return None
        seat = self._free.pop()
        ancestor, reach = node.origin, 0
        while ancestor is not None:
            reach = min(ancestor.held, _common(ancestor.tokens, node.tokens))
            if ancestor.seat >= 0 and reach > 0:
                break
            ancestor, reach = ancestor.origin, 0
        if ancestor is not None:
            self.context.copy(ancestor.seat, seat, reach)
            self.touch(ancestor)
        node.seat, node.held = seat, reach
        node.shared = reach if self.context.unified else 0
        self._seated[seat] = node
        self.touch(node)
        return reach

    def unseat(self, node: Node) -> None:
        """Take ``node``'s cells back; its tokens stay."""
        if node.seat < 0:
            return
        self.context.trim(node.seat, 0)
        del self._seated[node.seat]
        self._free.append(node.seat)
        self._free.sort(reverse=True)
        node.seat, node.held, node.shared = -1, 0, 0

    def trim(self, node: Node, length: int) -> None:
        """Keep the first ``length`` tokens of ``node`` in the cache, and nothing after them."""
        if node.seat >= 0:
            self.context.trim(node.seat, length)
            node.held = min(node.held, length)
            node.shared = min(node.shared, node.held)

    def restore(self) -> None:
        """After an aborted decode: cut every sequence back to what was recorded."""
        for node in self._seated.values():
            self.context.trim(node.seat, node.held)

    def evict_idle(self, sparing: Node | None = None) -> bool:
        """Unseat the node that has been idle longest; prompts of open sessions go last."""
        idle = [node for node in self._seated.values() if node.jobs == 0 and node is not sparing]
        if not idle:
            return False
        self.unseat(min(idle, key=lambda node: (node.keep, node.touched, node.seat)))
        return True


def _common(first: list[int], second: list[int]) -> int:
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:
        return shorter
    return next(i for i in range(shorter) if first[i] != second[i])
