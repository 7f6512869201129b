"""What a frame of the live tree costs, beside a plain 28-line frame of one text in the same run.

    python benchmarks/frame_cost.py [--frames 300]

Both go through the same ``rich.live.Live`` on a console that writes to a pseudo terminal of
120 × 30, as at run time. Two states are drawn: a run of 64 candidates of which 32 grow, and a beam
search of 8 beams in its ninth round, some 40 nodes with their steps and process scores of two
verifiers; what grows is a token further in each frame. Also printed: the cost of folding one
decode step of 32 branches. At 8 frames a second, 2.5 ms a frame is 2 % of one core.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable
from statistics import median

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ttc_cli import events
from ttc_cli.types import Answer, AnswerClass, AnswerType, Budget, Candidate, Finish, Problem, Score
from ttc_cli.views.tree import LiveTree

WIDTH, HEIGHT = 120, 30
GROWING, ALL = 32, 64
TEXT = "Let x be the number of apples, so 3 × x + 4 = 19 and therefore x = 5.\n\n"
WORDS = TEXT.split(" ")


def fill(tree: LiveTree) -> None:
    """A run in its middle: half of the candidates ended and voted, half grow."""
    question = "How many apples are left when three friends share them? " * 6
    budget = Budget(max_tokens=20_000, max_seconds=600)
    tree(events.RunStarted(Problem(question), "model", "auto", ("judge",), budget, 0, GROWING))
    tree(events.WaveStarted(1, "majority", ALL, "a first look"))
    for i in range(ALL):
        tree(events.CandidateStarted(i, 1))
    for _ in range(60):
        tree(grew(0, range(ALL)))
    members: dict[str, list[int]] = {}
    for i in range(GROWING, ALL):
        answer = Answer(str(i % 5), str(i % 5), AnswerType.NUMBER)
        members.setdefault(answer.text, []).append(i)
        text = "We add them up.\n\n" * 20 + f"The final answer is \\boxed{{{answer.text}}}."
        tree(events.CandidateEnded(Candidate(i, text, 90, Finish.STOP, answer)))
        tree(events.Scored(i, Score("judge", i / ALL)))
    classes = tuple(
        AnswerClass(Answer(text, text, AnswerType.NUMBER), tuple(ids), float(len(ids)))
        for text, ids in members.items()
    )
    tree(events.Voted(classes, GROWING))
    tree(events.Decided("wave", "7 of 32 agree, settled 0.61 < 0.90: go on"))


def search(tree: LiveTree, rounds: int = 9, beams: int = 8) -> list[int]:
    """A beam search in its last round; returns those that grow."""
    question = "How many apples are left when three friends share them? " * 6
    names = ("judge", "confidence")
    budget = Budget(max_tokens=20_000, max_seconds=600)
    tree(events.RunStarted(Problem(question), "model", "beam", names, budget, 0, beams))
    live = list(range(beams))
    for i in live:
        tree(events.CandidateStarted(i, 0))
    new = beams
    for wave in range(rounds):
        tree(events.WaveStarted(wave, "beam", beams, f"step {wave + 1}: {beams} beams"))
        for step in range(20):
            tree(grew(step, live))
        if wave == rounds - 1:
            return live
        for i in live:
            tree(events.Stepped(i, wave, TEXT, 20))
            for name in names:
                value = (i * 37 + wave * 11 + len(name)) % 100 / 100
                tree(events.Scored(i, Score(name, value, wave)))
        kept, dropped = live[: beams // 2], live[beams // 2 :]
        for i in dropped:
            tree(events.Pruned(i, f"not among the best {beams // 2} of {beams}"))
        live = list(kept)
        for parent in kept:
            tree(events.CandidateStarted(new, wave + 1, parent, wave + 1))
            live.append(new)
            new += 1
    return live


def grew(step: int, ids: Iterable[int]) -> events.Grew:
    """One decode step."""
    texts = {i: WORDS[(step + i) % len(WORDS)] + " " for i in ids}
    return events.Grew(texts, len(texts), 0, step, 8192)


def terminal() -> int:
    """A pseudo terminal that swallows what is written to it; returns its file descriptor."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))

    def drain() -> None:
        while True:
            try:
                if not os.read(ours, 65536):
                    return
            except OSError:
                return

    threading.Thread(target=drain, daemon=True).start()
    return theirs


def measure(frames: int, draw: Callable[[int], None]) -> float:
    """Median milliseconds of processor time of this thread for one call of ``draw``."""
    costs = []
    for frame in range(frames):
        before = time.thread_time()
        draw(frame)
        costs.append(time.thread_time() - before)
    return 1000 * median(costs)


def main() -> None:
    """Print both costs and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=300)
    frames = parser.parse_args().frames
    tree = LiveTree(terminal())
    fill(tree)
    fold = measure(frames, lambda i: tree(grew(i, range(GROWING))))

    def draw_tree(frame: int) -> None:
        tree(grew(frame, range(GROWING)))
        tree.refresh()

    with tree:
        tree_ms = measure(frames, draw_tree) - fold
    searching = LiveTree(terminal())
    live = search(searching)
    fold_live = measure(frames, lambda i: searching(grew(i, live)))

    def draw_search(frame: int) -> None:
        searching(grew(frame, live))
        searching.refresh()

    with searching:
        search_ms = measure(frames, draw_search) - fold_live
    lines = ["The quick brown fox jumps over the lazy dog. " * 4] * 28
    with os.fdopen(terminal(), "w") as file:
        console = Console(file=file, force_terminal=True, width=WIDTH, height=HEIGHT)
        with Live(console=console, auto_refresh=False, transient=True) as plain:

            def draw_plain(frame: int) -> None:
                text = Text("\n".join(line[frame % 40 :][:WIDTH] for line in lines))
                plain.update(text, refresh=True)

            plain_ms = measure(frames, draw_plain)
    print(f"plain 28-line frame   {plain_ms:6.2f} ms")
    print(f"live tree frame       {tree_ms:6.2f} ms   {tree_ms / plain_ms:.2f} × plain")
    print(f"step-wise frame       {search_ms:6.2f} ms   {len(searching.state.nodes)} nodes")
    print(f"fold one decode step  {fold:6.2f} ms   ({GROWING} growing branches)")


if __name__ == "__main__":
    main()
