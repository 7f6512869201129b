"""The answer in the last line that a program printed."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ttc_cli.answers import Comparer
from ttc_cli.answers.floats import drop_noise
from ttc_cli.answers.latex import NotationError
from ttc_cli.answers.notation import parse
from ttc_cli.answers.printed import STATED, find_last_line, read_printed
from ttc_cli.types import AnswerType

NUMBER, LATEX, TEXT = AnswerType.NUMBER, AnswerType.LATEX, AnswerType.TEXT
CHOICE, BOOLEAN = AnswerType.CHOICE, AnswerType.BOOLEAN


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as comparer:
        yield comparer


NUMBERS = [
    ("18", "18"),
    ("18.0", "18"),
    ("-0.0", "0"),
    ("18.000000000000004", "18"),
    ("53.99999999999999", "54"),
    ("2.9999999997123", "3"),
    ("0.30000000000000004", "0.3"),
    ("1234.5600000000002", "1234.56"),
    ("0.12340000000000001", "0.1234"),
    ("6.666666666666667", r"\frac{20}{3}"),
    ("3.00000000000000", "3"),
    ("12.50", "12.5"),
    ("1e6", "1000000"),
    ("1.2e+20", r"1.2 \times 10^{20}"),
    ("1e-05", "0.00001"),
    ("$18.00", "18"),
    ("-$5", "-5"),
    ("1,234.50", "1234.5"),
    ("12 hours", "12"),
    ("75%", "75"),
    ("50.0 %", "50"),
    ("3/4", r"\frac{3}{4}"),
    ("Fraction(3, 4)", "0.75"),
    ("Rational(-3, 4)", "-0.75"),
    ("Fraction('3/4')", "0.75"),
    ("Decimal('18.50')", "18.5"),
    ("np.float64(3.0)", "3"),
    ("2**10", "1024"),
    ("sqrt(2)/2", r"\frac{\sqrt{2}}{2}"),
    ("1.0*pi", r"\pi"),
    ("5!", "120"),
    ("[18]", "18"),
    ("(18,)", "18"),
    ("{18}", "18"),
    ("[18.0]", "18"),
    ("{x: 3}", "3"),
    ("[{x: 3}]", "3"),
    ("{'total': 18}", "18"),
    ("Eq(x, 3)", "3"),
    ("x = 3", "3"),
    ("['18']", "18"),
    ("The answer is 18 dollars", "18"),
    ("The final answer is: 18.", "18"),
    (r"\boxed{18}", "18"),
    ("#### 18", "18"),
    ("Total: 18", "18"),
    ("Profit = 18.000000000000004", "18"),
    ("Total after 5 years: $18.50", "18.5"),
    ("The sum of the first 10 terms is 55.", "55"),
    ("Mary has 5.0 apples", "5"),
    ("step 1 of 2\n\n  18  \n \n", "18"),
    ("5\r\n18\r\n", "18"),
]


@pytest.mark.parametrize(("line", "meant"), NUMBERS)
def test_a_number(comparer: Comparer, line: str, meant: str) -> None:
    assert comparer.grade(read_printed(line, NUMBER), meant), read_printed(line, NUMBER)


EXPRESSIONS = [
    ("18.0", "18"),
    ("3/4", r"\frac{3}{4}"),
    ("Rational(3, 4)", r"\frac{3}{4}"),
    ("-sqrt(2)/2", r"-\frac{\sqrt{2}}{2}"),
    ("2*sqrt(3) + 1", r"2\sqrt{3}+1"),
    ("1 + 2*sqrt(3)", r"2\sqrt{3}+1"),
    ("sqrt(3)*sqrt(5)", r"\sqrt{15}"),
    ("2**(1/3)", r"\sqrt[3]{2}"),
    ("cbrt(2)", r"\sqrt[3]{2}"),
    ("0.5*sqrt(3)", r"\frac{\sqrt{3}}{2}"),
    ("pi/4", r"\frac{\pi}{4}"),
    ("2.0*pi", r"2\pi"),
    ("x**2 - 3*x", "x^2-3x"),
    ("x^2 - 3*x", "x^2-3x"),
    ("(x - 1)*(x + 2)", "(x-1)(x+2)"),
    ("x*(x + 1)", "x^2+x"),
    ("-2*x*y/3", r"-\frac{2xy}{3}"),
    ("2*(x + 1)*3", "6x+6"),
    ("1 - (x - 1)", "2-x"),
    ("-(x + 1)", "-x-1"),
    ("-(x + 1)**2", "-(x+1)^2"),
    ("(-x)**2", "x^2"),
    ("2/(3*x)", r"\frac{2}{3x}"),
    ("sin(x)**2", r"\sin^2 x"),
    ("exp(2*x)", "e^{2x}"),
    ("E**2", "e^2"),
    ("log(2)", r"\ln 2"),
    ("binomial(5, 2)", r"\binom{5}{2}"),
    ("factorial(5)", "120"),
    ("Abs(x - 1)", "|x-1|"),
    ("Poly(x**2 + 1, x, domain='ZZ')", "x^2+1"),
    ("(3, pi/2)", r"\left( 3, \frac{\pi}{2} \right)"),
    ("(3, 1.5707963267948966)", "(3, 1.5707963267948966)"),
    ("Point2D(3, 4)", "(3,4)"),
    ("[3, 4]", "3, 4"),
    ("[-sqrt(2), sqrt(2)]", r"\sqrt{2}, -\sqrt{2}"),
    ("sqrt(2), -sqrt(2)", r"\pm\sqrt{2}"),
    ("3 4", "3,4"),
    ("{1, 2}", r"\{1,2\}"),
    ("FiniteSet(1, 2)", "1,2"),
    ("[(1, 2), (3, 4)]", "(1,2),(3,4)"),
    ("{x: 3}", "3"),
    ("[{x: 1}, {x: 2}]", "1,2"),
    ("{x: 1, y: 2}", "(1,2)"),
    ("[{x: 1, y: 2}]", "(1,2)"),
    ("(x, y) = (1, 2)", "(1,2)"),
    ("x = 1, y = 2", "x=1,y=2"),
    ("∞", r"\infty"),
    ("undefined", r"\text{undefined}"),
    ("Eq(x, 3)", "3"),
    ("Eq(y, 2*x + 1)", "y=2x+1"),
    ("y = 2*x + 1", "y = 2x+1"),
    ("x**2 + y**2 = 9", "x^2+y^2=9"),
    ("1 + 2*I", "1+2i"),
    ("(1+2j)", "1+2i"),
    ("(6.123233995736766e-17+1j)", "i"),
    ("[-I, I]", "i, -i"),
    ("Matrix([[1, 2], [3, 4]])", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ("[[1, 2], [3, 4]]", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ("Matrix([1, 2])", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ("Matrix(1, 2, [1, 2])", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    ("Matrix([[-1/2], [sqrt(3)]])", r"\begin{pmatrix} -\frac{1}{2} \\ \sqrt{3} \end{pmatrix}"),
    ("Interval.open(0, 1)", "(0,1)"),
    ("Interval(0, 1)", "[0,1]"),
    ("Interval(0, 1, False, True)", "[0,1)"),
    ("Interval.Ropen(0, 1)", "[0,1)"),
    ("Interval(0, oo)", r"[0,\infty)"),
    ("Union(Interval.open(-oo, 0), Interval(1, 2))", r"(-\infty,0)\cup[1,2]"),
    ("[0, 1)", "[0,1)"),
    ("x > 3", r"(3,\infty)"),
    ("(-oo < x) & (x < 3)", "x<3"),
    ("(0 <= x) & (x < 3)", "[0,3)"),
    ("(x > 3) | (x < -1)", r"(-\infty,-1)\cup(3,\infty)"),
    ("EmptySet", r"\emptyset"),
    ("Reals", r"\mathbb{R}"),
    ("theta", r"\theta"),
    ("1,234", "1234"),
    (r"\frac{3}{4}", "0.75"),
    (r"$\frac{3}{4}$", "0.75"),
    ("Evelyn", r"\text{Evelyn}"),
    ("['Evelyn']", r"\text{Evelyn}"),
    ("The roots are: 2, 3", "2,3"),
    ("Simplified expression: 2*sqrt(3)", r"2\sqrt{3}"),
    ("12 cm^2", r"12\text{ cm}^2"),
    ("52_8", "52_8"),
]


@pytest.mark.parametrize(("line", "meant"), EXPRESSIONS)
def test_an_expression(comparer: Comparer, line: str, meant: str) -> None:
    assert comparer.grade(read_printed(line, LATEX), meant), read_printed(line, LATEX)


COLUMN = r"Compute $\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \mathbf{v}$."
RANGE = "Find the range of the function."


@pytest.mark.parametrize(
    ("line", "question", "meant"),
    [
        ("[0, -5]", COLUMN, r"\begin{pmatrix} 0 \\ -5 \end{pmatrix}"),
        ("[[0, 1], [1, 0]]", COLUMN, r"\begin{pmatrix} 0 & 1 \\ 1 & 0 \end{pmatrix}"),
        ("(0, -5)", COLUMN, "(0,-5)"),
        ("[3, 15]", RANGE, "[3,15]"),
        ("[pi/4, 3*pi/4]", RANGE, r"\left[ \frac{\pi}{4}, \frac{3 \pi}{4} \right]"),
        ("[1, 2, 3]", RANGE, "1,2,3"),
        ("[3, 15]", "Solve for x.", "3,15"),
    ],
)
def test_the_question_says_what_a_list_is(
    comparer: Comparer, line: str, question: str, meant: str
) -> None:
    answer = read_printed(line, LATEX, question)
    assert comparer.grade(answer, meant), answer


@pytest.mark.parametrize(
    ("line", "type", "key"),
    [
        ("B", CHOICE, "B"),
        ("(B)", CHOICE, "B"),
        ("['C']", CHOICE, "C"),
        ("Option B", CHOICE, "B"),
        ("The correct option is: B", CHOICE, "B"),
        ("True", BOOLEAN, "yes"),
        ("No", BOOLEAN, "no"),
        ("Is it prime: False", BOOLEAN, "no"),
        ("Paris", TEXT, "paris"),
        ("The capital is Paris.", TEXT, "paris"),
        ("18.0", TEXT, "18"),
        ("Monday, 3 May", TEXT, "monday 3 may"),
        ("Terror", TEXT, "terror"),
        ("a set", TEXT, "set"),
        (">", TEXT, ">"),
    ],
)
def test_other_types(line: str, type: AnswerType, key: str) -> None:
    answer = read_printed(line, type)
    assert answer is not None
    assert answer.key == key


@pytest.mark.parametrize("type", sorted(STATED))
@pytest.mark.parametrize(
    "output",
    ["", "\n \n", "None", "nan", "[]", "()", "{}", "set()", "[None]", "inf", "zoo", "...",
     "ZeroDivisionError: division by zero", "Error: no such value",
     "-----", "***", "<function solve at 0x7f0c5e5a>",
     "<generator object f at 0x7f>", "<class 'int'>", "x" * 3000],
)  # fmt: skip
def test_what_tells_no_answer(output: str, type: AnswerType) -> None:
    assert read_printed(output, type) is None


@pytest.mark.parametrize(
    "line",
    ["(3, 4)", "[3, 4]", "12, 15", "3 4", "True", "x", "18 apples and 3 pears",
     "Alice: 3, Bob: 5", "2 hours 30 minutes", "{'a': 1, 'b': 2}"],
)  # fmt: skip
def test_what_is_not_one_number(line: str) -> None:
    assert read_printed(line, NUMBER) is None


@pytest.mark.parametrize(
    "line",
    ["Piecewise((x, x > 0), (0, True))", "ConditionSet(x, Eq(x, 2), Reals)", "[]", "[{}]",
     "There is no way to find the answer with the numbers that are given here"],
)  # fmt: skip
def test_what_is_not_an_expression(line: str) -> None:
    assert read_printed(line, LATEX) is None


@pytest.mark.parametrize("type", [AnswerType.FREE, AnswerType.CODE, AnswerType.JSON])
def test_programs_do_not_print_these(type: AnswerType) -> None:
    assert read_printed("18", type) is None


def test_noise_is_told_from_digits() -> None:
    assert drop_noise("1.4142135623730951") == "1.4142135623730951"
    assert drop_noise("0.3333333333333333") == "0.3333333333333333"
    assert drop_noise("12.50") == "12.50"
    assert drop_noise("-18.0") == "-18"
    assert drop_noise("1e22") == "1e22"
    assert drop_noise("-0.7999999999999998") == "-0.8"


HOSTILE = [
    "9**9**9", "9^9^9^9", "10**(10**10)", "factorial(10**9)", "1" * 100_000, "1" * 1990,
    "(" * 1990, "(" * 900 + "1" + ")" * 900, "-" * 1990 + "1", "~" * 1990 + "1",
    "+".join("1" * 900), "*".join("x" * 900), "**".join("2" * 600), "[" * 90 + "]" * 90,
    "sqrt(" * 300 + "2" + ")" * 300, "x" * 1_000_000, "1\n" * 500_000, "\x00", "1\x002",
    "\ud800", "'\ud800'", "lambda: 1", "__import__('os').system('x')", "[x for x in y]",
    "f'{x}'", "'\\d'", "1if 2else 3", "0x1for x in y", "1 is 2", "x := 3", "*a, b", "{**a}",
    "f(*a)", "Interval()", "Matrix()", "Matrix([])", "Matrix([[]])", "Matrix(2, 0, [])",
    "Matrix(1e9, 3, [1])", "Rational()", "Fraction(x, y, z)", "log()", "root(1)", "1e999",
    "1e999999999", "a" * 1000 + ":" * 900, ("ab: " * 499), "is " * 600, "=" * 1999, "0_0",
    "Interval.open(*x)", "S.x", "a.b.c", "a[0]", "{1: 2, **x}", "(yield)", "await x", "b'x'",
    "Union()", "And()", "(-oo < x) & (x < oo)", "1_0", "٣", "½", "x²", "list()", "str('\\x1b')",
]  # fmt: skip


@pytest.mark.parametrize("output", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("type", list(AnswerType))
def test_hostile_lines_cost_no_time(output: str, type: AnswerType) -> None:
    started = time.thread_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_printed(output, type)
    assert time.thread_time() - started < 2


def test_a_power_is_not_worked_out() -> None:
    answer = read_printed("9**9**9", NUMBER)
    assert answer is not None
    assert answer.key == "9^{9^9}"


@given(st.text(), st.sampled_from(list(AnswerType)))
def test_any_text_is_read_or_not(text: str, type: AnswerType) -> None:
    answer = read_printed(text, type)
    assert answer is None or (answer.type is type and answer.key)


_PIECES = [
    "1", "2.5", "x", "pi", "oo", "sqrt(", "(", ")", "[", "]", "{", "}", ",", ", ", ":", "=", "**",
    "*", "+", "-", "/", "//", "%", "^", " ", "'", "Eq(", "Matrix(", "Interval", ".open(", "&", "|",
    "<", ">", "True", "None", "j", "e", "lambda", "if", "is", " is ", "\\", "\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=24).map("".join))
@example("Matrix([[1,2],[3]])")
def test_notation_is_written_or_refused(text: str) -> None:
    value = parse(text)
    if value is not None:
        with contextlib.suppress(NotationError):
            assert isinstance(value.write(), str)
    for type in (NUMBER, LATEX):
        read_printed(text, type)


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_come_back(number: int) -> None:
    for text in (str(number), f"{number:,}", f"[{number}]", f"Total: {number}"):
        answer = read_printed(text, NUMBER)
        assert answer is not None
        assert answer.key == str(number)


@given(st.integers(-(10**7), 10**7), st.integers(0, 4))
def test_decimals_come_back_through_floats(digits: int, places: int) -> None:
    meant = Fraction(digits, 10**places)
    for number in (
        digits / 10**places,
        digits / 10**places / 3 * 3,
        digits / 10**places + 0.1 - 0.1,
    ):
        for type in (NUMBER, LATEX):
            answer = read_printed(repr(number), type)
            assert answer is not None
            if meant or number == 0:
                assert Fraction(answer.key) == meant, repr(number)


@given(st.fractions(max_denominator=10**4))
def test_fractions_come_back(number: Fraction) -> None:
    known = read_printed(f"{number.numerator}/{number.denominator}", LATEX)
    for text in (str(number), repr(number), f"Rational({number.numerator}, {number.denominator})"):
        answer = read_printed(text, LATEX)
        assert answer is not None
        assert known is not None
        assert answer.key == known.key


def _expressions() -> st.SearchStrategy[object]:
    import sympy

    x, y = sympy.symbols("x y")
    leaves = st.one_of(
        st.sampled_from([x, y, sympy.pi, sympy.E, sympy.sqrt(2), sympy.I]),
        st.integers(-9, 9).map(sympy.Integer),
        st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda pair: sympy.Rational(*pair)),
    )

    def grow(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        pairs = st.tuples(inner, inner)
        return st.one_of(
            pairs.map(lambda pair: pair[0] + pair[1]),
            pairs.map(lambda pair: pair[0] - pair[1]),
            pairs.map(lambda pair: pair[0] * pair[1]),
            inner.map(lambda each: each / (x + 3)),
            inner.map(lambda each: each**2),
            inner.map(sympy.sin),
        )

    return st.recursive(leaves, grow, max_leaves=5)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.deferred(_expressions))
def test_sympy_prints_what_its_latex_says(comparer: Comparer, expression: object) -> None:
    import sympy

    assume(str(expression) not in ("E", "I"))  # alone, a letter that names something
    answer = read_printed(str(expression), LATEX)
    assert comparer.grade(answer, sympy.latex(expression)), (expression, answer)


def test_the_last_line() -> None:
    assert find_last_line("a\n b \n\n \n") == "b"
    assert find_last_line("\n") == ""
