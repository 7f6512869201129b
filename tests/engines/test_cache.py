"""The KV seats against a context that only keeps books."""

from collections.abc import Callable

import pytest

from ttc_cli.engines.llamacpp.cache import KvCache, Node


class Books:
    """Stands in for ``native.Context``: which positions each sequence holds."""

    unified = True

    def __init__(self, sequences: int) -> None:
        self.sequences = sequences
        self.held: dict[int, int] = {}

    def copy(self, source: int, target: int, length: int) -> None:
        assert self.held.get(target, 0) == 0, "copied over a used sequence"
        assert self.held[source] >= length
        self.held[target] = length

    def trim(self, sequence: int, length: int) -> None:
        self.held[sequence] = min(self.held.get(sequence, 0), length)


@pytest.fixture
def new_cache() -> Callable[[int], tuple[KvCache, Books]]:
    def make(sequences: int) -> tuple[KvCache, Books]:
        books = Books(sequences)
        return KvCache(books), books  # type: ignore[arg-type]

    return make


def feed(cache: KvCache, books: Books, node: Node) -> None:
    """Decode all of ``node``, as the decoder would."""
    cache.clock += 1
    cache.touch(node)
    node.held = len(node.tokens)
    books.held[node.seat] = node.held


def test_a_fork_shares_its_origins_prefix(new_cache):
    cache, books = new_cache(4)
    root = Node([1, 2, 3])
    assert cache.seat(root) == 0
    feed(cache, books, root)
    twin = root.fork()
    twin.tokens.append(4)
    assert cache.seat(twin) == 3
    assert (root.seat, twin.seat) == (0, 1)
    feed(cache, books, twin)
    assert cache.used == 4


def test_a_branch_that_lost_its_seat_finds_the_nearest_ancestor_still_there(new_cache):
    cache, books = new_cache(4)
    root = Node([1, 2])
    cache.seat(root)
    feed(cache, books, root)
    middle = root.fork()
    middle.tokens += [3, 4]
    cache.seat(middle)
    feed(cache, books, middle)
    leaf = middle.fork()
    leaf.tokens.append(5)
    cache.unseat(middle)
    assert cache.seat(leaf) == 2, "only the prompt is left to share"


def test_when_seats_run_out_the_longest_idle_goes_and_prompts_go_last(new_cache):
    cache, books = new_cache(3)
    root = Node([1], keep=True)
    old, new = Node([2]), Node([3])
    for node in (root, old, new):
        cache.seat(node)
        feed(cache, books, node)
    assert cache.seat(Node([4])) == 0
    assert (root.seat, old.seat, new.seat) == (0, -1, 2)


def test_a_branch_at_work_keeps_its_seat(new_cache):
    cache, books = new_cache(1)
    busy = Node([1])
    cache.seat(busy)
    feed(cache, books, busy)
    busy.jobs = 1
    assert cache.seat(Node([2])) is None
    assert busy.seat == 0
