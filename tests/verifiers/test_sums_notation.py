"""Right sums in notations that are not understood, or only just, and wrong ones in plain ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.verifiers.arithmetic.sums import check_sums, find_first

NO_SLIP = {
    "percents of what stands before": r"""
80 - 25% = 60
100 + 20% = 120
$80 - 25% = 60$ dollars.
\( 80 - 25\% = 60 \)
\$80 - 25\% = \$60
80 - 25 percent = 60
80 - 25% = 80 - 20 = 60
200 - 15% - 10% = 153
50 + 8% tax = 54
(80 - 25%) + 10 = 70
80 - 2 * 10% = 64
100% - 30 = 70%
20% of 50 = 10
5% of 200 + 10 = 20
""",
    "magnitudes": r"""
2 million + 500,000 = 2,500,000
5 thousand + 200 = 5,200
3 dozen + 4 = 40
5k + 500 = 5,500
$2M + $500k = $2.5M
1.5 million + 2.5 million = 4,000,000
2 billion / 4 = 500 million
12 + 12 = 2 dozen
500 + 500 = 1 thousand
five hundred + 20 = 520
2 tausend + 500 = 2500
4 tens + 5 tens = 90
2 lakh + 50,000 = 2,50,000
""",
    "units that differ": r"""
$2 + 50 cents = $2.50
\$2 + 50¢ = \$2.50
£5 + 50p = £5.50
4 quarters + 4 quarters = 2 dollars
5 USD + 3 EUR = 8.30 USD
2 feet + 6 inches = 30 inches
1 hour - 20 minutes = 40 minutes
1 hour - 20 = 40 minutes
3 m + 20 cm = 320 cm
30 minutes + 30 minutes = 1 hour
45 minutes + 45 minutes = 1 hour 30 minutes
90 + 60 = 2 hours and 30 minutes
3 * 20 = 1 hour
30 millimeters + 20 millimeters = 5 centimeters
60 miles per hour * 30 minutes = 30 miles
60 kilometers / 2 hours = 8.33 meters per second
30 miles/gallon * 10 gallons = 300 miles
5'6" + 2" = 5'8"
8 + 8 = 1 pound
4 tops / 4 = $5
""",
    "functions": r"""
sqrt(9 + 16) = 5
sqrt(16) + 2 = 6
sqrt 16 + 2 = 6
√16 + 2 = 6
\sqrt{9 + 16} = 5
log 100 + 1 = 3
\log 100 + 1 = 3
\sin 30 + 1 = 1.5
max(3,4) + 1 = 5
gcd(12 + 6) = 6
f(2) + 1 = 9
C(5,2) + 1 = 11
\binom{5}{2} + 1 = 11
5C2 + 1 = 11
5! + 1 = 121
3! - 2 + 1 = 5
60 + 60 = 5!
abs(3 - 5) = 2
|3 - 5| + 1 = 3
average (80 + 90) = 85
the square root of 9 + 16 = 5
Half of \(20 + 10 = 15\)
twice 3 + 4 = 14
negative 3 + 5 = 2
2 + 2 = 2 squared
2 pi * 5 = 31.4
the square root of:\n\[ 9 + 16 = 5 \]
""",
    "what is not stated": r"""
It is wrong that 2 + 2 = 5.
It isn't the case that 2 + 2 = 5
2 + 2 = 5 is false
If 2 + 2 = 5, then pigs fly.
Suppose that\n\n2 + 2 = 5
Is 2 + 2 = 5?
2 + 2 = 5? No.
A common mistake is 2 + 2 = 5.
He claims that 2 + 2 = 5.
2 + 2 ≠ 5
2 + 2 \neq 5
2 + 2 = 5 ✗
"2 + 2 = 5"
`2 + 2 = 5`
B) 2 + 2 = 5
A. 2 + 2 = 5
It is not true that:\n\[ 2 + 2 = 5 \]
2 + 2 = 5. Wait, that is wrong.
2 + 2 = 5\n\nThis is a contradiction.
5(1) - 1 = -(1 + 3)\n4 = -4\nThis is not correct.
2 + 2 = 5. Once more: 2 + 2 = 4.
We add 5 to both sides of the equation:\n\[ 99 + 5 = 5 \]
This is the equation 35 + 20 = 75.
""",
    "other arithmetic": r"""
