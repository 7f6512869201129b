"""Puts labelled questions to strategies: on a recorded pool, or live."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import PoolHeader, SamplePool
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.bench.report import Outcome
from ttc_cli.engines.base import Engine
from ttc_cli.errors import UsageError
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.types import PROGRAM, PROSE, Budget, Sampling
from ttc_cli.verifiers.probe import Probe, ProbeVerifier


async def solve_all(
    questions: Sequence[LabelledQuestion],
    stage: Stage,
    options: SearchOptions,
    comparer: Comparer,
    *,
    run: int = 0,
    flight: int = 1,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Solve each question and grade it; the outcomes, in the order of ``questions``.

    ``flight`` questions at once share the engine, and each takes longer than it would alone.
    ``run`` is the number that the outcomes get; ``done`` is called with each as it comes.

    Raises:
        TtcError: as ``solve``; outcomes that ``done`` has seen stay valid.
    """
    outcomes: dict[str, Outcome] = {}
    todo = deque(questions)

    async def work() -> None:
        while todo:
            question = todo.popleft()
            result = await solve(question.problem, stage, options, comparer=comparer)
            outcome = outcomes[question.id] = Outcome(
                question.id,
                comparer.grade(result.answer, question.answer),
                any(comparer.grade(each.answer, question.answer) for each in result.candidates),
                len(result.candidates),
                result.usage.tokens,
                result.usage.flops,
                result.usage.seconds,
                result.stop_reason,
                result.answer.text if result.answer is not None else None,
                run,
            )
            done(outcome)

    await asyncio.gather(*(work() for _ in range(min(flight, len(questions)))))
    return [outcomes[question.id] for question in questions]


class Pools:
    """What was drawn of one model: a pool in prose, and beside it one of programs or none.

    Attributes:
        prose: the pool in prose.
        programs: that of programs; None where none are to be had.
        probe: that of the model's policy; without effect where no hidden states are kept.
        by_form: the pools by form.
    """

    def __init__(
        self,
        prose: SamplePool,
        programs: SamplePool | None = None,
        probe: Probe | None = None,
    ) -> None:
        """``programs`` are those of the same model, which had as many tokens.

        Raises:
            UsageError: they are not.
        """
        if programs is not None and _differ(prose.header, programs.header):
            raise UsageError(
                "The pools of programs and of prose were drawn of different models, or with "
                "different limits."
            )
        self.prose, self.programs, self.probe = prose, programs, probe
        self.by_form = {PROSE: prose} if programs is None else {PROSE: prose, PROGRAM: programs}
        self._recordings = [pool.recording() for pool in self.by_form.values()]
        known = programs.list_programs() if programs is not None else {}
        self._interpreter = Interpreters(known=known)
        self._chat = Chat(self._recordings[0].info, prose.header.template_arguments)

    @property
    def samplings(self) -> dict[str, Sampling]:
        """How candidates were drawn, by form."""
        return {form: pool.header.sampling for form, pool in self.by_form.items()}

    def count_samples(self, questions: Sequence[LabelledQuestion]) -> dict[str, int]:
        """The samples, by form, that each of ``questions`` has of those it has any of."""
        counts = {
            form: [
                len(pool.questions[each.id].samples)
                for each in questions
                if each.id in pool.questions
            ]
            for form, pool in self.by_form.items()
        }
        return {form: min(have, default=0) for form, have in counts.items()}

    def make_stage(self, table: Table, trajectory: int, parallel: int | None) -> Stage:
        """The recorded model: it serves the samples in the order ``trajectory``."""
        engine = RecordedEngine(
            *self._recordings, trajectory=trajectory, parallel=parallel, jump=True
        )
        return Stage(
            engine,
            self._chat,
            table if self.programs is not None else table.without_forms(),
            self.prose.header.sampling,
            probe=self.make_probe(engine),
            interpreter=self._interpreter,
            samplings=self.samplings,
        )

    def make_probe(self, engine: Engine) -> ProbeVerifier | None:
        """The probe, where ``engine``, live or recorded, gives the states that it reads."""
        if self.probe is None or self.probe.width != engine.info.states:
            return None
        sha256 = self.prose.header.sha256
        return ProbeVerifier(self.probe, sha256=sha256, states=engine.info.states)


async def simulate(
    pools: SamplePool | Pools,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    *,
    strategy: str,
    level: str = "normal",
    samples: int,
    trajectories: int = 1,
    parallel: int | None = None,
    table: Table = SHIPPED,
    form: str = "auto",
) -> list[Outcome]:
    """As ``solve_all``, on ``pools``: each question once a trajectory, in another order of samples.

    Seconds are estimated: tokens over the pool's own rate, which had its batch always full, so
    that a live run of one question takes longer. None where the pool was not timed.
    """
    drawn = pools if isinstance(pools, Pools) else Pools(pools)
    limits = drawn.count_samples(questions)
    budget = Budget(level=level, tokens_per_candidate=drawn.prose.header.max_tokens)
    outcomes: list[Outcome] = []
    for trajectory in range(trajectories):
        outcomes += await solve_all(
            questions,
            drawn.make_stage(table, trajectory, parallel),
            SearchOptions(
                strategy,
                samples=samples,
                budget=budget,
                seed=trajectory,
                form=form,
                limits=limits,
            ),
            comparer,
            run=trajectory,
        )
    return _estimate_seconds(outcomes, drawn.by_form.get(form, drawn.prose))


def _differ(one: PoolHeader, other: PoolHeader) -> bool:
    return (one.sha256, one.max_tokens) != (other.sha256, other.max_tokens)


def single(
    pool: SamplePool, questions: Sequence[LabelledQuestion], comparer: Comparer, samples: int
) -> list[Outcome]:
    """One outcome a recorded sample, as if it were the only one: their mean is pass@1."""
    flops = 2.0 * pool.header.parameters
    outcomes = []
    for question in questions:
        drawn = pool.questions[question.id]
        problem = resolve(question.problem)
        for number, sample in enumerate(drawn.samples[:samples]):
            answer = sample.read_answer(problem)
            right = comparer.grade(answer, question.answer)
            tokens = drawn.prompt_tokens + sample.tokens
            stated = answer.text if answer is not None else None
            outcomes.append(
                Outcome(
                    question.id, right, right, 1, tokens, flops * tokens, answer=stated, run=number
                )
            )
    return _estimate_seconds(outcomes, pool)


def _estimate_seconds(outcomes: list[Outcome], pool: SamplePool) -> list[Outcome]:
    rate = pool.tokens_a_second()
    return [replace(each, seconds=each.tokens / rate if rate else None) for each in outcomes]
