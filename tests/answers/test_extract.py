from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers import detect, extract, find_thought, read_answer
from ttc_cli.types import AnswerType

DATA = Path(__file__).parents[1] / "data"
NUMBER, LATEX, CHOICE = AnswerType.NUMBER, AnswerType.LATEX, AnswerType.CHOICE
BOOLEAN, TEXT, FREE = AnswerType.BOOLEAN, AnswerType.TEXT, AnswerType.FREE


def rows(name: str) -> list[dict[str, str]]:
    lines = (DATA / name / "test_0_199.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def key(text: str, type: AnswerType, *, finished: bool = True) -> str | None:
    answer = extract(text, type, finished=finished)
    return answer and answer.key


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("18", "18"),
        ("1,234", "1234"),
        (r"\$18", "18"),
        ("$18.00", "18"),
        (r"50\%", "50"),
        ("50%", "50"),
        ("3/4", "0.75"),
        ("18 dollars", "18"),
        (r"18\text{ dollars}", "18"),
        ("5km", "5"),
        ("60 km/h", "60"),
        ("−5", "-5"),
        ("+5", "5"),
        ("-.5", "-0.5"),
        ("1.5e3", "1500"),
        (r"2 \times 10^{-3}", "0.002"),
        (r"\frac{14}{7}", "2"),
        (r"-\dfrac{35}{70}", "-0.5"),
        (r"\frac43", "1.33333333333"),
        ("4/3", "1.33333333333"),
        (r"2\frac{1}{2}", "2.5"),
        ("1 ½", "1.5"),
        (r"10,\!080", "10080"),
        (r"90^\circ", "90"),
        ("x = 5", "5"),
        ("2 + 3 = 5", "5"),
        ("0.30000000000000004", "0.3"),
        (r"\text{18}", "18"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("number", None),
        (r"\text{eighteen}", None),
        ("5 times the number", None),
        ("...", None),
        ("", None),
    ],
)
def test_numbers_in_a_box(stated: str, expected: str | None) -> None:
    assert key(rf"So it is \boxed{{{stated}}}.", NUMBER) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16 - 7 = 9\n#### 9", "9"),
        ("The answer is 18.", "18"),
        ("Thus, the answer is $18 per day.", "18"),
        ("Therefore, the final answer is: **18**.", "18"),
        ("**Answer:** 18 eggs", "18"),
        ("Final answer: $\\frac{3}{4}$", "0.75"),
        ("The final answer is:\n\\[ 18 \\]", "18"),
        ("the answer is x = 5 times 3 = 15", "15"),
        ("The answer is 5 because 2+3", "5"),
        ("Answer:\n12 + 5 = **17**", "17"),
        (r"First \boxed{3}. No: \boxed{4}", "4"),
        (r"\boxed{4} as said, and \boxed{}", "4"),
        (r"\boxed 7", "7"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"#### 3" + "\n" + r"so \boxed{4}", "4"),
        ("We get 5 + 5 = 10", None),
        ("The answer is not clear yet: 5 + 5", None),
        ("#### Step 1: compute 5\n7", None),
        ("#### 3. Add them up\n", None),
        (r"so \boxed{12", None),
        ("The answer is 3.\nBut wait.\nLet us check 4.\nThat gives 5.\nHm.", None),
    ],
)
def test_only_explicit_statements_count(text: str, expected: str | None) -> None:
    assert key(text, NUMBER) == expected


PHRASES = [
    "The answer is {}",
    "The answer is exactly {}",
    "The answer is therefore about {}",
    "So the answer: {}",
    "Hence answer: {}",
    "Therefore, my answer = {}",
    "The answer to the question is {}",
    "The answer would be {}",
    "The answer is equal to {}",
    "Final answer: {}",
    "Final answer → {}",
    "**Final answer:** {}",
    "**Final Answer**: **{}**",
    "✅ Final Answer: *{}*",
    "(Answer: {})",
    "[Final answer: {}]",
    "> **Answer:** {}",
    "<b>Answer: {}</b>",
    "Final answer:\n{}",
    "Final answer:\n\n- {}",
    "Final answer:\n\\[\n{}\n\\]",
    "The final answer is:\n$$\n{}\n$$",
    "The answer is:\n\\begin{{equation*}}\n{}\n\\end{{equation*}}",
    "Final answer:\n```\n{}\n```",
    "## Final Answer\n\n{}",
    "### 5. The final answer ✅\n\n**{}**",
    "**Answer**\n\n{}",
    "Answer\n------\n{}",
    r"\boxed{{{}}}",
    r"$\boxed {}$",
    r"\boxed {}",
    r"\[ \boxed {} \]",
    r"\boxed{{\text{{The answer is }} {}}}",
    r"\boxed{{\text{{Final answer: }} {}}}",
    r"\boxed{{\text{{It is }} {}}}",
]
DEBRIS = [
    "",
    ".",
    " ✅",
    " 🎉🎉",
    "**",
    ".** ✅",
    "</answer>",
    " <|im_end|>",
    "\n",
    "\n\nI hope it helps.",
]