7 + 1 = 10 in base 8
In base eight, 7 + 1 = 10
In base 8:\n\n7 + 1 = 10
101 + 11 = 1000 in binary
0x10 + 1 = 17
0b101 + 0b11 = 0b1000
7_8 + 1_8 = 10_8
7₈ + 1₈ = 10₈
9 + 5 = 2 (mod 12)
We work modulo 12.\n\n9 + 5 = 2
17 % 5 + 1 = 3
10 + 4 = 2 on a clock
10:00 - 8:30 = 1:30
0830 + 0045 = 0915
11 AM + 3 = 2 PM
350 + 20 = 10 degrees
1 + 1 = 1 (Boolean)
3 + 4 = 34 (string concatenation)
"3" + "4" = "34"
""",
    "dates, spans, pairs and ratios": r"""
28 May + 5 = 2 June
28 + 5 = 2 June
3/15/2024 = 75
1990 - 2000 = 10 years
Pages 10-20 = 11 pages
(3, 4) + (1, 2) = (4, 6)
(3,4) + (1,2) = (4,6)
[1 2] + [3 4] = [4 6]
3:4 = 6:8
2 : 3 + 1 = 2 : 4
12 cm : 3 + 1 = 5
2 + 2 = 2, 6
5 \pm 2 = 7
5 ± 2 = 3, 7
""",
    "numbers of other places": r"""
1.250,75 + 100 = 1.350,75
1.250 + 750 = 2.000
1,250 + 0,750 = 2
1,5 + 1,5 = 3
1.000 € + 500 € = 1.500 €
1,00,000 + 50,000 = 1,50,000
1'234 + 1 = 1'235
1 234 + 766 = 2 000
Rs 500 + 50 paise = Rs 500.50
2³ + 1 = 9
5² = 25
½ + ½ = 1
2 1/2 + 1 = 3.5
2\frac{1}{2} + 1 = 3.5
0.333... * 3 = 1
0.\overline{3} * 3 = 1
0.1(6) * 6 = 1
0.33 * 300 = 100
10 / 3 = 3.33 ≈ 3
17 / 5 = 3 remainder 2
17 ÷ 5 = 3 R2
7 / 2 = 3 and a half
1 + 2 + … + 10 = 55
1 + 2 + \cdots + 10 = 55
2 × 10^3 + 5 × 10^2 = 2500
3e3 + 1 = 3001
2**-1 = 0.5
4^(1/2) = 2
2^{10} = 1024
-2^2 = -4
6/2(1+2) = 1
2 ** 3 + 1 = 9
""",
    "letters and programs": r"""
x = 3 + 4 == 7
i = i + 1
x = x + 1 = 5
2x + 3 = 11
n(n + 1)/2 = 55
2 pq + 3 = 9
2 apples + 4 apples = 12 dollars
width * 2 + 3 = 7
Total - 2 + 1 = 5
\(x\) - 2 + 1 = 4
five + 3 = 8
3 plus 4 - 2 = 5
```python\nx = 3 + 4 = 34\n```
""",
    "sums that go on elsewhere": r"""
