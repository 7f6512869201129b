from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.answers import Comparer, extract, read_answer
from ttc_cli.types import Answer, AnswerType

DATA = Path(__file__).parents[1] / "data"
NUMBER, LATEX, TEXT, FREE = AnswerType.NUMBER, AnswerType.LATEX, AnswerType.TEXT, AnswerType.FREE


def latex(text: str) -> Answer:
    answer = read_answer(text, LATEX)
    assert answer is not None
    return answer


def number(text: str) -> Answer:
    answer = read_answer(text, NUMBER)
    assert answer is not None
    return answer


def references() -> list[str]:
    lines = (DATA / "math500" / "test_0_199.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"] for line in lines]


def workers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "worker.py" in " ".join(p.cmdline())]


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as comparer:
        yield comparer


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (r"\sqrt{12}", r"2\sqrt3"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"),
        ("2(k+1)", "2k+2"),
        ("(a+5)(b+2)", "ab+2a+5b+10"),
        ("5x-7y+11z+4=0", "-5x+7y-11z-4=0"),
        ("y=2x+1", "2x+1"),
        ("1,-2", "-2, 1"),
        (r"x=1\text{ or }x=2", "1,2"),
        (r"1\pm\sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
        ("x>2", r"(2,\infty)"),
        ("6-5i", "-5i+6"),
        (r"\cot x", r"\frac{\cos x}{\sin x}"),
        (r"\sin^2 x+\cos^2 x", "1"),
        (r"\left( 3, \frac{\pi}{2} \right)", "(3, π/2)"),
        (
            r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
            r"\begin{bmatrix} -\frac13 \\ \frac23 \\ \frac53 \end{bmatrix}",
        ),
        (r"\text{east}", "East"),
        ("10^6", "1,000,000"),
    ],
)
def test_same(comparer: Comparer, first: str, second: str) -> None:
    assert comparer.same(latex(first), latex(second))
    assert comparer.same(latex(second), latex(first))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("(3,4]", "(3,4)"),
        ("(2,1)", "(1,2)"),
        ("(-2,1)", "1,-2"),
        (r"\{1,2\}", "(1,2)"),
        ("52_8", "52_9"),
        ("0", "5x-7y+11z+4=0"),
        ("x", "1"),
        ("3.14", r"\pi"),
        ("0.33", r"\frac{1}{3}"),
        ("seat", r"\text{east}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}"),
        ("6-5i", "6+5i"),
        (r"\frac{", "1"),
    ],
)
def test_different(comparer: Comparer, first: str, second: str) -> None:
    assert not comparer.same(latex(first), latex(second))
    assert not comparer.same(latex(second), latex(first))


def test_no_two_different_references_of_math_are_taken_for_each_other(comparer: Comparer) -> None:
    answers = {latex(text).key: latex(text) for text in references()}
    hard = [a for a in answers.values() if not a.key.lstrip("-").replace(".", "").isdigit()]
    assert len(hard) > 30
    assert [(a.key, b.key) for a, b in combinations(hard, 2) if comparer.same(a, b)] == []


def test_grading_by_reference(comparer: Comparer) -> None:
    assert comparer.grade(extract("The answer is $18.", NUMBER), "16 - 3 = 13\n#### 18")
    assert comparer.grade(extract(r"\boxed{7500.00}", NUMBER), "#### 7,500")
    assert comparer.grade(extract(r"\boxed{x = \frac{28}{6}}", LATEX), r"\frac{14}{3}")
    assert not comparer.grade(extract(r"\boxed{19}", NUMBER), "#### 18")
    assert not comparer.grade(None, "#### 18")