@given(
    st.sampled_from([*PHRASES, "#### {}"]), st.sampled_from(DEBRIS), st.integers(-(10**6), 10**6)
)
def test_what_is_stated_is_read_in_every_form(phrase: str, debris: str, n: int) -> None:
    text = f"We add them up.\n{phrase.format(n)}{debris}"
    heading = phrase.startswith("#### ") and "hope" in debris  # but of numbers
    for type in (NUMBER,) if heading else (NUMBER, LATEX):
        answer = extract(text, type)
        assert answer is not None
        assert (answer.text, answer.key) == (str(n), str(n))


@given(
    st.sampled_from([each for each in PHRASES if "about" not in each]),
    st.sampled_from(DEBRIS),
    st.sampled_from([("Paris", TEXT), ("B", CHOICE), ("Yes", BOOLEAN)]),
)
def test_words_are_read_in_every_form(
    phrase: str, debris: str, stated: tuple[str, AnswerType]
) -> None:
    word, type = stated
    answer = extract(phrase.format(word) + debris, type)
    assert answer is not None
    assert answer.text == word


@pytest.mark.parametrize("type", [NUMBER, LATEX])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"It is \boxed 64 and no more", "64"),
        (r"\boxed -7.5.", "-7.5"),
        (r"\boxed\frac{3}{4}, so", r"\frac{3}{4}"),
        (r"$x = \boxed 3\sqrt 2$", r"3\sqrt 2"),
        (r"\(\boxed 1,234\) apples", "1,234"),
        ("The answer is 64 (sixty-four).", "64"),
        ("The answer is 64 — a perfect square.", "64"),
        ("The answer is 64—the square of eight", "64"),
        ("The answer is 64 - a perfect square.", "64"),
        ("The answer is 64, because 8 times 8 is.", "64"),
        ("The answer is **64** (sixty-four) ✅", "64"),
        ("| Answer: 64 |", "64"),
        ("Answer:\n\n| 64 |", "64"),
        ("## Answer: 64 ##", "64"),
        ("'Answer: 64'", "64"),
        ("Final answer is 64 ✔️ (checked)", "64"),
        ("Final Answer: 64 ✅ Done!", "64"),
        ("The answer is, therefore, 64.", "64"),
        ("The answer is 64... I think.", "64"),
        ("The answer is 64; it is a square.", "64"),
        ("The answer is 64, as required", "64"),
        ("<answer>\n64\n</answer> It is.", "64"),
        ("The answer is 64 (= 8 x 8).", "64"),
        ("The answer is 64 (i.e. 8 squared).", "64"),
        ("<strong>Answer:</strong> 64", "64"),
        ("Answer: <b>64</b>", "64"),
        ("Final answer (in dollars): 64", "64"),
        ("Answer： 64", "64"),
        ("<h2>Answer</h2>\n64", "64"),
        ("<final_answer>64</final_answer> It is.", "64"),
        ("Answer: ~~65~~ 64", "64"),
        ("Answer → 64", "64"),
        ("Answer: 64 ---", "64"),
        ("\\textbf{Final Answer:} 64", "64"),
        ("\\textbf{Final Answer}\n64", "64"),
        ("\\section*{Answer}\n64", "64"),
        ("## Step 3 - Final Answer (rounded)\n64", "64"),
        ("Final answer:\n\\[\n\\begin{aligned}\nx &= 64\n\\end{aligned}\n\\]", "x = 64"),
        ("So the answer is... 64", "64"),
        (r"\boxed{\text{It is equal to } 64}", "64"),
        (r"\boxed: 64", "64"),
        (r"\boxed $64$ apples", "64"),
        ("Answer: $64$ ✓", "64"),
        (
            "Final answer:\n\\begin{align*}\nx &= 60 + 4 \\\\\n&= 64\n\\end{align*}",
            "x = 60 + 4 = 64",
        ),
        ("Final answer: $x = 64$", "x = 64"),
        ("So \\boxed{12\n\nThe final answer is 64.", "64"),
    ],
)
def test_a_value_is_shown_without_what_stands_around_it(
    text: str, shown: str, type: AnswerType
) -> None:
    answer = extract(text, type)
    assert answer is not None
    assert answer.text == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{\text{Mary has } 64 \text{ apples}}", "64"),
        (r"\boxed{\text{Total: } \$64 \text{ in all}}", "64"),
        (r"\boxed{The total is 64 apples in all.}", "64"),
        (r"\boxed{64 \text{ of them}}", "64"),
        ("Final answer: Tom has 64 apples left.", "64"),
        ("## Answer\n\nThe total is **64** apples.", "64"),
        (r"\boxed{5 times the number}", None),
        (r"\boxed{not 64}", None),
        (r"\boxed{\text{between } 3 \text{ and } 5}", None),
        ("Answer: Tom has 3 apples.\nHe buys 4 more.\nThat makes 7", None),
        ("To find the answer: add 5", None),
        (r"\boxed{\text{The answer is } 64", None),
        (r"Put it in \boxed notation", None),
        ("## Answer\n\nFirst 3.\n\nThen 4.\n\nThen 5.\n\nThen 6.", None),
    ],
)
def test_a_number_among_words_is_read_where_it_is_the_only_one(
    text: str, expected: str | None
) -> None:
    assert key(text, NUMBER) == expected


