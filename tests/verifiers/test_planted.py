from __future__ import annotations

import json
import math
import re

import pytest

from ttc_cli.answers import extract
from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType
from ttc_cli.verifiers.planted import PLANTED, load_planted

# Each answer once more, in the order of the questions.
ANSWERS = [
    12 * 8 - 70,
    45 - 45 // 3 - 6,
    (13 * 60 + 15) - (9 * 60 + 40),
    4 * 3 + 6 * 5,
    2 * (9 + 4),
    80 - 80 * 25 // 100,
    (3 * 8 - 4) // 5,
    16 - 5 + 7,
    240 // (15 - 3),
    37 * 14,
    (12 + 15 + 18 + 27) // 4,
    next(cows for cows in range(11) if 4 * cows + 2 * (10 - cows) == 28),
    next(x for x in range(100) if 3 * x - 7 == 20),
    len(range(0, 31, 5)),
    18 + 36 + (36 - 10),
    round(150 / 2.5),
    5 + 6 * 3 - 4,
    round(2.4 * 3 * 1000),
    sum(a + b == 8 for a in range(1, 7) for b in range(1, 7)),
    40 * 14 + (45 - 40) * 21,
    math.gcd(36, 84),
    300 * 10 // 4,
    4 * math.isqrt(49),
    120 + 120 * 115 // 100,
]
EQUATION = re.compile(r"(?<![\w.])(\(?[\d.]+(?: [-+*/] \(?[\d.]+\)?)+) = ([\d.]*\d)(?![\w/])")


def equations(text: str) -> list[tuple[str, str]]:
    return EQUATION.findall(text)


def holds(left: str, right: str) -> bool:
    assert set(left) <= set("0123456789.+-*/() ")
    return eval(left) == pytest.approx(float(right), abs=0.005)


def test_there_are_as_many_as_promised_and_all_differ() -> None:
    assert len(PLANTED) == len(ANSWERS) == 24
    assert len({each.question for each in PLANTED}) == 24


@pytest.mark.parametrize("place", range(24))
def test_the_right_one_is_right_and_the_wrong_one_wrong(place) -> None:
    each, answer = PLANTED[place], str(ANSWERS[place])
    stated = [
        extract("\n\n".join(steps), AnswerType.NUMBER).key for steps in (each.right, each.wrong)
    ]
    assert each.answer == answer == stated[0]
    assert stated[1] != answer
    found = equations(" ".join(each.right))
    assert all(holds(*equation) for equation in found), found
    assert 0 < each.wrong_from < len(each.wrong)


def test_wrong_equations_stand_only_behind_the_slip() -> None:
    slips = 0
    for each in PLANTED:
        for place, step in enumerate(each.wrong):
            wrong = [equation for equation in equations(step) if not holds(*equation)]
            assert not wrong or place >= each.wrong_from
            slips += bool(wrong)
    assert 5 <= slips <= 12  # the others are slips of thought, with every sum in order


def test_enough_equations_are_looked_at() -> None:
    assert sum(len(equations(" ".join(each.right))) for each in PLANTED) > 45
    assert equations("so 12 * 8 = 97 rolls") == [("12 * 8", "97")]
    assert not holds("12 * 8", "97")


def test_ones_own_are_read_from_a_file(tmp_path) -> None:
    path = tmp_path / "own.jsonl"
    row = {"question": "1+1?", "answer": "2", "right": ["a", "2"], "wrong": ["a", "3"]}
    path.write_text(json.dumps(row) + "\n\n")
    (found,) = load_planted(path)
    assert (found.right, found.wrong, found.wrong_from) == (("a", "2"), ("a", "3"), 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no solutions"),
        ("{", "line 1"),
        ('{"question": "1", "answer": "2", "right": ["a"], "wrong": ["a"]}', "the same"),
        ('{"question": "1", "answer": "2", "right": ["a"]}', "wrong"),
    ],
)
def test_other_files_are_refused(tmp_path, text, told) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        load_planted(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_planted(tmp_path / "none")
