import pytest
import story
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli import events
from ttc_cli.runs.playback import LONGEST_PAUSE, Playback, smooth
from ttc_cli.runs.recorder import Pieces
from ttc_cli.runs.run import Timed
from ttc_cli.views.state import ViewState, reduce


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def keep(timed):
    """What the log holds of a run."""
    pieces = Pieces()
    kept = [each for at, event in timed for each in pieces.add(Timed(at, event))]
    return kept + pieces.take()


def grown(timed):
    texts = {}
    for each in timed:
        if isinstance(each.event, events.Grew):
            for id, text in each.event.texts.items():
                texts[id] = texts.get(id, "") + text
    return texts


def play(timed, speed=1.0):
    """When each event was shown, and the time of the run then."""
    clock, shown = Clock(), []
    playback = Playback(timed, speed, clock=clock, sleep=clock.sleep)
    playback.play(lambda event: shown.append((clock.now, playback.now(), event)))
    return shown


@pytest.mark.parametrize("name", story.STORIES)
def test_a_smoothed_run_says_the_same_in_the_same_order(name):
    kept = keep(story.STORIES[name]())
    smoothed = list(smooth(kept))
    assert grown(smoothed) == grown(kept)
    assert [each.seconds for each in smoothed] == sorted(each.seconds for each in smoothed)

    def others(timed):
        return [each for each in timed if not isinstance(each.event, events.Grew)]

    assert others(smoothed) == others(kept)


def test_a_smoothed_run_grows_token_by_token_as_it_did():
    live = [Timed(at, event) for at, event in story.branching()]
    smoothed = list(smooth(keep(story.branching())))

    def count(timed):
        tokens = {}
        for each in timed:
            if isinstance(each.event, events.Stepped):
                break
            if isinstance(each.event, events.Grew):
                for id in each.event.texts:
                    tokens[id] = tokens.get(id, 0) + 1
        return tokens

    assert count(smoothed) == count(live)
    assert max(count(smoothed).values()) > 5


texts = st.dictionaries(st.integers(0, 3), st.text(max_size=9), max_size=3)
pieces = st.builds(events.Grew, texts, *[st.integers(0, 9)] * 4)
ends = st.builds(events.Stepped, st.integers(0, 3), st.just(0), st.text(), st.integers(0, 99))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 9), pieces | ends), max_size=12))
def test_no_text_is_lost_whatever_was_kept(happened):
    kept = [Timed(at, event) for at, event in happened]
    smoothed = list(smooth(kept))
    assert grown(smoothed) == grown(kept)


@pytest.mark.parametrize("tokens", [10**18, 10**300, -1, -(10**18)])
def test_no_count_makes_a_run_longer_than_its_text(tokens):
    candidate = story.candidate(1, "6", tokens=tokens)
    kept = [
        Timed(0.0, events.Grew({0: "abc", 1: "de"}, 1, 0, 0, 0)),
        Timed(0.1, events.Stepped(0, 0, "abc", tokens)),
        Timed(0.2, events.Grew({1: "f"}, 1, 0, 0, 0)),
        Timed(0.3, events.CandidateEnded(candidate)),
    ]
    smoothed = list(smooth(kept))
    assert grown(smoothed) == grown(kept)
    assert len(smoothed) <= 6


def test_events_come_when_they_did():
    shown = play([Timed(at, event) for at, event in story.whole()])
    assert [at for at, _, _ in shown] == pytest.approx([at for at, _ in story.whole()])
    assert [event for _, _, event in shown] == [event for _, event in story.whole()]


def test_speed_is_a_factor():
    shown = play([Timed(at, event) for at, event in story.whole()], speed=4)
    assert shown[-1][0] == pytest.approx(3.0)
    assert shown[-1][1] == pytest.approx(12.0)  # the run's own time, which the view shows


def test_at_speed_0_nothing_waits():
    assert {at for at, _, _ in play([Timed(5.0, events.Warned("a"))], speed=0)} == {0.0}


def test_long_waits_are_shortened_and_leave_the_time_of_the_run_alone():
    timed = [Timed(0.0, events.Warned("a")), Timed(600.0, events.Warned("b"))]
    shown = play(timed)
    assert [at for at, _, _ in shown] == [0.0, LONGEST_PAUSE]
    assert shown[-1][1] == 600.0


def test_time_runs_on_between_two_events_but_not_past_the_next():
    clock, seen = Clock(), []
    timed = [Timed(0.0, events.Warned("a")), Timed(1.0, events.Warned("b"))]

    def sleep(seconds):
        clock.now += seconds / 2
        seen.append(playback.now())
        clock.now += 9 * seconds
        seen.append(playback.now())

    playback = Playback(timed, 1.0, clock=clock, sleep=sleep)
    playback.play(lambda event: None)
    assert seen == [0.5, 1.0]


def test_step_by_step_it_pauses_once_after_each_decision():
    stops, shown = [], []
    timed = [Timed(at, event) for at, event in story.whole()]
    playback = Playback(timed, pause=lambda: stops.append(shown[-1]), sleep=pytest.fail)
    playback.play(shown.append)
    # The wave that a decision led to is no second one.
    assert [(type(e).__name__, e.reason[:8]) for e in stops] == [
        ("Decided", "probe: 8"),
        ("Decided", "4 of 8 a"),
        ("Decided", "6 of 10 "),
    ]
    assert len(shown) == len(timed)


def test_a_view_ends_as_it_did_when_it_was_live():
    def fold(timed):
        state = ViewState()
        for each in timed:
            state = reduce(state, each.event, each.seconds)
        return state

    live = fold([Timed(at, event) for at, event in story.searched()])
    again = fold(smooth(keep(story.searched())))
    assert again.nodes == live.nodes
    assert (again.tokens, again.seconds, again.classes) == (live.tokens, live.seconds, live.classes)
