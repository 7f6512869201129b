"""What agreement proves, on ballots whose truth is known."""

import random

import pytest

from ttc_cli.bench.agreement import HONEST, Ballot, fit_traits, measure_agreement, recount
from ttc_cli.types import PROGRAM, PROSE, AnswerType

SIZES = {PROGRAM: 8, PROSE: 16}


def draw(
    number: int, programs: float, prose: float, *, shared: bool = True, seed: int = 0
) -> Ballot:
    """Answer 0 is right; ``shared``: programs that are wrong share one misreading."""
    luck = random.Random(f"{seed}:{number}")

    def state(form: str) -> int | None:
        if luck.random() < (programs if form == PROGRAM else prose):
            return 0
        return 1 if form == PROGRAM and shared else 2 + luck.randrange(5)

    answers = {form: tuple(state(form) for _ in range(size)) for form, size in SIZES.items()}
    return Ballot(f"q{number}", answers, frozenset({0}))


def test_votes_are_counted_by_form_and_by_answer() -> None:
    ballot = Ballot("q", {PROGRAM: (0, 0, None), PROSE: (0, 1)}, frozenset({0}))
    for tally in recount(ballot, [(3, 2), (4, 0)]):
        assert (tally.programs, tally.prose) == (3, 2)
        assert [(s.programs, s.prose, s.right) for s in sorted(tally.sides, key=str)] == [
            (0, 1, False),
            (2, 1, True),
        ]


def test_agreement_across_forms_shows_what_it_is_worth() -> None:
    ballots = [draw(n, programs=0.9 if n % 2 else 0.2, prose=0.6) for n in range(60)]
    rows = {(row.heard, row.behind): row for row in measure_agreement(ballots)}
    across, alike = rows[(1, 1), (1, 1)], rows[(2, 0), (2, 0)]
    assert across.right > 0.95 > alike.right + 0.2
    assert rows[(1, 0), (1, 0)].questions == 60
    assert rows[(1, 0), (1, 0)].common == 1.0
    low, high = across.interval
    assert low < across.right <= high <= 1.0
    sizes = [row.heard for row in measure_agreement(ballots)]
    assert sizes == sorted(sizes, key=sizes.index)


def test_programs_that_share_misreadings_prove_little_more_together() -> None:
    ballots = [draw(n, programs=1.0 if n % 2 else 0.0, prose=0.55) for n in range(80)]
    traits = fit_traits(ballots, 0.4, (AnswerType.NUMBER,))
    assert traits.further <= 0.25
    assert traits.accord >= HONEST.accord
    assert (traits.cost, traits.types) == (0.4, (AnswerType.NUMBER,))


def test_programs_that_are_as_good_and_as_free_as_prose_count_in_full() -> None:
    ballots = [draw(n, programs=0.6, prose=0.6, shared=False) for n in range(100)]
    traits = fit_traits(ballots, 1.0)
    assert traits.first >= 0.75
    assert traits.further >= 0.75
    assert traits.weight == 1.0


def test_programs_that_are_mostly_wrong_are_worth_little() -> None:
    ballots = [draw(n, programs=0.1, prose=0.6) for n in range(80)]
    traits = fit_traits(ballots, 0.4)
    assert traits.further == 0.1
    assert traits.first < 1.0
    assert traits.weight == 0.5


@pytest.mark.parametrize("count", [0, 1])
def test_where_nothing_was_measured_the_honest_prior_holds(count: int) -> None:
    traits = fit_traits([draw(n, 0.6, 0.6, shared=False) for n in range(count)], 0.5)
    assert (traits.first, traits.weight) == (HONEST.first, HONEST.weight)
    assert traits.further == pytest.approx(HONEST.further, abs=0.25)
