"""The log of runs: what is written is found again, whoever wrote it and however it ended."""

import contextlib
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from ttc_cli.errors import RunDamaged, UsageError
from ttc_cli.events import (
    CandidateEnded,
    Decided,
    Grew,
    RunEnded,
    RunStarted,
    Spent,
    Stepped,
    Warned,
)
from ttc_cli.runs import database
from ttc_cli.runs.playback import smooth
from ttc_cli.runs.recorder import Pieces, Recorder
from ttc_cli.runs.store import RunState, RunStore, Timed
from ttc_cli.types import (
    Answer,
    AnswerType,
    Budget,
    Candidate,
    Estimate,
    Finish,
    Problem,
    Result,
    RoleUsage,
    Usage,
)
from ttc_cli.views.page import render_page
from ttc_cli.views.plain import PlainLines

FOUR = Answer("4", "4", AnswerType.NUMBER)
SPENT = Usage(RoleUsage(10, 40, 5, 9, 1e6), RoleUsage(), 1.5)


def complain(text):
    raise AssertionError(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "runs.db"


@pytest.fixture
def store(path):
    with RunStore.open(path, complain) as opened:
        yield opened


def begin(store, question="What is 2+2?", **more):
    values = {
        "model": "m",
        "strategy": "auto",
        "level": "normal",
        "request": {"question": question},
    }
    return store.begin(question=question, **{**values, **more})


def candidate(id, text, finish=Finish.STOP):
    return Candidate(id, text, 8, finish, FOUR)


def result(*candidates, interrupted=False):
    return Result(
        FOUR, "2 + 2 = 4", 0, "vote", 1, 1, None, Estimate(0.9, 0.8, 2), "all agree", "auto",
        candidates, (), SPENT, interrupted,
    )  # fmt: skip


def started(model="m"):
    return RunStarted(Problem("What is 2+2?"), model, "auto", (), Budget(), 0, 4)


def timed(*events):
    return [Timed(float(second), event) for second, event in enumerate(events)]


ABSURD = [10**18, 10**20, 10**400, -(10**20), -1]


@pytest.mark.parametrize("count", ABSURD, ids=[*"abcde"])
def test_no_number_keeps_a_run_from_being_kept_and_shown(store, path, count):
    usage = Usage(RoleUsage(count, count, count, count, 1.0), RoleUsage(), 1.5)
    ended = replace(candidate(0, "2 + 2 = 4"), tokens=count)
    happened = (
        started(),
        Grew({0: "2 + 2 = 4"}, 1, 0, 0, 0),
        Stepped(0, 0, "2 + 2 = 4", count),
        CandidateEnded(ended),
        Spent(usage),
        RunEnded(replace(result(ended), usage=usage)),
    )
    id = begin(store)
    with RunStore.open(path, complain) as writer:
        recorder = Recorder(writer, id)
        for event in happened:
            recorder(event)
        recorder.close()
    assert recorder.failure is None
    assert (store.find(id).state, store.find(id).candidates) == (RunState.DONE, 1)
    kept = list(store.events(id))
    assert [type(each.event) for each in kept] == [type(each) for each in happened]
    assert len(list(smooth(kept))) < 20
    page = render_page([(each.seconds, each.event) for each in smooth(kept)], name=id, when="")
    assert len(page) < 1 << 20
    for each in kept:
        PlainLines(io.StringIO())(each.event)


def test_what_cannot_be_kept_ends_the_keeping_and_says_why(store, path):
    with RunStore.open(path, complain) as writer:
        recorder = Recorder(writer, begin(store))
        recorder(Stepped(0, 0, "", 10**5000))
        recorder.close()
    assert "cannot be kept" in recorder.failure.message


def test_the_file_is_its_owners_alone(store, path):
    begin(store)
    files = [each for each in path.parent.iterdir() if each.name.startswith("runs.db")]
    assert len(files) >= 3  # the journals hold text too
    for each in files:
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


def test_a_file_that_others_could_read_is_closed_to_them(store, path):
    store.close()
    path.chmod(0o644)
    RunStore.open(path, complain).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_events_come_back_as_they_went_in(store):
    id = begin(store)
    events = timed(
        started(),
        Grew({0: "half a \ud800 character"}, 1, 0, 10, 100),
        CandidateEnded(candidate(0, "four\x00")),
        Warned("naïve ☃"),
        RunEnded(result(candidate(0, "four"))),
    )
    store.append(id, events[:2])
    store.append(id, events[2:])
    assert list(store.events(id)) == events
    assert store.read_result(id) == events[-1].event.result


def test_a_row_follows_the_events(store):
    id = begin(store)
    run = store.find(id)
    assert (run.state, run.answer, run.candidates, run.tokens) == (RunState.RUNNING, None, 0, 0)
    store.append(id, timed(started("the engine's name"), CandidateEnded(candidate(0, "four"))))
    store.append(id, [Timed(2.5, Spent(SPENT))])
    run = store.find(id)
    assert (run.model, run.candidates, run.tokens, run.flops) == ("the engine's name", 1, 40, 1e6)
    assert (run.seconds, run.state) == (2.5, RunState.RUNNING)
    store.append(id, [Timed(3.0, RunEnded(result(candidate(0, "four"))))])
    run = store.find(id)
    assert (run.state, run.answer, run.difficulty) == (RunState.DONE, "4", 2)
    assert run.seconds == SPENT.seconds


def test_an_interrupted_result_is_an_interrupted_run(store):
    id = begin(store)
    store.append(id, timed(RunEnded(result(interrupted=True))))
    assert store.find(id).state is RunState.INTERRUPTED


def test_the_next_model_of_a_cascade_makes_it_run_again(store):
    id = begin(store)
    store.append(id, timed(started("small"), RunEnded(result()), started("large")))
    assert (store.find(id).state, store.find(id).model) == (RunState.RUNNING, "small")


def test_a_run_whose_process_is_gone_was_killed(path):
    code = (
        "import sys; from pathlib import Path; from ttc_cli.runs.store import RunStore;"
        "s = RunStore.open(Path(sys.argv[1]), print);"
        "print(s.begin(question='Q', model='m', strategy='auto', level='normal', request={}))"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    with RunStore.open(path, complain) as store:
        assert store.find(child.stdout.strip()).state is RunState.KILLED


def test_another_process_with_the_same_number_is_not_this_one(store, path):
    id = begin(store)
    with sqlite3.connect(path) as direct:
        (process,) = direct.execute("SELECT process FROM runs").fetchone()
        known = json.loads(process)
        assert known["pid"] == os.getpid()
        direct.execute("UPDATE runs SET process = ?", (json.dumps({**known, "born": 1.0}),))
    direct.close()
    assert store.find(id).state is RunState.KILLED


@pytest.mark.parametrize("born", ["another-boot 1", "", 1.0, 1])
def test_only_the_process_that_began_then_is_this_one(store, path, born):
    id = begin(store)
    with sqlite3.connect(path) as direct:
        (process,) = direct.execute("SELECT process FROM runs").fetchone()
        changed = json.dumps({**json.loads(process), "born": born})
        direct.execute("UPDATE runs SET process = ?", (changed,))
    direct.close()
    assert store.find(id).state is RunState.KILLED


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system keeps the time of birth")
def test_a_step_of_the_clock_kills_no_run(store, monkeypatch):
    id = begin(store)
    told = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: told(process) + 5)
    assert store.find(id).state is RunState.RUNNING


def test_where_nobody_says_when_a_process_began_its_number_counts(store, path):
    id, gone = begin(store), subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with sqlite3.connect(path) as direct:
        (process,) = direct.execute("SELECT process FROM runs").fetchone()
        known = {**json.loads(process), "born": None}
        direct.execute("UPDATE runs SET process = ?", (json.dumps(known),))
    assert store.find(id).state is RunState.RUNNING
    with direct:
        direct.execute("UPDATE runs SET process = ?", (json.dumps({**known, "pid": gone.pid}),))
    direct.close()
    assert store.find(id).state is RunState.KILLED


def test_on_another_machine_it_counts_as_killed_after_an_hour(store, path):
    id = begin(store)
    direct = sqlite3.connect(path, isolation_level=None)
    elsewhere = json.dumps({"pid": 1, "born": 1.0, "host": "elsewhere.invalid"})
    direct.execute("UPDATE runs SET process = ?", (elsewhere,))
    assert store.find(id).state is RunState.RUNNING
    direct.execute("UPDATE runs SET started = started - 3601")
    assert store.find(id).state is RunState.KILLED
    direct.close()


def test_runs_are_found_by_the_beginning_of_their_id(store):
    ids = [begin(store) for _ in range(20)]
    assert [run.id for run in store.newest()] == ids[::-1]
    assert [run.id for run in store.newest(2)] == ids[:-3:-1]
    assert store.find("last").id == ids[-1]
    assert store.find(ids[3].upper()).id == ids[3]
    for wrong in ("nothing", "", "%", "_"):
        with pytest.raises(UsageError, match="There is no run"):
            store.find(wrong)
    shared = next(  # of 20 ids two begin alike, but for one time in a hundred
        (first[0] for n, first in enumerate(ids) if any(x[0] == first[0] for x in ids[:n])), None
    )
    if shared is not None:
        with pytest.raises(UsageError, match="runs begin with"):
            store.find(shared)


@pytest.mark.parametrize("indexed", [True, False])
def test_words_are_found_in_questions_and_solutions(store, indexed):
    if not indexed:
        for name in ("words_insert", "words_delete"):
            store._connection.execute(f"DROP TRIGGER {name}")
    first, second = begin(store, "How many apples has Tom?"), begin(store, "50 % of 8?")
    store.append(second, timed(CandidateEnded(candidate(0, 'He said "half" of it\nis four.'))))

    def found(words):
        return [run.id for run in store.search(words)]

    assert found("apples") == [first]
    assert found("APPLES tom" if indexed else "apples has") == [first]
    assert found("half") == [second]
    assert found("50 %") == [second]
    assert found('"half" of') == [second]
    assert found("_ %") == found("%%") == found("pears") == []
    assert found("ppl") == [first]  # no word begins so: then anywhere in a text
    store.remove([second])
    assert found("half") == []


def test_an_index_that_was_missing_is_made_of_what_is_there(store, path):
    store._connection.execute("DROP TRIGGER words_insert")
    store._connection.execute("DROP TRIGGER words_delete")
    store._connection.execute("DROP TABLE words")
    id = begin(store, "How many apples?")
    store.close()
    with RunStore.open(path, complain) as again:
        assert [run.id for run in again.search("apple many")] == [id]


def test_removing_leaves_nothing_behind(store, path):
    secret = "a-word-that-nobody-else-writes"
    keep, gone = begin(store), begin(store, secret)
    store.append(gone, timed(CandidateEnded(candidate(0, f"{secret} " * 2000))))
    store.remove([gone])
    assert [run.id for run in store.newest()] == [keep]
    assert list(store.events(gone)) == []
    store.close()
    for each in path.parent.iterdir():
        assert secret.encode() not in each.read_bytes(), each


def test_others_write_between_the_steps_of_a_removal(store, path, monkeypatch):
    """Whoever begins a run has a turn after each step, without waiting for one."""
    going_on, gone = begin(store), [begin(store, f"apples {n}") for n in range(5)]
    for id in gone:
        store.append(id, timed(CandidateEnded(candidate(0, "apples " * 5000))))
    begun = []

    def write(seconds):
        with RunStore.open(path, complain) as other:
            begun.append(begin(other))
            other.append(going_on, timed(Decided("wave", "on it goes")))

    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    monkeypatch.setattr(database, "_TURN_SECONDS", -1)
    monkeypatch.setattr(database.time, "sleep", write)
    store.remove(gone)
    assert len(begun) > len(gone)
    assert [run.id for run in store.newest()] == [*begun[::-1], going_on]
    assert len(list(store.events(going_on))) == len(begun)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_a_removal_gives_back_what_it_can_without_holding_others_up(tmp_path, old, alone):
    path = tmp_path / "runs.db"
    if old:  # as an earlier ttc made it
        with contextlib.closing(sqlite3.connect(path)) as made:
            made.execute("CREATE TABLE any (thing)")
    with RunStore.open(path, complain) as store:
        gone = begin(store)
        store.append(gone, timed(CandidateEnded(candidate(0, "apples " * 50_000))))
        store.finish(gone, RunState.DONE)
        if not alone:
            begin(store)
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size, said = path.stat().st_size, []
        store._connection.set_trace_callback(said.append)
        store.remove([gone])
        assert ("VACUUM" in said) is (old and alone)
        assert (path.stat().st_size < size / 2) is (alone or not old)


def test_keys_are_never_stored(store, path, monkeypatch):
    key = 'sk-test-"0123456789'
    monkeypatch.setenv("OPENAI_API_KEY", key)
    request = {"question": key, "check": f"curl -H 'Authorization: {key}'"}
    id = begin(store, f"What is {key}?", request=request)
    ended = result(candidate(0, key))
    store.append(id, timed(CandidateEnded(candidate(0, f"It is {key}")), RunEnded(ended)))
    store.finish(id, RunState.FAILED, f"refused {key}")
    monkeypatch.delenv("OPENAI_API_KEY")
    for run in store.newest():
        assert "sk-test" not in repr(run)
    assert "sk-test" not in repr(list(store.events(id)))
    assert store.search("sk-test") == []
    store.close()
    for each in path.parent.iterdir():
        assert b"sk-test" not in each.read_bytes(), each


@pytest.mark.parametrize("body", ["{", "[" * 100_000])
def test_a_damaged_event_is_said_to_be_one(store, body):
    id = begin(store)
    store.append(id, timed(Warned("so it is")))
    store._connection.execute("UPDATE events SET body = ?", (body,))
    with pytest.raises(RunDamaged, match=id):
        list(store.events(id))


def test_text_that_grows_is_put_together():
    pieces, kept = Pieces(), []
    for number in range(100):
        kept += pieces.add(Timed(number / 50, Grew({0: "ab", 1: ""}, 2, number, number, 99)))
    kept += pieces.add(Timed(2.0, Warned("stop")))
    texts = [each.event for each in kept if isinstance(each.event, Grew)]
    assert len(kept) == 5  # two seconds at half a second a piece, and what is no text
    assert "".join(each.texts[0] for each in texts) == "ab" * 100
    assert texts[-1] == Grew({0: texts[-1].texts[0], 1: ""}, 2, 99, 99, 99)
    assert isinstance(kept[-1].event, Warned)
    assert [each.seconds for each in kept] == sorted(each.seconds for each in kept)
    assert pieces.take() == []


def test_a_recorder_writes_everything_in_order_from_any_thread(store, path):
    id = begin(store)
    seconds = iter(range(10, 1000))
    recorder = Recorder(store, id, clock=lambda: next(seconds))
    events = [started(), *(Decided("wave", str(n)) for n in range(200)), RunEnded(result())]
    for each in events:
        recorder(each)
    recorder.close()
    assert recorder.failure is None
    with RunStore.open(path, complain) as again:
        kept = list(again.events(id))
        assert [each.event for each in kept] == events
        assert [each.seconds for each in kept[:3]] == [0, 1, 2]
        assert again.find(id).state is RunState.DONE


def test_a_recorder_writes_while_the_run_goes_on(store, path):
    id = begin(store)
    recorder = Recorder(store, id)
    recorder(started())
    recorder(Grew({0: "a piece"}, 1, 0, 1, 9))
    with RunStore.open(path, complain) as reader:
        for _ in range(1000):  # until it was held back long enough: half a second
            if len(list(reader.events(id))) == 2:
                break
            recorder._thread.join(0.01)
        assert [type(each.event) for each in reader.events(id)] == [RunStarted, Grew]
    recorder.close(RunState.FAILED, "the engine failed")
    with RunStore.open(path, complain) as again:
        assert (again.find(id).state, again.find(id).note) == (RunState.FAILED, "the engine failed")


def test_a_run_that_is_removed_while_it_runs_ends_its_recorder_alone(store, path):
    id = begin(store)
    with RunStore.open(path, complain) as other:
        other.remove([id])
    recorder = Recorder(store, id)
    recorder(started())
    recorder.close()
    assert "removed" in recorder.failure.message


@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_is_deleted_while_a_run_goes_on_is_said(store, path, replaced):
    recorder = Recorder(store, begin(store))
    for each in path.parent.iterdir():
        each.unlink()
    if replaced:
        RunStore.open(path, complain).close()
    recorder(started())
    recorder.close()
    assert "was deleted or replaced while the run went on" in recorder.failure.message
