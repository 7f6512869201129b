"""The seats of a model whose memory is a running state: it is copied where it ends, never cut.

Recurrent and hybrid models (Mamba, gated delta nets, short convolutions) hold one state a
sequence. llama.cpp copies it as it is now (a copy costs nothing until one of both goes on) and
cannot go back to an earlier token. So a node finds a prefix only where another node of its tree
*ends*, what must be shorter is read again from the nearest such place, and a node that grows on
leaves a copy of itself where others have yet to fork off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ttc_cli.engines.llamacpp.cache import KvCache, Node


@dataclass(slots=True)
class RecurrentCache(KvCache):
    """See ``KvCache``."""

    cuts: ClassVar[bool] = False

    def _find_source(self, node: Node, most: int) -> tuple[Node | None, int]:
        """Who of the same tree ends at a prefix of ``node``, as far on as can be."""
        root = node.root
        relatives = [
            other
            for other in self._seated.values()
            if 0 < other.held <= most and other.root is root
        ]
        for other in sorted(relatives, key=lambda other: (-other.held, other.seat)):
            if other.tokens[: other.held] == node.tokens[: other.held]:
                return other, other.held
        return None, 0

    def _shorten(self, node: Node, length: int) -> None:
        """Give up all, for the nearest place before ``length``."""
        self.unseat(node)
        self.seat(node, length)

    def leave(self, node: Node) -> None:
        """Keep a copy of ``node`` as it stands, while others have yet to fork off there.

        Where every other seat is at work there is none: they are read again.
        """
        stand = node.stand
        if stand is None or not stand.unread or stand.kept is not None:
            return
        if not stand.length - 1 <= node.held <= stand.length:
            return
        kept = Node(node.tokens[: node.held], origin=node.origin or node)
        if (self._free or self.evict_idle(node)) and self.seat(kept) == node.held:
            stand.kept = kept

    def restore(self, *, aborted: bool) -> None:
        """An aborted decode may have moved any state: those at work begin anew, the rest go."""
        if aborted:
            nodes = list(self._seated.values())
            for node in nodes:
                self.unseat(node)
            for node in nodes:
                if node.jobs:
                    self.seat(node)
