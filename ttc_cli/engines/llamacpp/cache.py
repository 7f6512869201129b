"""Which branch sits where in the KV cache: seats, prefix sharing, eviction.

A ``Node`` is one path of tokens. It can always be read again from its tokens, so losing its seat
(its sequence in the cache) costs time, never work. Seats are given lowest first and taken back
from whoever has gone longest without decoding, so that a run's cache depends on its requests alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ttc_cli.engines.llamacpp.native import Context, Row
from ttc_cli.engines.pooling import StatePool


@dataclass(slots=True, eq=False)
class Stand:
    """Where nodes were forked off another: after its first ``length`` tokens.

    ``unread`` of them have had no seat yet; ``kept`` holds the place for them, where the cache
    could not give it to them later (``recurrent``).
    """

    length: int
    unread: int = 0
    kept: Node | None = None


@dataclass(slots=True, eq=False)
class Node:
    """A path of tokens, and how much of it the cache holds.

    ``tokens[:held]`` are in sequence ``seat`` (−1: none). ``logits`` is the next-token row after
    all of ``tokens``, where it is known without another decode. ``stand`` is where others forked
    off last, ``awaits`` where it forked off itself, until it has had a seat. ``pool`` has the
    hidden states of all that was drawn since the prompt, if that was asked for all the way.
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
    stand: Stand | None = None
    awaits: Stand | None = None

    @property
    def root(self) -> Node:
        """The prompt that this path begins with."""
        node = self
        while node.origin is not None:
            node = node.origin
        return node

    def fork(self) -> Node:
        """A new node that continues from here."""
        pool, stand = self.pool and self.pool.copy(), self._stand_here()
        return Node(list(self.tokens), origin=self, logits=self.logits, awaits=stand, pool=pool)

    def append(self, tokens: list[int]) -> Node:
        """A new node that continues from here with ``tokens``."""
        if not tokens:
            return self.fork()
        return Node(tokens=[*self.tokens, *tokens], origin=self, awaits=self._stand_here())

    def _stand_here(self) -> Stand:
        """Where this node ends, with one more to come from there."""
        if self.awaits is not None:  # never read itself: both come from the same place
            stand = self.awaits
        elif self.stand is not None and self.stand.length == len(self.tokens):
            stand = self.stand
        else:
            stand = self.stand = Stand(len(self.tokens))
        stand.unread += 1
        return stand