@pytest.mark.parametrize(
    "text",
    ["To find the answer: think of France", r"Put it in \boxed notation", "Final answer:\n\\["],
)
def test_words_that_state_nothing_are_no_answer(text: str) -> None:
    assert extract(text, TEXT) is None
    assert extract(text, LATEX) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{18}", "18"),
        ("#### 18", None),
        ("#### 18\nand", "18"),
        ("The final answer is 18", None),
        ("The final answer is 18. And", "18"),
    ],
)
def test_a_statement_that_runs_into_the_cut_is_not_taken(text: str, expected: str | None) -> None:
    assert key(text, NUMBER, finished=False) == expected


@pytest.mark.parametrize(
    ("text", "type", "expected"),
    [
        (r"\boxed{(B)}", CHOICE, "B"),
        (r"\boxed{\text{B}}", CHOICE, "B"),
        (r"\boxed{\textbf{(D) } 12}", CHOICE, "D"),
        ("The answer is (C) Paris", CHOICE, "C"),
        ("Answer: B) Paris", CHOICE, "B"),
        ("The correct answer is **D**.", CHOICE, "D"),
        ("The answer is option C", CHOICE, "C"),
        ("answer: b", CHOICE, "B"),
        ("Answer: A dog", CHOICE, None),
        ("The answer is A and B", CHOICE, None),
        (r"\boxed{letter}", CHOICE, None),
        ("The correct option is (D).", CHOICE, "D"),
        ("The correct choice is A or B.", CHOICE, None),
        (r"\boxed{Yes}", BOOLEAN, "yes"),
        ("The answer is true, because", BOOLEAN, "yes"),
        ("Answer: No.", BOOLEAN, "no"),
        ("Yes, it is.", BOOLEAN, None),
        ("The answer is Paris.", TEXT, "paris"),
        ("Answer: The  Eiffel Tower!", TEXT, "eiffel tower"),
        ("Answer: St. Louis", TEXT, "st louis"),
        ("Answer: U.S.A.", TEXT, "usa"),
        (r"\boxed{\text{Paris}}", TEXT, "paris"),
        ("Answer: 1,945", TEXT, "1945"),
        ("#### Heading\nprose", TEXT, None),
        ("The capital is Paris", TEXT, None),
        (r"\boxed{\left(3, \frac{\pi}{2}\right)}", LATEX, r"(3,\frac{\pi}{2})"),
        (r"\boxed{x \in (3,4]}", LATEX, "(3,4]"),
        (r"\boxed{4210_{5}}", LATEX, "4210_5"),
        (r"\boxed{\text{Evelyn}}", LATEX, "evelyn"),
        (r"\boxed{\{5\}}", LATEX, "5"),
        (r"\boxed{\frac{270}7\text{ degrees}}", LATEX, "38.5714285714"),
        ("A poem.\n\nIts end.", FREE, "A poem.\n\nIts end."),
        ("  ", FREE, None),
    ],
)
def test_other_types(text: str, type: AnswerType, expected: str | None) -> None:
    assert key(text, type) == expected


