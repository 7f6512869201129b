"""When two answers are one: known pairs, and pairs that are equal or not by construction."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.answers import Comparer, read_answer
from ttc_cli.types import Answer, AnswerType

NUMBER, LATEX, TEXT = AnswerType.NUMBER, AnswerType.LATEX, AnswerType.TEXT
BOOLEAN, CHOICE = AnswerType.BOOLEAN, AnswerType.CHOICE


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as comparer:
        yield comparer


def read(text: str, type: AnswerType) -> Answer:
    answer = read_answer(text, type)
    assert answer is not None, text
    return answer


def meet(comparer: Comparer, one: str, other: str, type: AnswerType) -> bool:
    first, second = read(one, type), read(other, type)
    same = comparer.same(first, second)
    assert comparer.same(second, first) is same
    return same


def known_pairs() -> list[tuple[str, str, str, str]]:
    table = Path(__file__).parents[1] / "data" / "answer_pairs.tsv"
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [(type, same, one, other) for type, same, one, other in rows]


@pytest.mark.parametrize(("type", "same", "one", "other"), known_pairs())
def test_known_pairs(comparer: Comparer, type: str, same: str, one: str, other: str) -> None:
    assert meet(comparer, one, other, AnswerType(type)) is (same == "yes")


ONE = [
    (NUMBER, ["3.75", "3 3/4", "15/4", r"3\frac{3}{4}", "3¾", r"3\tfrac34", "3 (3/4)"]),
    (NUMBER, ["-2.5", "-2 1/2", "-2½", "−2 1/2", "$-2 1/2", "-2 1/2 meters", "x = -2 1/2"]),
    (LATEX, ["2.25", "(2 1/4)", "2¼", r"\frac94"]),
    (NUMBER, ["35", r"35\%", "35 percent", "$35", "35 apples"]),
    (NUMBER, ["12.5", "$12.50", "US$12.50", "EUR 12.50", "12.50 EUR", "12,50 €", "USD 12.50"]),
    (NUMBER, ["1234567", "1 234 567", r"1\,234\,567", "1{,}234{,}567", "1'234'567", "12,34,567"]),
    (NUMBER, ["1250.75", "1.250,75 €", "1 250,75 €", "$1,250.75"]),
    (NUMBER, ["3e8", "3.0×10⁸", r"3 \times 10^{8}", "3 x 10^8", "300 million", "300,000,000"]),
    (NUMBER, ["4000", "$4k", "4k", "4 thousand", r"4\text{ thousand}"]),
    (NUMBER, ["15", "15 m^2", "15 cm²", "15 °C", r"15\,\mathrm{m/s^2}", "15 N", "15 km", "15 m"]),
    (NUMBER, ["64", r"64 \frac{\text{km}}{\text{h}}", r"\approx 64", "64** ✅", "64)", "64 = x"]),
    (NUMBER, ["-17", "minus 17", "−17", "- 17"]),
    (NUMBER, [r"\frac13", r"0.\overline{3}", "0.333333333333", "1/3"]),
    (LATEX, ["2, 3", '2, "3"', "**3**, **2**"]),
    (LATEX, ["2, 3, and 5", "5,3,2", "2, 3 and 5", r"\{2,3,5\}", r"2,\ 3,\ 5"]),
    (LATEX, [r"30^\circ \text{ and } 150^\circ", r"\{150^\circ, 30^\circ\}", "30, 150"]),
    (LATEX, [r"\emptyset", r"\varnothing", r"\{\}", "∅"]),
    (LATEX, ["y=2x+3", "2x-y+3=0", "2x + 3 = y"]),
    (LATEX, ["x + y = 4", "y = 4 - x", "x=4-y"]),
    (LATEX, ["5", "5 = x", "x=5", "x = 5.0"]),
    (LATEX, ["x>3", "3<x", r"(3,\infty)"]),
    (LATEX, ["x⁴", "x^4", "x^{4}"]),
    (LATEX, ["x₁", "x_1", "x_{1}"]),
    (LATEX, ["10⁹ + 7", "10^9+7", "1000000007"]),
    (LATEX, [r"e^{-1000}", r"\frac{1}{e^{1000}}"]),
    (LATEX, ["9^{400}", "3^{800}", str(9**400), r"3\cdot 3^{799}"]),
    (LATEX, ["10^{400}", "100^{200}", "10^{399} + 9\\cdot10^{399}"]),
    (LATEX, ["1000!", r"1000\cdot 999!"]),
    (LATEX, [r"\binom{2024}{1000}", r"\frac{2024!}{1000!1024!}", r"\binom{2024}{1024}"]),
    (NUMBER, ["0.9", "9⁄10", "⁹⁄₁₀"]),
    (LATEX, ["a_{12}", "a₁₂"]),
    (LATEX, ["2^{n+1}", "2ⁿ⁺¹", r"2\cdot2^n"]),
    (LATEX, [r"\log_2 8", "log₂(8)", r"\log_{2}8", "3"]),
    (NUMBER, ["2500000", "$2.5M", "2.5 million", r"\$2.5\text{ million}", "2.5 mn"]),
    (NUMBER, ["1.5", "1,5 €", "€1,50"]),
    (NUMBER, ["1/6", r"0.1\overline{6}", r"0.1\bar 6", "0.1(6)"]),
    (NUMBER, ["9.8", r"9.8 \text{ m/s}^2", r"9.8\ \mathrm{m\,s^{-2}}", r"9.8 \frac{m}{s^2}"]),
    (NUMBER, ["9.8", "9.8 m/s²", "9.8 meters per second squared"]),
    (LATEX, ["10", r"10\text{ m}^2", r"10 \text{ square units}", "10 cm", r"10^{\circ}\mathrm{C}"]),
    (LATEX, ["x^2+y^2=25", "y^2=25-x^2", "25=x^2+y^2"]),
    (LATEX, ["y = 2x", "2x", "2x=y", "f(x)=2x"]),
    (LATEX, ["x=1, y=2", r"y=2 \text{ and } x=1"]),
    (LATEX, [r"\angle ABC = 30^\circ", "30", r"30^\circ"]),
    (LATEX, ["2(3)(4)", "24", r"\frac{4}{2}(12)"]),
    (LATEX, ["2^{3}5", "40"]),
    (LATEX, [r"|-5|", r"\left|-5\right|", "5"]),
    (LATEX, [r"e^{i\pi}", "i^2", "-1"]),
    (LATEX, [r"\tan 45^\circ", "1"]),
    (LATEX, [r"\int_0^1 x\,dx", r"\frac12", r"\lfloor 1.7 \rfloor - 0.5"]),
    (LATEX, ["bd+1", "1+db"]),
    (LATEX, [r"\mathbb{R}", r"(-\infty,\infty)", "ℝ"]),
    (TEXT, ["H₂SO₄", "H2SO4", "H_2SO_4"]),
    (TEXT, ["Washington, D.C.", "Washington DC"]),
    (TEXT, ["Hamlet", "“Hamlet”", "**Hamlet**.", "*Hamlet*"]),
    (TEXT, ["%"]),
    (TEXT, ["J. R. R. Tolkien", "J.R.R. Tolkien", "j.r.r. tolkien"]),
    (TEXT, ["♠", " ♠ "]),
    (NUMBER, ["15", "15 kr", "AED 15", "R$15", "NT$15", "15 US dollars", "$15/hour", "15 zł"]),
    (NUMBER, ["15", "15 µm", "15 mA", "15 kV", '15"', "about 15", "Plus 15", r"\cong 15"]),
    (NUMBER, ["-17", "Minus 17", "approximately -17"]),
    (NUMBER, ["1/6", "0.1666...", "0.16666…", r"0.166\overline{6}"]),
    (NUMBER, ["64", r"64\;", r"64\\", r"\;64\,", r"\large 64", r"\color{red}64", r"64 \tag{1}"]),
    (LATEX, ["64", "{64}", r"\textcolor{blue}{64}", r"\underline{64}", r"64 \checkmark", "64;"]),
    (
        LATEX,
        ["100, 200", "100\n200", r"100\quad 200", "200; 100", r"\(100\) or \(200\)", "{100, 200}"],
    ),
    (LATEX, ["x>2", r"\{x \mid x > 2\}", r"\{x \in \mathbb{R} : 2 < x\}", r"(2,\infty)"]),
    (LATEX, [r"x\equiv 3 \pmod 5", r"x \equiv 3 \pmod{5}", "x ≡ 3 (mod 5)"]),
    (LATEX, ["|AB|=5", "5"]),
    (LATEX, [r"\cos\theta = \frac12", "0.5", r"\frac{1}{4}+\frac{1}{4}=\frac12"]),
    (LATEX, ["f'(x)=2x", "2x"]),
    (LATEX, [r"\frac{dy}{dx} = 2x", "2x"]),
    (LATEX, [r"x<1 \text{ or } x>2", "x>2 ∨ x<1", r"(-\infty,1)\cup(2,\infty)"]),
    (LATEX, ["x > 1 and x < 2", "1<x<2", "(1,2)"]),
    (LATEX, [r"x\neq 1 \text{ and } x\neq 2", r"x \neq 2, x \neq 1"]),
    (LATEX, ["x=1 or x>3", r"\{1\}\cup(3,\infty)"]),
    (LATEX, ["(1,2), (3,4)", "(3, 4); (1, 2)"]),
    (NUMBER, ["0.001", "10^-3", "10**-3"]),
    (NUMBER, ["17", "12 + 5 = **17**", "**17** apples"]),
    (NUMBER, ["8", "2**3", "2 ** 3", "4**2 / 2**1"]),
    (TEXT, ["5 °C", "5°C"]),
    (TEXT, ["10 AM", "10 am", "10AM", "10 a.m."]),
    (TEXT, ["Paris", "«Paris»", "*Paris*"]),
    (BOOLEAN, ["Yes", "It is true", "Valid", "definitely yes", "Yes, no prime divides it"]),
    (BOOLEAN, ["No", "The statement is false.", "Not always", "No, yes would need n > 2"]),
    (BOOLEAN, ["No", "Not possible", "No, 91 = 7 × 13", "false"]),
    (CHOICE, ["C", "(c)", "C (mitochondria)", "C - Paris", r"C.\frac12", "[C]", r"\text{(C)}"]),
]
APART = [
    (LATEX, ["2^{2023}", "2^{2024}", "0", "2^{2024}-1", "-2^{2024}"]),
    (LATEX, ["1000!", "1001!", r"\frac{1}{1999!}", r"\frac{1}{2001!}"]),
    (LATEX, ["e^{-1000}", "e^{-2000}", "0"]),
    (LATEX, ["10^{12}", "10^{12}+1", "2^{100}", "2^{100}+1"]),
    (LATEX, [r"\pi(R^2-r^2)", r"\pi(r^2-R^2)", "0"]),
    (LATEX, ["ab", "AB", "aB", "Ab"]),
    (LATEX, ["30, 150", "30150", "(30, 150)", "(150, 30)", "[30, 150]"]),
    (NUMBER, ["1, 234", "1234"]),
    (NUMBER, ["2", "2 thousand", "2 million", "2 dozen", "2x", "2pi"]),
    (NUMBER, ["41,50", "4150", "41.50"]),
    (NUMBER, ["10⁶", "106", "25₈", "258"]),
    (NUMBER, ["3:45 PM", "3:45 AM", "3:15 PM"]),
    (LATEX, ["x=5", "y=5", "x=6"]),
    (LATEX, ["x>3", "y>3", r"x\geq3"]),
    (LATEX, ["x⁴", "x4", "x_4"]),
    (LATEX, ["xy=4", "4"]),
    (LATEX, [r"\infty", r"-\infty", "0"]),
    (LATEX, ["10^{-400}", "10^{-401}", "-10^{-400}", "0"]),
    (LATEX, [r"\tan(10^{-20})", "10^{-20}"]),
    (LATEX, [r"\ln x", r"\log x"]),
    (LATEX, [r"\vec{AB}", "AB"]),
    (LATEX, [r"1\pmod 8", r"1\pmod 7", "1"]),
    (LATEX, ["2, 4, 6, ...", "2, 4, 6"]),
    (LATEX, ["10, 000", "10000"]),
    (
        LATEX,
        [
            r"\frac{1}{6}\begin{pmatrix}1\\2\end{pmatrix}",
            r"\frac{1}{6}\begin{pmatrix}2\\1\end{pmatrix}",
        ],
    ),
    (NUMBER, ["1e-320", "1e-321", "0"]),
    (NUMBER, ["1101₂", "11012"]),
    (NUMBER, ["3,141", "3.141"]),
    (TEXT, ["A+", "A-", "A"]),
    (TEXT, ["Na⁺", "Na"]),
    (TEXT, ["2 + 2", "2 - 2", "2 * 2"]),
    (TEXT, ["A → B", "B → A"]),
    (TEXT, ["F♯", "F♭", "F"]),
    (TEXT, ["±5", "5", "-5"]),
    (TEXT, ["7-Eleven", "7", "5th Avenue", "5"]),
    (TEXT, ["11 September", "11 October", "11"]),
    (TEXT, ["10 Downing Street", "10 Main Street", "10 kg", "10 lbs", "10"]),
    (TEXT, ["Vitamin A", "Vitamin C", "Vitamin"]),
    (TEXT, ["a > b", "a < b", "a = b", "a ≥ b"]),
    (TEXT, ["€5", "£5", "$5"]),
    (TEXT, ["A*", "A", "B*"]),
    (TEXT, ["10 AM", "10 PM"]),
    (TEXT, ["AED 5", "SAR 5", "R$5", "NT$5", "5 kr", "5"]),
    (TEXT, ["A Minor", "B Minor", "minor"]),
    (NUMBER, ["3€50", "350", "3.50"]),
    (LATEX, ["100\n200", "100200"]),
    (LATEX, [r"x\equiv 3 \pmod{2^k}", r"x\equiv 3 \pmod{2}"]),
    (LATEX, [r"\sin x = \frac12", r"\cos x = \frac12"]),
    (LATEX, [r"\{x \in \mathbb{Z} : x > 2\}", r"(2,\infty)"]),
    (NUMBER, ["3.14...", "22/7", "3.14141414"]),
    (LATEX, ["x>2 and x<5", "x<2 or x>5", "x<2 or x>6", "y<2 or y>5", "x>2 or x<5"]),
    (CHOICE, ["A", "B", "C"]),
]


@pytest.mark.parametrize(("type", "spellings"), ONE)
def test_spellings_of_one_answer(
    comparer: Comparer, type: AnswerType, spellings: list[str]
) -> None:
    assert [pair for pair in combinations(spellings, 2) if not meet(comparer, *pair, type)] == []


@pytest.mark.parametrize(("type", "answers"), APART)
def test_different_answers(comparer: Comparer, type: AnswerType, answers: list[str]) -> None:
    assert [pair for pair in combinations(answers, 2) if meet(comparer, *pair, type)] == []


@pytest.mark.parametrize(
    ("type", "text"),
    [
        (BOOLEAN, "Yes or No"),
        (BOOLEAN, "true/false"),
        (BOOLEAN, "true or false depending on n"),
        (BOOLEAN, "Yes if n is even"),
        (BOOLEAN, "n is even"),
        (BOOLEAN, "not yes"),
        (BOOLEAN, "Not enough information"),
        (CHOICE, "B, D"),
        (CHOICE, "(a) and (b)"),
        (CHOICE, "A, B, or C"),
        (CHOICE, "None of the above"),
        (CHOICE, "A dog"),
        (NUMBER, "64 😀 or so"),
        (NUMBER, r"\boxed{64"),
        (NUMBER, "64>>"),
        (BOOLEAN, "Yes, no, maybe"),
        (BOOLEAN, "Yes for odd n, no for even n"),
        (BOOLEAN, "No one"),
        (BOOLEAN, "Possible values: 3"),
        (CHOICE, "(A)(B)"),
        (CHOICE, r"A = \pi r^2"),
        (NUMBER, "5 gross"),
        (NUMBER, "5 twentieths"),
        (NUMBER, "6 trillionths"),
        (NUMBER, "2 quintillion"),
        (NUMBER, "3 tenths"),
        (NUMBER, "three"),
        (TEXT, "?"),
        (TEXT, "…"),
    ],
)
def test_what_states_nothing_is_no_answer(type: AnswerType, text: str) -> None:
    assert read_answer(text, type) is None


@pytest.mark.parametrize("text", ["Not possible", "not possible.", "Not possible, since 7 is odd"])
def test_a_denial_is_shown_whole(text: str) -> None:
    assert read(text, BOOLEAN).text.lower() == "not possible"


VULGAR = {Fraction(1, 2): "½", Fraction(3, 4): "¾", Fraction(1, 8): "⅛", Fraction(2, 3): "⅔"}
SUPER = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def spell_whole(n: int, pick: random.Random) -> str:
    digits = pick.choice(
        [f"{n}", f"{n:,}", f"{n:,}".replace(",", "{,}"), f"{n:,}".replace(",", r"\,"), f"{n}.0"]
    )
    around = pick.choice(
        ["{}", "${}$", r"\${}", "{}%", r"{}\text{{ cm}}^2", "**{}**", "x = {}", "{} apples"]
    )
    return pick.choice(["{}", around]).format(digits)


def spell_ratio(value: Fraction, pick: random.Random) -> str:
    whole, part = divmod(abs(value), 1)
    sign = pick.choice(["-", "−", "minus "]) if value < 0 else ""
    mixed = f"{whole} " if whole else ""
    a, b = part.numerator, part.denominator
    above, below = abs(value.numerator), value.denominator
    spellings = [
        f"{sign}{above}/{below}",
        rf"{sign}\frac{{{above}}}{{{below}}}",
        rf"{sign}\dfrac{{{3 * above}}}{{{3 * below}}}",
        f"{sign}{mixed}{a}/{b}",
        rf"{sign}{mixed}\frac{{{a}}}{{{b}}}",
        f"x = {sign}{mixed}{a}/{b}",
        f"{sign}{mixed}{a}/{b} meters",
    ]
    if part in VULGAR:
        spellings.append(f"{sign}{whole or ''}{VULGAR[part]}")
    return pick.choice(spellings)


@given(n=st.integers(0, 10**30), pick=st.randoms(use_true_random=False))
def test_a_whole_number_meets_itself_and_not_its_neighbour(
    comparer: Comparer, n: int, pick: random.Random
) -> None:
    assert meet(comparer, spell_whole(n, pick), spell_whole(n, pick), NUMBER)
    assert not meet(comparer, spell_whole(n, pick), spell_whole(n + 1, pick), NUMBER)


@given(
    whole=st.integers(0, 999),
    part=st.sampled_from([*VULGAR, Fraction(1, 7), Fraction(5, 9), Fraction(3, 16)]),
    sign=st.sampled_from([1, -1]),
    pick=st.randoms(use_true_random=False),
)
def test_a_fraction_meets_itself_and_no_other(
    comparer: Comparer, whole: int, part: Fraction, sign: int, pick: random.Random
) -> None:
    value = sign * (whole + part)
    assert meet(comparer, spell_ratio(value, pick), spell_ratio(value, pick), NUMBER)
    for other in (-value, value + 1, sign * (whole + part + Fraction(1, 10**9))):
        assert not meet(comparer, spell_ratio(value, pick), spell_ratio(other, pick), NUMBER)


@given(exponent=st.integers(-300, 300), digit=st.integers(1, 9))
def test_powers_of_ten_in_superscripts(comparer: Comparer, exponent: int, digit: int) -> None:
    raised = f"{digit}×10{str(exponent).translate(SUPER)}"
    assert meet(comparer, raised, f"{digit}e{exponent}", NUMBER)
    assert not meet(comparer, raised, f"{digit}e{exponent + 1}", NUMBER)


@pytest.mark.slow
@given(
    numbers=st.lists(st.integers(-9999, 9999), min_size=2, max_size=5, unique=True),
    pick=st.randoms(use_true_random=False),
)
def test_lists_in_any_order_are_one_and_points_are_not(
    comparer: Comparer, numbers: list[int], pick: random.Random
) -> None:
    other = pick.sample(numbers, len(numbers))
    *first, last = map(str, other)
    listed = pick.choice(
        [
            ", ".join(map(str, other)),
            f"{', '.join(first)} and {last}",
            f"{', '.join(first)}, and {last}",
            rf"{', '.join(first)} \text{{ or }} {last}",
            rf"\{{{', '.join(map(str, other))}\}}",
        ]
    )
    assert meet(comparer, ", ".join(map(str, numbers)), listed, LATEX)
    assert not meet(comparer, listed, ", ".join(map(str, [*numbers, 10_000])), LATEX)
    points = [f"({', '.join(map(str, each))})" for each in (numbers, other)]
    assert meet(comparer, *points, LATEX) is (numbers == other)
    assert not meet(comparer, points[0], listed, LATEX)


LETTERS = st.sampled_from("abcghkmnpqrstuvwxyz")


@settings(max_examples=20, deadline=None)
@given(one=LETTERS, other=LETTERS, k=st.integers(2, 9), big=st.integers(400, 2000))
def test_expressions_meet_by_algebra_alone(
    comparer: Comparer, one: str, other: str, k: int, big: int
) -> None:
    a, b = one, other if other != one else "d"
    assert meet(comparer, f"{k}({a}+{b})", f"{k}{b} + {k}{a}", LATEX)
    assert not meet(comparer, f"{k}({a}-{b})", f"{k}({b}-{a})", LATEX)
    assert not meet(comparer, f"{a}^{k} + {b}", f"{a.upper()}^{k} + {b}", LATEX)
    assert not meet(comparer, f"{a}^2-{a.upper()}^2", "0", LATEX)
    assert meet(comparer, f"{k}^{{{2 * big}}}", f"{k * k}^{{{big}}}", LATEX)
    assert not meet(comparer, f"{k}^{{{big}}}", f"{k}^{{{big}}}+1", LATEX)
    assert not meet(comparer, f"{k}^{{-{big}}}", f"{k}^{{-{big + 1}}}", LATEX)
    assert not meet(comparer, f"e^{{-{big}}}", f"e^{{-{big + 1}}}", LATEX)


WORDS = st.sampled_from(["May", "June", "kg", "lbs", "red", "Street", "Road", "Cent", "p.m.", "BC"])


@given(n=st.integers(1, 10**6), one=WORDS, other=WORDS)
def test_what_a_number_counts_is_part_of_a_text(
    comparer: Comparer, n: int, one: str, other: str
) -> None:
    assert meet(comparer, f"{n} {one}", f"the {n:,} {one}.", TEXT)
    assert meet(comparer, f"{n} {one}", f"{n} {other}", TEXT) is (one == other)
    assert not meet(comparer, f"{n} {one}", f"{n}", TEXT)
    assert not meet(comparer, f"{n} {one}", f"{n + 1} {one}", TEXT)


@pytest.mark.parametrize("piece", ["(", "(1,", r"\{1,", "{", "["])
def test_what_is_nested_too_deep_is_no_answer(piece: str) -> None:
    close = {"(": ")", "[": "]", "{": "}"}[piece.lstrip("\\")[0]]
    text = piece * 400 + "1" + ("\\" * piece.startswith("\\") + close) * 400
    for type in (NUMBER, LATEX, TEXT):
        assert read_answer(text, type) is None


PIECES = r"""1, | 1 1/2 | ² | √½ | \text{ | \text{cm}^ | \frac{ | million | 1.234, | J. | A, | and |
    } | x= | 1'234 | 0.(3) | \pm | \{ | ♠ | ✅ | * | yes or | US$ | `` | (1"""


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES.split("|"))
def test_hostile_repetition_is_read_in_linear_time(piece: str) -> None:
    started = time.process_time()
    for type in (NUMBER, LATEX, TEXT, BOOLEAN, CHOICE):
        for text in (piece * (1990 // len(piece)), "1" + piece * (1980 // len(piece)) + "x"):
            read_answer(text, type)
    assert time.process_time() - started < 5