def test_plain_answers_need_no_worker_and_no_algebra() -> None:
    code = (
        "import sys\n"
        "from ttc_cli.answers import Comparer, extract\n"
        "from ttc_cli.types import AnswerType as T\n"
        "import psutil\n"
        "with Comparer() as c:\n"
        "    rows = [(i, extract(f'#### {i % 7},000', T.NUMBER), 1.0) for i in range(64)]\n"
        "    assert len(c.classify(rows)) == 7\n"
        "    for _ in range(1000): c.same(rows[0][1], rows[1][1])\n"
        "    assert not psutil.Process().children()\n"
        "assert not {'sympy', 'latex2sympy2_extended'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


ENDLESS = r"\binom{1000000000}{500000000}"


@pytest.mark.slow
@pytest.mark.parametrize("hostile", [ENDLESS, "9^{9^{9^{9}}}", "2^{2^{2^{99}}}", "100!!!"])
def test_hostile_latex_is_survived_and_the_worker_comes_back(hostile: str) -> None:
    with Comparer(limit_seconds=1) as comparer:
        assert not comparer.same(latex(hostile), latex("5"))
        assert not comparer.same(latex(hostile), latex("6"))
        assert comparer.same(latex(r"\sqrt{12}"), latex(r"2\sqrt3"))


def test_spent_time_makes_undecided_answers_different() -> None:
    with Comparer(call_seconds=0) as comparer:
        assert not comparer.same(latex(r"\sqrt{12}"), latex(r"2\sqrt3"))
        assert comparer.same(latex("1,000"), latex("1000.0"))


@pytest.mark.slow
def test_the_worker_serves_any_thread_and_ends_with_its_comparer() -> None:
    before = {process.pid for process in workers()}
    outcome: list[bool] = []
    with Comparer() as comparer:
        comparer.start()
        ask = threading.Thread(
            target=lambda: outcome.append(comparer.same(latex("2(k+1)"), latex("2k+2")))
        )
        ask.start()
        ask.join()
        (started,) = [process for process in workers() if process.pid not in before]
        started.kill()
        started.wait()
        assert comparer.same(latex("4(k+1)"), latex("4k+4"))
    assert {process.pid for process in workers()} <= before
    assert outcome == [True]


@pytest.mark.slow
def test_an_interrupt_ends_a_comparison_at_once() -> None:
    with Comparer(limit_seconds=60) as comparer:
        assert comparer.same(latex(r"\sqrt{12}"), latex(r"2\sqrt3"))
        timer = threading.Timer(0.3, comparer.interrupt)
        started = time.monotonic()
        timer.start()
        assert not comparer.same(latex(ENDLESS), latex("5"))
        assert time.monotonic() - started < 20
        assert comparer.same(latex("2(k+1)"), latex("2k+2"))


SPELLINGS = ["2", "2.0", r"\frac{4}{2}", r"\sqrt{4}", "3", "k+1", "1+k", "(1,2)", "(1, 2)", "x"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_classes_do_not_depend_on_the_order(comparer: Comparer, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=8))
    weights = data.draw(
        st.lists(st.sampled_from([0.1, 0.2, 0.3, 1.0]), min_size=len(chosen), max_size=len(chosen))
    )
    rows = [(i, latex(s), w) for i, (s, w) in enumerate(zip(chosen, weights, strict=True))]
    classes = comparer.classify(rows)
    assert comparer.classify(data.draw(st.permutations(rows))) == classes
    assert sorted(m for c in classes for m in c.members) == list(range(len(rows)))
    assert [c.weight for c in classes] == sorted((c.weight for c in classes), reverse=True)


@pytest.mark.parametrize(
    ("texts", "at_once"),
    [
        (["12", "3.5", "1/2"], True),
        (["red", "blue and green", "7"], True),
        ([r"\frac{x}{2}", r"\frac{x}{2}"], True),
        ([r"\frac{x}{2}", "7"], False),
        ([r"\sqrt{12}", r"2\sqrt3"], False),
        ([], True),
    ],
)
def test_what_is_decided_by_keys_asks_no_algebra(texts: list[str], at_once: bool) -> None:
    with Comparer() as comparer:
        before = len(workers())
        answers = [latex(text) for text in texts]
        assert comparer.decides_at_once(answers) is at_once
        if at_once:
            comparer.classify([(place, each, 1.0) for place, each in enumerate(answers)])
            assert len(workers()) == before


def test_classes_join_through_a_third_and_show_the_commonest_spelling(comparer: Comparer) -> None:
    rows = [(1, latex("3"), 1.0), (2, latex(r"\sqrt{4}"), 1.0), (3, latex("2"), 1.0)]
    first, second = comparer.classify([*rows, (4, latex("2.0"), 0.5), (5, latex("2"), 1.0)])
    assert (first.members, first.weight, first.answer.text) == ((2, 3, 4, 5), 3.5, "2")
    assert second.members == (1,)


def test_ties_go_to_the_first_candidate(comparer: Comparer) -> None:
    rows = [(7, number("5"), 1.0), (2, number("9"), 1.0)]
    assert [c.members for c in comparer.classify(rows)] == [(2,), (7,)]


def test_free_texts_are_never_grouped(comparer: Comparer) -> None:
    same = Answer("A poem.", "A poem.", FREE)
    assert len(comparer.classify([(1, same, 1.0), (2, same, 1.0)])) == 2


def test_texts_compare_by_their_words(comparer: Comparer) -> None:
    one, other = read_answer("The Eiffel  Tower.", TEXT), read_answer("eiffel tower", TEXT)
    assert one is not None
    assert other is not None
    assert comparer.same(one, other)
    assert not comparer.same(Answer("east", "east", TEXT), Answer("seat", "seat", TEXT))


@pytest.mark.slow
def test_nothing_to_classify(comparer: Comparer) -> None:
    assert comparer.classify([]) == ()