def test_an_unfinished_free_text_is_no_answer() -> None:
    assert extract("Once upon a", FREE, finished=False) is None


@pytest.mark.parametrize(
    ("text", "type", "shown"),
    [
        (r"\boxed{\$18\text{ a day}}", NUMBER, "$18 a day"),
        (r"\boxed{\text{(B)}}", CHOICE, "B"),
        ("Answer: yes, it is", BOOLEAN, "yes"),
        ('The answer is "Paris".', TEXT, "Paris"),
        ('The answer is "Paris" and "Rome".', TEXT, '"Paris" and "Rome"'),
        ("The answer is $3$ and $4$.", LATEX, "$3$ and $4$"),
        ("Answer: Paris and **Rome**", TEXT, "Paris and **Rome**"),
        (r"\boxed{\text{Evelyn}}", LATEX, "Evelyn"),
        (r"\boxed{\frac{14}{3}}", LATEX, r"\frac{14}{3}"),
        ("The answer is f (x+y).", LATEX, "f (x+y)"),
        ("Answer: 3 (mod 7)", LATEX, "3 (mod 7)"),
        ("The answer is y'", LATEX, "y'"),
        ("Answer: C#", TEXT, "C#"),
        ("Answer: B♭", TEXT, "B♭"),
        ("Answer: ♠", TEXT, "♠"),
        ("**Final Answer:**\n\n$\\boxed{}$", TEXT, None),
    ],
)
def test_the_answer_reads_as_it_was_stated(text: str, type: AnswerType, shown: str | None) -> None:
    answer = extract(text, type)
    assert (answer and answer.text) == shown


@given(st.integers(-(10**20), 10**20))
def test_every_spelling_of_a_whole_number_has_one_key(n: int) -> None:
    for spelling in (f"{n}", f"{n:,}", f"{n}.00", f"${n:,}$", rf"\frac{{{2 * n}}}{{2}}"):
        assert key(rf"\boxed{{{spelling}}}", NUMBER) == str(n)


