"""Fits a policy to a pool of labelled questions, and says what it is worth on unseen ones.

From the pool alone:

* the real ``auto`` is run on ``bench.recorded`` over resampled orders at many settings (how much
  a sure ending weighs, the first wave, when to stop, what a candidate must gain), and the best for
  what a level's candidate must be worth is its row;
* the *belief*: P(the leader is right | the vote), by logistic regression on votes of all sizes;
* the *traits* of programs, where a pool of them is there: what their votes prove;
* the *reliability* of each score: one no better than chance is given no say.

Then settings are picked twice more, from one half of the questions each, and judged on the other:
that is what the policy is said to do. No question chooses its own policy there, and none decides
for itself whether programs are drawn; the traits alone are fitted to all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.agreement import collect, fit_traits
from ttc_cli.bench.belief import Graded, fit_belief, grade, walk
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.matching import match, pick_baseline
from ttc_cli.bench.pool import RecordedSample, SamplePool
from ttc_cli.bench.probing import CHANCE, Place, fit_probe, rate_held_out
from ttc_cli.bench.report import summarise
from ttc_cli.bench.runner import Pools
from ttc_cli.bench.settings import Trials
from ttc_cli.bench.sureness import choose_parts
from ttc_cli.bench.verifier_trials import Rating, Trial, separate
from ttc_cli.errors import UsageError
from ttc_cli.policy.estimate import Belief
from ttc_cli.policy.file import Expected, Matched, Policy, Reliability, Source
from ttc_cli.policy.standing import FormTraits
from ttc_cli.policy.table import SHIPPED
from ttc_cli.types import PROGRAM, PROSE, AnswerType, Problem
from ttc_cli.verifiers.probe import Probe

LEAST = 8
"""Questions that a calibration needs: below, two halves say nothing."""
TRIED = ("judge", "probe", "confidence (tail logprob)")
"""What ``auto`` asks about a close vote."""


def label_by_majority(
    pool: SamplePool,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    programs: SamplePool | None = None,
) -> list[LabelledQuestion]:
    """``questions`` with the majority of all samples as their label; those without one are left.

    ``programs`` have a vote each, as those in prose do.

    Where a model is wrong most of the time so is its label: a policy fitted to them learns to
    reach the vote of many, not the truth.
    """
    labelled = []
    for question in questions:
        problem = resolve(question.problem)
        samples = [*pool.questions[question.id].samples]
        if programs is not None and question.id in programs.questions:
            samples += programs.questions[question.id].samples
        read = enumerate(sample.read_answer(problem) for sample in samples)
        classes = comparer.classify([(id, answer, 1.0) for id, answer in read if answer])
        if classes:
            labelled.append(replace(question, answer=classes[0].answer.text))
    return labelled


def choose_slip(graded: Sequence[Graded]) -> float:
    """What is left of the vote of a candidate with a wrong sum: ``SHIPPED.slip``.

    Or all of it, if such candidates are right at least half as often as the others.
    """
    answered = [
        (each.id in question.right, each.slipped)
        for question in graded
        for each in question.candidates
        if each.answer is not None
    ]
    slipped = [right for right, slip in answered if slip]
    others = [right for right, slip in answered if not slip]
    if not slipped or not others:
        return SHIPPED.slip
    doubtful = 2 * sum(slipped) * len(others) >= sum(others) * len(slipped)
    return 1.0 if doubtful else SHIPPED.slip


def measure_reliability(pool: SamplePool, graded: Sequence[Graded]) -> tuple[Reliability, ...]:
    """AUC of the judge, of the sums written out and of each statistic of confidence.

    Over the candidates that answered.
    """
    ratings: dict[str, list[Rating]] = {}
    for question in graded:
        samples = pool.questions[question.id].samples
        for candidate, sample in zip(question.candidates, samples, strict=True):
            if candidate.answer is None:
                continue
            scores: dict[str, float] = {}
            if sample.judge is not None:
                scores["judge"] = sample.judge
            scores |= {each.verifier: each.value for each in candidate.scores}
            if candidate.confidence is not None:
                for name in ("mean_logprob", "tail_logprob", "lowest_group", "tail_group"):
                    key = f"confidence ({name.replace('_', ' ')})"
                    scores[key] = getattr(candidate.confidence, name)
            for key, value in scores.items():
                rating = Rating(question.id, candidate.id in question.right, value)
                ratings.setdefault(key, []).append(rating)
    found = [separate(Trial(name, "sampled", "whole", tuple(r))) for name, r in ratings.items()]
    return tuple(
        Reliability(
            each.trial.verifier,
            each.auc,
            each.auc_within,
            each.low,
            each.high,
            each.compared,
            each.trusted,
        )
        for each in found
    )


def learn_forms(
    pools: Pools, questions: Sequence[LabelledQuestion], comparer: Comparer
) -> dict[str, FormTraits]:
    """What is known of programs from these questions; nothing where none were drawn."""
    if pools.programs is None:
        return {}
    means = []
    for pool in (pools.programs, pools.prose):
        drawn = [
            sample.tokens
            for each in questions
            if each.id in pools.programs.questions
            for sample in pool.questions[each.id].samples
        ]
        means.append(sum(drawn) / max(1, len(drawn)))
    kinds = {
        resolve(each.problem).answer_type
        for each in questions
        if each.id in pools.programs.questions
    }
    cost = max(0.001, means[0]) / max(0.001, means[1])
    traits = fit_traits(collect(pools, questions, comparer), cost, sorted(kinds))
    retry = retrying_pays(pools.programs, questions, comparer)
    return {PROGRAM: replace(traits, retry=retry)}


def retrying_pays(
    programs: SamplePool, questions: Sequence[LabelledQuestion], comparer: Comparer
) -> bool:
    """Whether what is drawn on behind a failed program comes out right for fewer tokens than a new.

    The new ones are all of the same questions, each question counted as often as it was gone on
    with. Two further retries are imagined that came out as new ones do: few of them tell little.
    Without any it does not: with small models, nearly all repeat the program that failed.
    """
    right, tokens, new_right, new_tokens, count = 0, 0, 0.0, 0.0, 0
    for question in questions:
        if question.id not in programs.questions:
            continue
        samples = programs.questions[question.id].samples
        retries = [each.mended.sample for each in samples if each.mended is not None]
        problem = resolve(question.problem)

        def is_right(
            sample: RecordedSample,
            problem: Problem = problem,
            question: LabelledQuestion = question,
        ) -> bool:
            return comparer.grade(sample.read_answer(problem), question.answer)

        count += len(retries)
        right += sum(map(is_right, retries))
        tokens += sum(each.tokens for each in retries)
        new_right += len(retries) * sum(map(is_right, samples)) / len(samples)
        new_tokens += len(retries) * sum(each.tokens for each in samples) / len(samples)
    if not count:
        return False
    imagined = 2 / count
    rate = (right + imagined * new_right) * new_tokens
    return rate >= new_right * (tokens + imagined * new_tokens)


async def calibrate(
    pool: SamplePool,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    *,
    name: str,
    data: str,
    date: str,
    labels: str = "given",
    runs: int = 4,
    progress: Callable[[str], None] = lambda what: None,
    programs: SamplePool | None = None,
    probe: bool = True,
) -> Policy:
    """Fit a policy to ``pool``, whose every question must hold as many samples as the others.

    Args:
        pool: drawn as ``auto`` would draw, in prose.
        questions: with their labels.
        comparer: decides which answers mean the same.
        name: of the policy.
        data: what the questions are called.
        date: as 2026-01-31.
        labels: where they come from, ``given`` or ``majority``.
        runs: orders of the samples that each setting is tried over.
        progress: called with what is being done.
        programs: the pool of programs beside it, of the questions that may be given some; None
            where there are to be none.
        probe: whether to fit one, where hidden states are kept.

    Raises:
        UsageError: too few questions, or this model answered all right or all wrong.
    """
    if len(questions) < LEAST:
        raise UsageError(
            f"{len(questions)} questions are too few for a policy; it needs {LEAST}, and means "
            "little below a hundred.",
            "Raise --limit, or give more questions.",
        )
    if any(question.problem.answer_type is AnswerType.FREE for question in questions):
        raise UsageError(
            "Free-form questions have no vote to calibrate.", "Leave them out of the data."
        )
    header = pool.header
    samples = min(len(pool.questions[question.id].samples) for question in questions)
    progress("grading …")
    pools, fitted = Pools(pool, programs), None
    rated: Mapping[Place, float] = {}
    if probe:
        pools, fitted, rated = _fit_probe(pools, questions, comparer, date, progress)
    graded = grade(pool, questions, comparer, rated)
    sure_by = choose_parts(graded)
    reliability = measure_reliability(pool, graded)
    heard = [each.trusted is not False for each in reliability if each.verifier in TRIED]
    tilt = SHIPPED.tilt if any(heard) else 0.0
    slip = choose_slip(graded)
    forms = learn_forms(pools, questions, comparer)
    written: dict[str, Graded] = {}
    if programs is not None and forms:
        written = {each.id: each for each in grade(programs, questions, comparer, rated)}
    types = tuple(sorted({resolve(question.problem).answer_type for question in questions}))

    def believe(
        places: Sequence[int], mixed: bool, sureness: float = SHIPPED.sureness
    ) -> Belief | None:
        """The belief of a policy that is fitted to the questions at ``places``, if one can be."""
        of_programs, traits = (written, forms) if mixed else ({}, {})
        states = [
            state
            for each in (graded[place] for place in places)
            for state in walk(
                each, comparer, sureness, slip, of_programs.get(each.id), traits, sure_by
            )
        ]
        try:
            return replace(fit_belief(states), types=types)
        except UsageError:  # all right or all wrong
            if len(places) == len(questions):
                raise
            return None

    trials = Trials(
        pools,
        questions,
        comparer,
        samples,
        runs,
        tilt,
        slip,
        progress,
        forms,
        sure_by,
        believe if fitted is not None else None,
    )
    everything = range(len(questions))
    table = await trials.fit(everything)
    belief = believe(everything, bool(table.forms), table.sureness)
    held_out, curve = await trials.judge()
    found = match(curve, pick_baseline(await trials.run_fixed()))
    expected = []
    for level, outcomes in held_out.items():
        progress(f"{level} before and after …")
        now = summarise(level, outcomes)
        before = summarise(level, await trials.run(level, SHIPPED))
        expected.append(
            Expected(level, now.accuracy, now.flops, now.samples, before.accuracy, before.flops)
        )
    share, baseline = found.share, found.baseline
    return Policy(
        name=name,
        model=header.model,
        sha256=header.sha256,
        prompt_format=header.prompt_format,
        date=date,
        source=Source(
            data=data,
            questions=len(questions),
            samples=samples,
            seed=header.seed,
            temperature=header.sampling.temperature,
            max_tokens=header.max_tokens,
            labels=labels,
            programs=pools.count_samples(questions).get(PROGRAM, 0),
            program_temperature=(
                None if programs is None else programs.header.sampling.temperature
            ),
        ),
        program_format="" if programs is None else programs.header.prompt_format,
        table=replace(table, name=name, belief=belief),
        reliability=reliability,
        expected=tuple(expected),
        matched=Matched(
            baseline.name,
            baseline.accuracy,
            baseline.cost,
            None if share is None else share.value,
            None if share is None else share.low,
            None if share is None else share.high,
            found.reached,
        ),
        probe=fitted,
    )


def _fit_probe(
    pools: Pools,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    date: str,
    progress: Callable[[str], None],
) -> tuple[Pools, Probe | None, Mapping[Place, float]]:
    """``pools`` as the probe rates them, the probe, and its ratings of candidates it did not see.

    A form or part that it tells no better than chance, beyond doubt, is left out. None, and nothing
    of it, where that holds for prose, no hidden states are kept, or too few to fit one.
    """
    if not any(each.states for q in pools.prose.questions.values() for each in q.samples):
        return pools, None, {}
    try:
        probe, held_out = fit_probe(pools, questions, comparer, date, progress)
    except UsageError:
        return pools, None, {}
    heads = tuple(each for each in probe.heads if each.low is not None and each.low > CHANCE)
    probe = replace(probe, heads=heads)
    if probe.find(PROSE, "whole") is None:
        return pools, None, {}
    rated = {place: value for place, value in held_out.items() if probe.find(place[0], "whole")}
    return rate_held_out(pools, rated), probe, rated