@dataclass(slots=True)
class KvCache:
    """The seats of one context. ``clock`` counts decode steps, for least-recently-used order.

    ``remembers`` is how many paths that were let go keep their cells, as long as nobody needs them:
    what begins alike later is not read again. ``cuts``: what a sequence holds can be cut back to
    any of its tokens; else nothing is remembered.
    """

    cuts: ClassVar[bool] = True

    context: Context
    remembers: int = 0
    clock: int = 0
    _past: list[Node] = field(default_factory=list)
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

    def seat(self, node: Node, most: int | None = None) -> int | None:
        """Give ``node`` a sequence, with the longest prefix that some other node still holds.

        Args:
            node: whom.
            most: tokens that it may hold then; None is all of them.

        Returns:
            The number of tokens that came from the cache, or None if every seat is taken by a
            node that is at work.
        """
        most = len(node.tokens) if most is None else most
        if node.seat >= 0 and node.held > most:
            self._shorten(node, most)
        if node.seat >= 0:
            return node.held
        source, reach = self._find_source(node, most)
        stand = node.awaits
        kept = stand.kept if stand is not None and stand.unread == 1 else None
        moved = source is not None and source is kept
        if not moved and (self._free or self.evict_idle(node, source)):
            seat, shared = self._free.pop(), reach if self.context.unified else 0
            if source is not None:
                self.context.copy(source.seat, seat, reach)
                self.touch(source)
        elif source is not None and source.jobs == 0:  # the last that rests, or kept for this one
            seat, shared = source.seat, min(source.shared, reach)
            if reach < source.held:
                self.context.trim(seat, reach)
            source.seat, source.held, source.shared = -1, 0, 0
            if source in self._past:
                self._past.remove(source)
        else:
            return None
        node.seat, node.held, node.shared = seat, reach, shared
        self._seated[seat] = node
        self.touch(node)
        self._arrive(node)
        return reach

    def _find_source(self, node: Node, most: int) -> tuple[Node | None, int]:
        """Who holds a prefix of ``node``, and how many tokens of it (at most ``most``)."""
        ancestor = node.origin
        while ancestor is not None:
            reach = min(ancestor.held, most, _common(ancestor.tokens, node.tokens))
            if ancestor.seat >= 0 and reach > 0:
                return ancestor, reach
            ancestor = ancestor.origin
        return self._recall(node, most)

    def _recall(self, node: Node, most: int) -> tuple[Node | None, int]:
        """The path that was let go and begins most like ``node``, and how far."""
        best: Node | None = None
        reach = 0
        for each in self._past:
            common = min(each.held, most, _common(each.tokens, node.tokens))
            if common > reach:
                best, reach = each, common
        return best, reach

    def _arrive(self, node: Node) -> None:
        """``node`` needs the place where it was forked off no more."""
        stand, node.awaits = node.awaits, None
        if stand is not None:
            stand.unread -= 1
            if not stand.unread and stand.kept is not None:
                self.unseat(stand.kept)
                stand.kept = None

    def leave(self, node: Node) -> None:
        """``node`` is about to grow away from where it stands, and others may fork off there."""

    def forget(self, node: Node) -> None:
        """Free what ``node`` holds and what is held for it, or remember it."""
        self._arrive(node)
        if node.seat >= 0 and node.held > 0 and self.remembers and self.cuts:
            self._remember(node)
        self.unseat(node)

    def _remember(self, node: Node) -> None:
        """Keep what ``node`` holds as a path of nobody's, and none that is the head of another."""
        self.trim(node, len(node.tokens))  # and no suffix that was scored behind it
        past = Node(node.tokens[: node.held], seat=node.seat, held=node.held)
        past.shared, past.touched = node.shared, node.touched
        self._seated[node.seat] = past
        node.seat, node.held, node.shared = -1, 0, 0
        self._past.append(past)
        for each in list(self._past):
            longer = (other for other in self._past if other is not each)
            heir = next((o for o in longer if _common(each.tokens, o.tokens) == each.held), None)
            if heir is not None:  # which alone has the cells now that both had
                heir.shared = min(heir.shared, each.shared)
                self.unseat(each)
        if len(self._past) > self.remembers:
            self.unseat(self._past[0])

    def unseat(self, node: Node) -> None:
        """Take ``node``'s cells back; its tokens stay."""
        if node.seat < 0:
            return
        if node in self._past:
            self._past.remove(node)
        self.context.trim(node.seat, 0)
        del self._seated[node.seat]
        self._free.append(node.seat)
        self._free.sort(reverse=True)
        node.seat, node.held, node.shared = -1, 0, 0

    def trim(self, node: Node, length: int) -> None:
        """Keep the first ``length`` tokens of ``node`` in the cache, and nothing after them."""
        if node.seat >= 0 and node.held > length:
            self._shorten(node, length)

    def _shorten(self, node: Node, length: int) -> None:
        self.context.trim(node.seat, length)
        node.held = length
        node.shared = min(node.shared, length)

    def restore(self, *, aborted: bool) -> None:
        """After a decode that failed, or was ``aborted``: bring back what was recorded."""
        for node in self._seated.values():
            self.context.trim(node.seat, node.held)

    def evict_idle(self, *sparing: Node | None) -> bool:
        """Unseat the node that has been idle longest.

        Those that were let go are first, prompts of open sessions last.
        """
        idle = [node for node in self._seated.values() if node.jobs == 0 and node not in sparing]
        if not idle:
            return False

        def rank(node: Node) -> tuple[bool, bool, int, int]:
            return node not in self._past, node.keep, node.touched, node.seat

        self.unseat(min(idle, key=rank))
        return True


def _common(first: list[int], second: list[int]) -> int:
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:
        return shorter
    return next(i for i in range(shorter) if first[i] != second[i])