@pytest.mark.slow
@given(st.text(max_size=200), st.sampled_from(list(AnswerType)))
def test_any_text_can_be_read(text: str, type: AnswerType) -> None:
    for wrapped in (text, rf"\boxed{{{text}}}", f"The answer is {text}", f"#### {text}"):
        answer = extract(wrapped, type)
        assert answer is None or (answer.key and answer.type is type)
    detect(text)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        *(("", each) for each in [r"\boxed{", "the answer is ", "#### 1\n", "$", "**", "{", "a'"]),
        *(("", each) for each in ["(A) ", "1,", "answer to x ", "~", "~\n", "```a\n", "_ ", "— "]),
        *(("", each) for each in ["def f():\n", "a b(", '{"a":', "</think>", "what is "]),
        *(
            (each, " ")
            for each in ["", "final answer", "answer to", "answer", "Answer:", r"\boxed"]
        ),
        *((each, "\n") for each in ["", "final answer", "answer to", "Answer:", "```py\n", "x"]),
        ("[", "1.5,[1.5,"),
        ("the answer is 1 (", "a, because "),
        ("What? A. ", "x B. "),
        ("convert 1 ", "1 to "),
        ("<thought>", "<thought></thoughts>"),
    ],
)
def test_hostile_repetition_is_read_in_linear_time(start: str, piece: str) -> None:
    text = start + piece * (60_000 // len(piece))  # its square would take minutes
    for type in AnswerType:
        extract(text, type)
        read_answer(text[:1999], type)
    detect(text)
    find_thought(text)


def test_hostile_numbers_stay_small() -> None:
    assert len(key(r"\boxed{1e999999999}", NUMBER) or "") < 20
    assert key(r"\boxed{" + "9" * 1999 + "}", NUMBER) == "9" * 1999


def test_gsm8k_references_survive_the_round_trip_and_are_asked_for_as_numbers() -> None:
    for row in rows("gsm8k"):
        reference = row["answer"].split("####")[1].strip()
        assert key(row["answer"], NUMBER) == key(rf"\boxed{{{reference}}}", NUMBER)
        assert key(row["answer"], NUMBER) == reference.replace(",", "")
        assert detect(row["question"]) is NUMBER


def test_math_references_survive_the_round_trip() -> None:
    for row in rows("math500"):
        boxed = extract(rf"Hence $\boxed{{{row['answer']}}}$.", LATEX)
        assert boxed == read_answer(row["answer"], LATEX)
        assert key(row["solution"], LATEX) == boxed.key
        assert detect(row["problem"]) in {NUMBER, LATEX, TEXT}


@pytest.mark.parametrize(
    ("question", "type"),
    [
        ("What is the capital of France?", TEXT),
        ("Who wrote Hamlet?", TEXT),
        ("Name the largest planet.", TEXT),
        ("What year did the war end?", TEXT),
        ("Is it red or blue?", TEXT),
        ("Write a poem about the sea", FREE),
        ("Explain why the sky is blue.", FREE),
        ("Summarise this text: 12 cats sat on 3 mats.", FREE),
        ("Can you explain gravity?", FREE),
        ("How do I boil an egg?", FREE),
        ("Why is 7 prime?", FREE),
        ("Translate 'hello' into French", FREE),
        ("Compare cats and dogs", FREE),
        ("Hello", FREE),
        ("", FREE),
        ("Is 17 a prime number?", BOOLEAN),
        ("True or false: the earth is flat", BOOLEAN),
        ("What is 12*7?", NUMBER),
        ("Tom has 3 apples and buys 4. How many has he?", NUMBER),
        ("A pen costs $5 and a book $7. What is the total price?", NUMBER),
        ("Which is bigger?\nA) 3\nB) 4", CHOICE),
        ("Pick one: (A) x (B) y (C) z", CHOICE),
        ("Which?\nA. cat\nB. dog", CHOICE),
        ("Pick one.\n(a) red\n(b) blue", CHOICE),
        ("Which is it?\na) red\nb) blue", CHOICE),
        ("Which is it?\n- a. red\n- b. blue", CHOICE),
        ("Which?\n[A] red\n[B] blue", CHOICE),
        ("What is the capital of France? A. Lyon B. Paris C. Nice", CHOICE),
        ("The sky is: A. blue B. green", CHOICE),
        ("Which is prime? (a) 4 (b) 5 (c) 6", CHOICE),
        ("Which is prime? a) 4 b) 5", CHOICE),
        ("What is it? A: red B: blue", CHOICE),
        ("Which one? **A.** red **B.** blue", CHOICE),
        ("What is it?\nA - red\nB – blue", CHOICE),
        ("What is it?\n| A | red |\n| B | blue |", CHOICE),
        ("下列哪个是哺乳动物？\nA、鲨鱼\nB、鲸鱼", CHOICE),
        ("下列哪个是哺乳动物？ A．鲨鱼 B．鲸鱼", CHOICE),
        ("A - B = 3.\nB - C = 4.\nWhat is the value of A - C?", NUMBER),
        ("Two towns: A: 3 km B: 5 km. What is the sum of them?", NUMBER),
        ("Given 3, 4 and 8.\n(a) Find the mean.\n(b) Find the median.", NUMBER),
        ("What is (a) the mean and (b) the median of 3, 4 and 8?", NUMBER),
        ("Summarise this:\na) The cat sat\nb) The dog ran", FREE),
        ("Who is J. A. B. Smith?", TEXT),
        ("Convert 100 F to C.", NUMBER),
        ("Convert 37.5 °C to F.", NUMBER),
        ("Please convert 300 K to C.", NUMBER),
        ("Convert 5 km to miles.", NUMBER),
        ("Convert one hundred F to C.", NUMBER),
        ("What is 37 C in F?", NUMBER),
        ("Translate 100 degrees F into C.", NUMBER),
        ("Convert one function to C.", AnswerType.CODE),
        ("What is 1984 about in short?", TEXT),
        ("Solve z^2 + 1 = 0 in C.", LATEX),
        ("Convert 255 to hexadecimal.", FREE),
        ("Solve $x^2=4$", LATEX),
        ("Write x^2-1 in factored form", LATEX),
        (r"Write $\frac{1}{2}$ as a decimal.", LATEX),
    ],
)
def test_detection(question: str, type: AnswerType) -> None:
    assert detect(question) is type
