"""The decode loop: all outstanding work of all sessions, in one batch per step.

Synchronous and single-threaded; ``engine`` runs it on its own thread and keeps searches away
while it steps. One step ends what may spend no more, seats what waits, assembles a batch (one
token for each growing branch, then suffixes to score and prompts to read, as far as they fit),
decodes, and hands each row to its owner. Nothing in here depends on the wall clock except a
run's own time cap.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

from ttc_cli.engines.base import Growth, Until
from ttc_cli.engines.llamacpp.cache import KvCache, Node
from ttc_cli.engines.llamacpp.constraint import draw_allowed, include
from ttc_cli.engines.llamacpp.distribution import (
    label_probabilities,
    likely_tokens,
    log_probability,
    self_certainties,
)
from ttc_cli.engines.llamacpp.jobs import (
    Account,
    Feed,
    Growing,
    Owner,
    PromptReading,
    Scoring,
    StateReading,
)
from ttc_cli.engines.llamacpp.native import NO_SLOT, Context, NativeModel, Row
from ttc_cli.engines.llamacpp.recurrent import RecurrentCache
from ttc_cli.engines.trace import LOOP_STRIDE, repeats
from ttc_cli.errors import PromptTooLong
from ttc_cli.events import Grew
from ttc_cli.types import EngineInfo, Finish, Role

if TYPE_CHECKING:
    from ttc_cli.engines.states import Vector


class Decoder:
    """Queues and the step over them; with ``certainty`` it notes every draw's self-certainty."""

    def __init__(
        self,
        model: NativeModel,
        context: Context,
        info: EngineInfo,
        *,
        certainty: bool,
        remembers: int = 0,
    ) -> None:
        self.model = model
        self.context = context
        kind = RecurrentCache if context.recurrent else KvCache
        self.cache = kind(context, remembers)
        self.info = info
        # With hidden states on, llama.cpp decodes running states one sequence after the other: to
        # read them again afterwards costs less than to grow so.
        self.pools = bool(info.states) and self.cache.cuts
        self.certainty = certainty
        self.accounts: list[Account] = []
        self.readings: list[PromptReading] = []
        self.scorings: list[Scoring] = []
        self.states: list[StateReading] = []
        self.waiting: deque[Growing] = deque()
        self.growing: list[Growing] = []
        self.interrupted = False
        self.held: frozenset[int] = frozenset()
        """Meters, by ``id``, of runs that the next step leaves as they are."""
        self.deadline = math.inf
        self._room = info.parallel
        context.stop_when(lambda: self.interrupted or time.monotonic() > self.deadline)

    def has_work(self) -> bool:
        """Whether a step would do anything."""
        jobs = (self.readings, self.scorings, self.states, self.waiting, self.growing)
        return any(not self._holds(each.account) for queue in jobs for each in queue)

    def _holds(self, account: Account) -> bool:
        return id(account.meter) in self.held

    # -- what sessions ask for; never called during a step ----------------------------------

    def end(self, jobs: list[Growing], finish: Finish) -> None:
        """Stop these growing jobs now."""
        for job in jobs:
            self._finish(job, finish)

    def lower_limit(self, jobs: list[Growing], limit: int) -> None:
        """Lower the token limit of these jobs."""
        for job in jobs:
            job.limit = min(job.limit, max(1, limit))
            if job.drawn >= job.limit:
                self._finish(job, Finish.LENGTH)

    def forget(self, node: Node) -> None:
        """Free what ``node`` holds."""
        self.cache.forget(node)
        node.logits = None
        self._room = self.info.parallel

    def leave(self, account: Account) -> None:
        """Forget what a session that closes still wanted to know."""
        for row in self.scorings:
            if row.account is account:  # it may hold a seat on a fork that nobody else knows
                self._settle(row, ())
        self.scorings = [row for row in self.scorings if row.account is not account]
        self.readings = [reading for reading in self.readings if reading.account is not account]
        self.states = [state for state in self.states if state.account is not account]
        if account in self.accounts:
            self.accounts.remove(account)

    # -- one step --------------------------------------------------------------------------

    def step(self) -> bool:
        """Do one decode step; False where there was nothing that could be decoded.

        Errors of the library pass through; nothing recorded is lost.
        """
        self.cache.clock += 1
        self._end_exhausted()
        self._settle_known()
        if self.states and self._read_states():
            self._book()
            return True
        self._admit()
        feeds = self._assemble()
        decoded = bool(feeds)
        while feeds:
            # With hidden states on every token of a batch becomes a row, so that what is read
            # beside the branches that draw has a batch of its own.
            drawing = [feed for feed in feeds if _is_pooled(*feed)]
            rest = [feed for feed in feeds if not _is_pooled(*feed)]
            if self._decode(drawing, pool=True) and self._decode(rest):
                break
            feeds = self._assemble()
        self._book()
        return decoded

    def _decode(self, feeds: list[Feed], *, pool: bool = False) -> bool:
        """Decode ``feeds`` and hand out their rows; False where there was no room, or no time."""
        if not feeds:
            return True
        tokens: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        outputs: list[int] = []
        owners: list[tuple[Owner, Node]] = []
        for owner, node, piece, wanted in feeds:
            tokens += piece
            positions += range(node.held, node.held + len(piece))
            sequences += [node.seat] * len(piece)
            outputs += range(len(tokens) - wanted, len(tokens))
            owners += [(owner, node)] * wanted
        self.deadline = self._nearest_deadline()
        if pool:
            code = self.context.decode_states(tokens, positions, sequences)
        else:
            code = self.context.decode(tokens, positions, sequences, outputs)
        if code != 0:
            self.cache.restore(aborted=code != NO_SLOT)
            if code == NO_SLOT:
                self._make_room()
            else:
                self._end_exhausted()
            return False
        if pool:
            for (_, node), state in zip(owners, self.context.states(len(owners)), strict=True):
                _collect(node, state)
        self._commit(feeds)
        self._deliver(owners)
        return True

    def _nearest_deadline(self) -> float:
        awake = (account for account in self.accounts if not self._holds(account))
        left = [account.meter.remaining_seconds() for account in awake]
        known = [seconds for seconds in left if seconds is not None]
        return time.monotonic() + min(known) if known else math.inf

    def _end_exhausted(self) -> None:
        for account in self.accounts:
            if self._holds(account) or not (self.interrupted or account.meter.exhausted()):
                continue
            finish = Finish.CANCELLED if self.interrupted else Finish.BUDGET
            mine = [job for job in (*self.growing, *self.waiting) if job.account is account]
            self.end(mine, finish)
            for row in self.scorings:
                if row.account is account:
                    self._settle(row, ())
            for reading in self.readings:
                reading.done = reading.done or reading.account is account
            for state in [state for state in self.states if state.account is account]:
                self._settle_state(state)
        self.scorings = [row for row in self.scorings if row.value is None]
        self.readings = [reading for reading in self.readings if not reading.done]

    def _admit(self) -> None:
        fresh: list[tuple[Growing, Row]] = []
        for job in [each for each in self.waiting if not self._holds(each.account)]:
            if len(self.growing) >= min(self.info.parallel, self._room):
                break
            seated_before = job.node.seat >= 0
            reused = self.cache.seat(job.node)
            if reused is None:
                break
            if not seated_before:
                job.account.reused[job.account.role] += reused
            self.waiting.remove(job)
            job.node.jobs += 1
            self.growing.append(job)
            self.cache.leave(job.node)
            if job.node.logits is not None:
                fresh.append((job, job.node.logits))
        for job, row in fresh:
            self._draw([job], row.reshape(1, -1))

    def _assemble(self) -> list[Feed]:
        """What the next batch holds: owner, node, tokens to feed, how many rows are wanted."""
        room, rows = self.context.batch, self.context.outputs
        feeds: list[Feed] = []

        def feed(owner: Owner, node: Node, tokens: list[int]) -> None:
            nonlocal room, rows
            if node.held >= len(tokens):  # nothing left to read but the row: read the last again
                self.cache.seat(node, len(tokens) - 1)
            piece = tokens[node.held : node.held + room]
            complete = node.held + len(piece) == len(tokens)
            if complete and node.pool is not None and len(piece) > 1:
                piece, complete = piece[:-1], False  # the last one in a batch that gives its state
            feeds.append((owner, node, piece, complete))
            room -= len(piece)
            rows -= complete
            self.cache.touch(node)

        for job in self.growing:
            if room and rows and not self._holds(job.account):
                feed(job, job.node, job.node.tokens)
        for row in self.scorings:
            if room and rows and not self._holds(row.account) and self._place(row):
                node = row.borrowed or row.node
                if row.since is None:
                    feed(row, node, row.node.tokens + row.suffix)
                    continue
                before = row.since - 1  # the row after this token tells how likely the next one is
                self.cache.seat(node, before)
                end = min(len(node.tokens) - 1, node.held + room, before + rows)
                wanted = max(0, end - before)
                feeds.append((row, node, node.tokens[node.held : end], wanted))
                room -= end - node.held
                rows -= wanted
                self.cache.touch(node)
        for reading in self.readings:
            if not (room and rows) or self._holds(reading.account):
                continue
            seated_before = reading.node.seat >= 0
            reused = self.cache.seat(reading.node)
            if reused is not None:
                reading.account.reused[reading.account.role] += 0 if seated_before else reused
                feed(reading, reading.node, reading.node.tokens)
        for state in self.states:
            if not state.seated or self._holds(state.account):
                continue
            node, before = state.node, state.pool.reached
            if room and node.held < before:  # what lies before, and no row
                piece = node.tokens[node.held : min(before, node.held + room)]
                feeds.append((state, node, piece, False))
                room -= len(piece)
                self.cache.touch(node)
        return feeds

    def _read_states(self) -> bool:
        """Read on in all whose states are wanted, hidden states on; False if none is ready.

        The row of logits after the last token is kept: growing on then reads nothing again.
        """
        awake = [each for each in self.states if not self._holds(each.account)]
        for state in awake[: self.context.outputs]:
            if not state.seated:
                reused = self.cache.seat(state.node, state.pool.reached)
                if reused is None:
                    break
                state.account.reused[Role.VERIFIER] += min(reused, state.pool.reached)
                state.seated = True
                state.node.jobs += 1
        ready = [s for s in awake if s.seated and s.node.held == s.pool.reached]
        room = min(self.context.outputs, self.context.batch)
        feeds: list[tuple[StateReading, list[int]]] = []
        for state in ready:
            piece = state.node.tokens[state.pool.reached : state.pool.reached + room]
            if piece:
                feeds.append((state, piece))
                room -= len(piece)
        if not feeds:
            return False
        self.deadline = self._nearest_deadline()
        code = self.context.decode_states(
            [token for _, piece in feeds for token in piece],
            [state.pool.reached + i for state, piece in feeds for i in range(len(piece))],
            [state.node.seat for state, piece in feeds for _ in piece],
        )
        if code != 0:
            self.cache.restore(aborted=code != NO_SLOT)
            if code == NO_SLOT:
                self._make_room()
            return True
        count = sum(len(piece) for _, piece in feeds)
        block, vectors = self.context.logits(count), self.context.states(count)
        row = 0
        for state, piece in feeds:
            for token in piece:
                state.pool.step_ends = state.steps.ends_with(self.model.piece(token))
                state.pool.add(vectors[row])
                row += 1
            node = state.node
            node.held += len(piece)
            state.account.prompt[Role.VERIFIER] += len(piece)
            state.account.rows[Role.VERIFIER] += len(piece)
            if node.held == len(node.tokens):
                node.logits = block[row - 1].copy()
                state.value = state.pool.summarise()
                self._settle_state(state)
        return True

    def _settle_state(self, state: StateReading) -> None:
        state.done = True
        self.states.remove(state)
        if state.seated:
            state.node.jobs -= 1

    def _place(self, row: Scoring) -> bool:
        """Seat a row: on the branch itself if that rests and stays as it is, else on a fork."""
        if row.borrowed is None:
            stays = row.node.jobs == 0 and (self.cache.cuts or not row.suffix)
            node = row.node if stays else Node(row.node.tokens, origin=row.node)
            most = None if row.since is None else row.since - 1
            reused = self.cache.seat(node, most)  # all that it holds, where it had a seat
            if reused is None:
                return False
            row.account.reused[Role.VERIFIER] += reused
            node.jobs += 1
            row.borrowed = node
        return row.borrowed.seat >= 0 or self.cache.seat(row.borrowed) is not None

    def _commit(self, feeds: list[Feed]) -> None:
        for owner, node, piece, complete in feeds:
            node.held += len(piece)
            self.cache.leave(node)
            scored = isinstance(owner, Scoring | StateReading)
            role = Role.VERIFIER if scored else owner.account.role
            # The last token that a growing branch feeds is one it drew; all before is read again.
            read = len(piece) - (complete and isinstance(owner, Growing))
            owner.account.prompt[role] += read
            owner.account.rows[role] += len(piece)

    def _deliver(self, owners: list[tuple[Owner, Node]]) -> None:
        if not owners:
            return
        block = self.context.logits(len(owners))
        drawing = [(i, owner) for i, (owner, _) in enumerate(owners) if isinstance(owner, Growing)]
        if drawing:
            first, last = drawing[0][0], drawing[-1][0] + 1  # growing rows lead the batch
            self._draw([owner for _, owner in drawing], block[first:last])
        for i, (owner, node) in enumerate(owners):
            if isinstance(owner, Scoring) and owner.since is not None:
                owner.likelihood += log_probability(block[i], node.tokens[owner.since])
                owner.since += 1
                if owner.since == len(node.tokens):
                    self._settle(owner, (owner.likelihood,))
            elif isinstance(owner, Scoring):
                if node is owner.node and not owner.suffix and not self.cache.cuts:
                    node.logits = block[i].copy()
                self._settle(owner, label_probabilities(block[i], owner.groups))
            elif isinstance(owner, PromptReading):
                node.logits = block[i].copy()
                owner.done = True
        self.scorings = [row for row in self.scorings if row.value is None]
        self.readings = [reading for reading in self.readings if not reading.done]

    def _settle_known(self) -> None:
        """Settle rows that need no decode, where to read one once more would be to read much."""
        for row in self.scorings:
            if row.since is not None:
                if row.since >= len(row.node.tokens):
                    self._settle(row, (row.likelihood,))
            elif self.cache.cuts:
                continue
            elif row.node.logits is not None and not row.suffix:
                self._settle(row, label_probabilities(row.node.logits, row.groups))
        self.scorings = [row for row in self.scorings if row.value is None]

    def _settle(self, row: Scoring, value: tuple[float, ...]) -> None:
        row.value = value
        node = row.borrowed
        if node is None:
            return
        node.jobs -= 1
        if node is row.node:
            self.cache.trim(node, len(node.tokens))
        else:
            self.cache.unseat(node)
        row.borrowed = None

    def _draw(self, jobs: list[Growing], block: Row) -> None:
        if self.certainty:
            for job, value in zip(jobs, self_certainties(block), strict=True):
                job.trace.certainties.append(float(value))
        warmest = max(job.request.sampling.temperature for job in jobs)
        likely = likely_tokens(block, warmest)
        for job, row, (tokens, logits) in zip(jobs, block, likely, strict=True):
            if job.grammar is None:
                token = job.sampler.draw(tokens, logits)
            else:
                found = draw_allowed(job.sampler, job.grammar, row, tokens)
                if found is None:  # no token of the vocabulary goes on: it ends where it stands
                    self._finish(job, Finish.LENGTH)
                    continue
                token = found
                tokens, logits = include(token, tokens, logits)
            job.trace.add(tokens, logits, token)
            job.drawn += 1
            job.account.generated += 1
            job.node.logits = None
            if self.model.ends_turn(token):
                self._finish(job, Finish.STOP)
                continue
            job.write(token, self.model.piece(token))
            finish = self._find_end(job)
            if finish is not None:
                self._finish(job, finish)

    def _find_end(self, job: Growing) -> Finish | None:
        """Why ``job`` ends with the token that it drew last, None where it goes on."""
        if job.at_mark:
            return Finish.MARK
        if job.request.until is Until.STEP and job.at_step:
            return Finish.STEP
        if job.drawn >= job.limit:
            return Finish.LENGTH
        if len(job.node.tokens) >= self.info.context:
            return Finish.CONTEXT
        if job.drawn % LOOP_STRIDE == 0 and repeats(job.node.tokens[job.start :]):
            return Finish.LOOP
        unsure = job.trace.is_below(job.request.floor, job.request.window)
        return Finish.UNSURE if unsure else None

    def _finish(self, job: Growing, finish: Finish) -> None:
        if job.finish is not None:
            return
        job.finish = finish
        if job in self.growing:
            self.growing.remove(job)
            job.node.jobs -= 1
        elif job in self.waiting:  # not where a signal came between its making and its queueing
            self.waiting.remove(job)
        self._room = self.info.parallel
        job.sampler.close()
        if job.grammar is not None:
            job.grammar.close()
        rest = job.utf8.decode(b"", final=finish not in (Finish.STEP, Finish.MARK))
        if rest:
            job.text.append(rest)
        job.ended.append(
            Growth(
                branch=job.request.branch,
                label=job.request.label,
                text="".join(job.text),
                tokens=job.drawn,
                finish=finish,
                confidence=job.trace.summarise(),
            )
        )

    def _make_room(self) -> None:
        """The cache is full: take cells from who rests, else from who started last."""
        if self.cache.evict_idle():
            return
        if len(self.growing) > 1 or (self.growing and (self.scorings or self.readings)):
            job = self.growing.pop()
            job.node.jobs -= 1
            self.cache.unseat(job.node)
            self.waiting.appendleft(job)
            self._room = max(1, len(self.growing))
        elif self.growing:
            self._finish(self.growing[0], Finish.CONTEXT)
        elif len(self.scorings) > 1 and sum(row.borrowed is not None for row in self.scorings) > 1:
            row = next(row for row in reversed(self.scorings) if row.borrowed is not None)
            node = row.borrowed
            row.borrowed = None
            if node is not None:
                node.jobs -= 1
                self.cache.unseat(node)
        elif self.scorings:
            self._settle(self.scorings.pop(0), ())
        elif seated := [state for state in self.states if state.seated]:
            # All but one wait for their turn; one that does not fit alone cannot be read.
            for state in seated[1:]:
                state.seated = False
                state.node.jobs -= 1
                self.cache.unseat(state.node)
            if len(seated) == 1:
                self.cache.unseat(seated[0].node)
                self._settle_state(seated[0])
        elif self.readings:
            reading = self.readings.pop(0)
            self.cache.unseat(reading.node)
            reading.failure = PromptTooLong(
                f"the prompt of {len(reading.node.tokens):,} tokens does not fit the KV cache "
                f"of {self.context.cells:,}.",
                hint="ttc solve --context 8192 …",
            )
            reading.done = True

    def _book(self) -> None:
        """Charge every account for this step and tell its observer."""
        for account in self.accounts:
            account.charge(self.info.parameters)
            if account.texts and account.observe is not None:
                account.observe(
                    Grew(
                        texts=account.texts,
                        live=sum(job.account is account for job in self.growing),
                        queued=sum(job.account is account for job in self.waiting),
                        kv_used=self.cache.used,
                        kv_cells=self.context.cells,
                    )
                )
            account.texts = {}


def _is_pooled(owner: Owner, node: Node, piece: list[int], wanted: int) -> bool:
    """Whether this is fed in a batch that gives hidden states."""
    return isinstance(owner, Growing) and wanted > 0 and node.pool is not None


def _collect(node: Node, state: Vector) -> None:
    """Take the state of the token that ``node`` was just fed into its pool."""
    pool = node.pool
    if pool is not None and node.held == pool.reached:
        pool.add(state)
    elif pool is not None and node.held > pool.reached:  # one was fed without: it has a gap now
        node.pool = None