100 -\n20 + 5 = 75
100\n- 20 + 5 = 85
100 \\ - 20 + 5 = 85
100 + 20 = 125\n+ 5
5 + \(3 + 4 = 12\)
\(3 + 4 = 5\) + 2
- 3 + 4 = 1
""",
}
SAMPLES = [
    (kind, line.replace(r"\n", "\n"))
    for kind, lines in NO_SLIP.items()
    for line in lines.strip().splitlines()
]
SLIPS = r"""
So the total is 3 + 4 = 8 apples.
\(3 + 4 = 8\)
$3 + 4 = 8$
$$3 + 4 = 8$$
Total cost = $30 + $46 = $86
Total cost = \$30 + \$46 = \$86
\[ 32 \text{ slices} + 16 \text{ slices} = 58 \text{ slices} \]
\frac{847}{100} = 84.7
12 x 11 = 122
12 \times 11 = 122
80 - 25% = 50
100 + 20% * 100 = 130
1,200 + 300 = 1,600
\$1{,}200 + \$300 = \$1{,}600
- 3 + 4 = 8
Step 2: 3 + 4 = 8
105-40 = 55
We get 3 + 4 = 8, and then 8 + 1 = 9.
3 pens * $4 = $13
43 brownies * $3 per brownie = $139
5 kg + 3 kg = 9 kg
2 × 10^3 + 500 = 3500
0.33 * 300 = 120
In total there are 17 + 26 = 53 birds.
The sum is \(4 + 20 + 7 + 8 = 49\).
\begin{align} 3 + 4 = 8 \\ 5 + 5 = 10 \end{align}
3 + 4 = 8\nSince it cannot be negative, it is 8.
5,125 + 8,960 = 14,185
We divide both sides of the equation by 3: x = \frac{847}{3} = 289
"""


@pytest.mark.parametrize(("kind", "text"), SAMPLES)
def test_what_may_be_meant_in_another_way_is_no_slip(kind: str, text: str) -> None:
    assert find_first(text) is None


@pytest.mark.parametrize("text", SLIPS.strip().splitlines())
def test_a_plain_sum_that_is_wrong_is_found(text: str) -> None:
    slips = [slip for slip in check_sums(text.replace(r"\n", "\n")) if slip is not None]
    assert len(slips) == 1


def test_a_percent_of_what_stands_before_is_told_as_such() -> None:
    assert str(find_first("80 - 25% = 50")) == "80 - 25 % is 60, not 50"


def test_a_sum_that_is_put_right_further_on_is_left_out() -> None:
    assert check_sums("3 + 4 = 8. Once more: 3 + 4 = 7.") == (None,)
    slip = find_first("3 + 4 = 7. Once more: 3 + 4 = 8.")
    assert slip is not None
    assert slip.stated == 8


def _spell(number: int, base: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = "0123456789ab"[digit] + digits
    return digits or "0"


def _group(number: int, separator: str) -> str:
    return f"{number:,}".replace(",", separator)


whole = st.integers(2, 900)
TRUE = [
    lambda a, b: f"{20 * a} - {5 * (b % 20)}% = {Fraction(20 * a * (100 - 5 * (b % 20)), 100)}",
    lambda a, b: f"{100 * a} + {b}% = {100 * a + a * b}",
    lambda a, b: f"{a} million + {_group(1000 * b, ',')} = {_group(10**6 * a + 1000 * b, ',')}",
    lambda a, b: f"{a} dozen + {b} = {12 * a + b}",
    lambda a, b: f"{a}k + {b} = {1000 * a + b}",
    lambda a, b: f"${a} + {b} cents = ${a + b / 100:.2f}",
    lambda a, b: f"{a} feet + {b} inches = {12 * a + b} inches",
    lambda a, b: f"{a} hours + {b} minutes = {60 * a + b} minutes",
    lambda a, b: f"{60 * a} minutes + {60 * b} minutes = {a + b} hours",
    lambda a, b: f"sqrt({a * a}) + {b} = {a + b}",
    lambda a, b: rf"\sqrt{{{a * a}}} + {b} = {a + b}",
    lambda a, b: f"abs({min(a, b)} - {max(a, b)}) = {abs(a - b)}",
    lambda a, b: f"|{min(a, b)} - {max(a, b)}| = {abs(a - b)}",
    lambda a, b: f"f({a}) + {b} = {a * a + b}",
    lambda a, b: f"max({a}, {b}) + 1 = {max(a, b) + 1}",
    lambda a, b: f"It is wrong that {a} + {b} = {a + b + 1}.",
    lambda a, b: f"If {a} + {b} = {a + b + 1}, then so be it.",
    lambda a, b: f"Is {a} + {b} = {a + b + 1}?",
    lambda a, b: f"In base 7, {_spell(a, 7)} + {_spell(b, 7)} = {_spell(a + b, 7)}",
    lambda a, b: f"{_spell(a, 2)} + {_spell(b, 2)} = {_spell(a + b, 2)} in binary",
    lambda a, b: f"0x{a:x} + 0x{b:x} = 0x{a + b:x}",
    lambda a, b: f"{a} + {b} = {(a + b) % 7} (mod 7)",
    lambda a, b: f"({a}, {b}) + (1, 2) = ({a + 1}, {b + 2})",
    lambda a, b: f"{a} : {b} = {2 * a} : {2 * b}",
    lambda a, b: f"{_group(5000 * a, '.')},50 + {b} = {_group(5000 * a + b, '.')},50",
    lambda a, b: f"{_group(1000 * a, '.')} + {b} = {_group(1000 * a + b, '.')}",
    lambda a, b: f"{_group(1000 * a, ' ')} + {b} = {_group(1000 * a + b, ' ')}",
    lambda a, b: f"{a}² = {a * a}",
    lambda a, b: f"{a} / {b} = {a // b} remainder {a % b}",
    lambda a, b: f"{a} / {b} = {a / b:.2f}",
    lambda a, b: rf"\frac{{{a}}}{{{b}}} \approx {a / b:.3f} = {a / b:.2f}",
    lambda a, b: f'"{a}" + "{b}" = "{a}{b}"',
    lambda a, b: f"x + {b} = {a}",
    lambda a, b: f"{a}x + {b}x = {a + b}x",
    lambda a, b: f"{a} × 10^3 + {b} = {1000 * a + b}",
    lambda a, b: f"{a} 1/2 + {b} = {a + b}.5",
    lambda a, b: f"{a} ± {b} = {a + b}",
    lambda a, b: f"1/3 * {3 * a} = 0.33 * {3 * a} = {a}",
    lambda a, b: f"${a}{b} + ${b} = ${int(f'{a}{b}') + b}",
]


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(st.sampled_from(TRUE), whole, whole)
def test_no_slip_is_told_of_a_true_sum_in_any_notation(write, a: int, b: int) -> None:
    assert find_first(write(a, b)) is None


PLAIN = [
    "{}",
    "So we get: {}.",
    "- Total: {}",
    r"\({}\)",
    r"\[ {} \]",
    "${}$",
    "**Total = {}**",
    "First we add them.\n\n{}\n\nSo this is the answer.",
    r"Total &= {} \\",
]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PLAIN),
    st.lists(st.integers(0, 9999), min_size=2, max_size=6),
    st.sampled_from(["", " apples", "$", r"\$", r" \text{ pages}"]),
    st.integers(-500, 500).filter(bool),
)
def test_a_plain_sum_that_does_not_come_to_what_it_says_is_found(
    around: str, numbers: list[int], unit: str, off: int
) -> None:
    before, behind = (unit, "") if unit.endswith("$") else ("", unit)
    if before == "$" and "$" in around:
        before = r"\$"  # a bare one would end the formula
    *terms, total = (f"{before}{number}{behind}" for number in (*numbers, abs(sum(numbers) + off)))
    text = around.replace("{}", f"{' + '.join(terms)} = {total}")
    slip = find_first(text)
    if abs(sum(numbers) + off) == sum(numbers):
        assert slip is None
    else:
        assert slip is not None
        assert slip.value == sum(numbers)
