"""The KV seats against a context that only keeps books."""

from collections.abc import Callable

import pytest

from ttc_cli.engines.llamacpp.cache import KvCache, Node
from ttc_cli.engines.llamacpp.recurrent import RecurrentCache


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
def new_cache() -> Callable[..., tuple[KvCache, Books]]:
    def make(sequences: int, remembers: int = 0) -> tuple[KvCache, Books]:
        books = Books(sequences)
        return KvCache(books, remembers), books  # type: ignore[arg-type]

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


def test_the_last_that_rests_gives_its_seat_to_what_goes_on_from_it(new_cache):
    cache, books = new_cache(2)
    busy, old = Node([1]), Node([2, 3, 4])
    for node in (busy, old):
        cache.seat(node)
        feed(cache, books, node)
    busy.jobs = 1
    twig = Node([2, 3, 5], origin=old)
    assert cache.seat(twig) == 2, "what it shares was there"
    assert (twig.seat, old.seat) == (1, -1)
    assert books.held[1] == 2


class States(Books):
    """As ``Books``, of running states: copied as they stand, dropped whole."""

    def copy(self, source: int, target: int, length: int) -> None:
        assert length == self.held[source], "a state is what it is now"
        super().copy(source, target, length)

    def trim(self, sequence: int, length: int) -> None:
        assert length in (0, self.held.get(sequence, 0)), "a state cannot be cut"
        super().trim(sequence, length)


@pytest.fixture
def new_states() -> Callable[[int], tuple[RecurrentCache, Books]]:
    def make(sequences: int) -> tuple[RecurrentCache, Books]:
        books = States(sequences)
        return RecurrentCache(books), books  # type: ignore[arg-type]

    return make


def test_a_running_state_serves_whoever_goes_on_from_its_end(new_states):
    cache, books = new_states(6)
    root = Node([1, 2])
    cache.seat(root)
    feed(cache, books, root)
    trunk = root.append([3, 4])
    cache.seat(trunk)
    feed(cache, books, trunk)
    assert cache.seat(trunk.append([5])) == 4
    assert cache.seat(Node([1, 2, 3, 9], origin=trunk)) == 2, "of the trunk nothing: it went on"
    assert cache.seat(trunk, 3) == 2, "what must be shorter begins again where something ends"
    assert cache.seat(Node([1, 2, 7])) == 0, "another prompt's is not looked at"


def test_who_grows_on_leaves_its_place_to_those_that_wait_there_and_no_longer(new_states):
    cache, books = new_states(4)
    trunk = Node([1, 2, 3])
    cache.seat(trunk)
    feed(cache, books, trunk)
    cache.leave(trunk)
    assert len(books.held) == 1, "nobody waits"
    first, second, third = trunk.fork(), trunk.append([8]), trunk.fork()
    grandchild = third.fork()
    trunk.jobs = 1
    cache.leave(trunk)
    trunk.tokens.append(4)
    feed(cache, books, trunk)
    assert [cache.seat(each) for each in (first, second)] == [3, 3]
    cache.forget(third)
    assert cache.seat(grandchild) == 3
    assert {node.seat for node in (trunk, first, second, grandchild)} == {0, 1, 2, 3}, (
        "the last takes the copy itself"
    )


def test_what_was_let_go_is_found_again_by_what_begins_alike(new_cache):
    cache, books = new_cache(4, 2)
    root = Node([1, 2, 3], keep=True)
    cache.seat(root)
    feed(cache, books, root)
    reply = root.fork()
    reply.tokens += [4, 5]
    cache.seat(reply)
    feed(cache, books, reply)
    cache.forget(reply)
    cache.forget(root)  # the head of what is remembered: not twice
    assert cache.used == 5
    assert (root.seat, reply.seat, reply.held) == (-1, -1, 0)
    turn = Node([1, 2, 3, 4, 9, 9])
    assert cache.seat(turn) == 4
    assert books.held[turn.seat] == 4
    other = Node([7, 8])
    assert cache.seat(other) == 0


def test_what_is_remembered_is_bounded_and_gives_way(new_cache):
    cache, books = new_cache(3, 2)
    for first in range(5):
        node = Node([first, 1, 2])
        cache.seat(node)
        feed(cache, books, node)
        cache.forget(node)
    assert cache.used == 6
    for first, reach in ((2, 0), (4, 3)):
        again = Node([first, 1, 2, 9])
        assert cache.seat(again) == reach
        cache.unseat(again)
    working = [Node([10 + n]) for n in range(3)]
    for node in working:
        assert cache.seat(node) == 0
        node.jobs = 1
    assert cache.used == 0
    assert cache.seat(Node([3, 1, 2])) is None


def test_nothing_is_remembered_unless_it_is_wanted(new_cache):
    cache, books = new_cache(4)
    root = Node([1, 2, 3])
    cache.seat(root)
    feed(cache, books, root)
    cache.forget(root)
    assert cache.used == 0
    assert cache.seat(Node([1, 2, 3])) == 0


def test_what_was_let_go_is_evicted_before_what_rests(new_cache):
    cache, books = new_cache(2, 2)
    resting, gone = Node([1]), Node([2, 3])
    for node in (resting, gone):
        cache.seat(node)
        feed(cache, books, node)
    gone.held = books.held[gone.seat] = 5  # a suffix was scored behind it
    cache.forget(gone)
    assert cache.used == 1 + 2, "and no suffix"
    assert cache.evict_idle()
    assert cache.used == 1
    assert resting.seat >= 0
