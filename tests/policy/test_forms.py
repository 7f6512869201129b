"""Candidates of two forms under one policy: programs beside prose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.search.trees import FREE, QUESTION, search
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.events import CandidateStarted, Decided, Grew, Warned
from ttc_cli.forms.program import PROGRAM_FORM
from ttc_cli.forms.prose import PROSE_FORM
from ttc_cli.policy.standing import FormTraits
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat, Message
from ttc_cli.types import (
    PROGRAM,
    PROSE,
    AnswerType,
    Budget,
    Execution,
    Finish,
    Problem,
    Result,
    Sampling,
)
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.checking import sandbox
from ttc_cli.verifiers.registry import build


class Calculator:
    """Runs programs that are one ``print`` of a whole number; all others fail."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run(self, code: str) -> Execution:
        self.ran.append(code)
        number = code.strip().removeprefix("print(").removesuffix(")")
        if number.isdigit():
            return Execution(f"{number}\n", "", "calculator")
        return Execution("", f"NameError: name {number[-6:]!r} is not defined", "calculator")


def talk(program: list[str], prose: list[str]):
    """Say ``program`` in turn where a fence was begun, else ``prose``."""
    replies = {True: iter(program), False: iter(prose)}

    def say(ask: Ask) -> Reply:
        said = next(replies[ask.text.endswith("```python\n")], "I do not know.")
        return Reply(said, Finish.STOP)

    return say


def write(number: object) -> str:
    return f"print({number})\n```\nThis prints the answer."


def state(number: object, words: int = 3) -> str:
    return "so " * words + f"\n\nThe final answer is {number}."


def make_table(probe: int = 2, programs: int = 1, **traits) -> Table:
    row = replace(SHIPPED.rows["normal"], probe=probe, mix={PROGRAM: programs})
    forms = {PROGRAM: FormTraits(**{"cost": 0.4, "accord": 1.0, "retry": True, **traits})}
    return replace(SHIPPED, rows={**SHIPPED.rows, "normal": row}, forms=forms)


def think(script, table: Table, **options) -> tuple[Result, list[object]]:
    return search("auto", script, yes=lambda text: 0.5, table=table, **options)


def reasons(seen: list[object], action: str) -> list[str]:
    return [each.reason for each in seen if isinstance(each, Decided) and each.action == action]


def test_a_program_and_a_solution_in_prose_that_agree_settle_an_easy_question() -> None:
    calculator = Calculator()
    result, seen = think(talk([write(7)], [state(7)]), make_table(), interpreter=calculator)
    assert (result.answer.text, result.agreeing, result.heard) == ("7", 2, 2)
    assert [each.form for each in result.candidates] == [PROGRAM, PROSE]
    program = result.candidates[0]
    assert program.text == "print(7)\n```"
    assert (program.finish, program.ran) == (Finish.STOP, Execution("7\n", "", "calculator"))
    assert result.candidates[1].ran is None
    assert calculator.ran == ["print(7)\n"]
    assert result.estimate.settled == pytest.approx(0.9375)
    assert reasons(seen, "wave") == [
        "probe: 2 candidates to see how hard this is; 1 program and 1 in prose"
    ]
    assert "2 of 2 agree, program and prose" in result.stop_reason
    started = [each.form for each in seen if isinstance(each, CandidateStarted)]
    assert started == [PROGRAM, PROSE]
    assert any({0, 1} <= set(each.texts) for each in seen if isinstance(each, Grew))


def test_each_prompt_is_charged_once_and_only_where_it_is_needed() -> None:
    calculator = Calculator()
    both, _ = think(talk([write(7)], [state(7)]), make_table(), interpreter=calculator)
    four = make_table(4, 4)
    alone, _ = think(talk([write(7)] * 4, []), four, interpreter=calculator)
    assert [each.form for each in alone.candidates] == [PROGRAM] * 4
    prose, _ = think(talk([], [state(7)] * 4), SHIPPED)
    read = [each.usage.generator.prompt_tokens for each in (alone, prose, both)]
    assert read[0] + read[1] == read[2]


def test_where_they_differ_the_cheaper_form_is_drawn_until_it_is_settled() -> None:
    script = talk([write(7)] * 8, [state(5)] * 8)
    result, seen = think(script, make_table(), interpreter=Calculator())
    assert result.answer.text == "7"
    assert {each.form for each in result.candidates[2:]} == {PROGRAM}
    assert "program" in reasons(seen, "wave")[1]


def test_a_wave_in_prose_alone_may_be_followed_by_programs() -> None:
    script = talk([write(5)] * 8, [state(5)] * 8)
    table = make_table(probe=1, programs=0, cost=0.1)
    result, seen = think(script, table, interpreter=Calculator())
    assert [each.form for each in result.candidates][:2] == [PROSE, PROGRAM]
    assert result.answer.text == "5"
    assert "program" not in reasons(seen, "wave")[0]
    assert "program" in reasons(seen, "wave")[1]


def test_programs_that_prove_little_are_not_drawn_where_they_settle_nothing() -> None:
    script = talk([write(7)] * 8, [state(5)] * 8)
    table = make_table(first=0.2, further=0.1)
    result, _ = think(script, table, interpreter=Calculator())
    assert result.answer.text == "5"
    assert {each.form for each in result.candidates[2:]} == {PROSE}


def test_a_program_that_failed_goes_on_behind_what_the_interpreter_said() -> None:
    calculator = Calculator()
    script = talk([write("apples"), write(7)], [state(7), state(7)])
    result, seen = think(script, make_table(), interpreter=calculator)
    failed, mended = (each for each in result.candidates if each.form == PROGRAM)
    assert failed.answer is None
    assert failed.ran.error == "NameError: name 'apples' is not defined"
    assert (mended.parent, mended.answer.text) == (failed.id, "7")
    assert mended.text.startswith("print(apples)\n```\n\n```output\nNameError: name 'apples'")
    assert mended.text.endswith("```python\nprint(7)\n```")
    assert (result.agreeing, result.heard) == (2, 2)
    assert reasons(seen, "wave")[1] == "1 program failed: on behind what came of it"
    assert calculator.ran == ["print(apples)\n", "print(7)\n"]


def test_what_was_written_is_not_read_again_where_a_program_goes_on() -> None:
    def say(ask: Ask) -> Reply:
        if not ask.text.endswith("```python\n"):
            return Reply(state(7), Finish.STOP)
        again = "```output" in ask.text
        return Reply(write(7) if again else "x = 1\n" * 60 + write("apples"), Finish.STOP)

    chat = Chat(ScriptedEngine([]).info)
    sure = build(["confidence"], VerifierContext(chat))
    result, _ = think(say, make_table(), interpreter=Calculator(), verifiers=sure)
    failed, mended = (each for each in result.candidates if each.form == PROGRAM)
    assert mended.parent == failed.id
    alone, _ = think(talk([write(7)], [state(7)]), make_table(), interpreter=Calculator())
    read = [each.usage.generator.prompt_tokens for each in (result, alone)]
    assert 0 < read[0] - read[1] < 40
    assert failed.tokens > 150


def test_a_program_that_failed_is_left_alone_where_going_on_does_not_pay() -> None:
    script = talk([write("apples"), write(7)], [state(7), state(7), state(7)])
    result, seen = think(script, make_table(retry=False), interpreter=Calculator())
    assert not any("failed: on behind" in each for each in reasons(seen, "wave"))
    assert all(each.parent is None for each in result.candidates)


def test_a_form_whose_prompt_does_not_fit_gives_way_and_nothing_is_lost(monkeypatch) -> None:
    def ask(problem: Problem) -> list[Message]:
        return [Message("user", "many words " * 500)]

    long = {PROGRAM: replace(PROGRAM_FORM, ask=ask), PROSE: PROSE_FORM}
    monkeypatch.setattr("ttc_cli.forms.registry.find", long.__getitem__)
    engine = ScriptedEngine(talk([], [state(7)] * 4), yes=lambda text: 0.5, context=400)
    table = make_table(3, 2)
    result, seen = search("auto", engine=engine, table=table, interpreter=Calculator())
    assert result.answer.text == "7"
    assert {each.form for each in result.candidates} == {PROSE}
    warned = [each.message for each in seen if isinstance(each, Warned)]
    assert sum("without form program" in each for each in warned) == 1


def test_a_program_that_never_ends_is_not_run() -> None:
    def say(ask: Ask) -> Reply:
        if ask.text.endswith("```python\n"):
            return Reply("x = 1\n" * 10, Finish.LENGTH)
        return Reply(state(7), Finish.STOP)

    calculator = Calculator()
    budget = Budget(tokens_per_candidate=20)
    result, _ = think(say, make_table(), interpreter=calculator, budget=budget)
    assert calculator.ran == []
    assert result.candidates[0].ran is None
    assert result.answer.text == "7"


def test_programs_that_cannot_be_run_here_are_told_of_once(monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "find_sandbox", lambda: None)
    monkeypatch.setattr(sandbox, "explain_sandbox", lambda: "bubblewrap is missing")
    needing = ["import sympy\nprint(7)\n```", "from sympy import *\nprint(7)\n```"]
    script = talk([*needing, write(7)], [])
    result, seen = search("majority", script, form=PROGRAM, samples=3)
    assert result.answer.text == "7"
    told = [each.message for each in seen if isinstance(each, Warned)]
    assert len([each for each in told if "bubblewrap is missing" in each]) == 1
    errors = sorted(each.ran.error for each in result.candidates)
    assert errors[::2] == ["", "needs sympy, which is not there"]


@pytest.mark.parametrize("kind", [AnswerType.TEXT, AnswerType.CHOICE, AnswerType.BOOLEAN])
def test_answers_that_the_policy_draws_no_programs_for_are_found_in_prose(kind: AnswerType) -> None:
    table = make_table(types=(AnswerType.NUMBER, AnswerType.LATEX))
    problem = Problem("Is 7 more than 5?", kind)
    result, _ = think(talk([], [state("Yes")] * 8), table, problem=problem)
    assert {each.form for each in result.candidates} == {PROSE}


def test_the_user_can_ask_for_one_form() -> None:
    programs, _ = think(
        talk([write(7)] * 8, []), make_table(), form=PROGRAM, interpreter=Calculator()
    )
    assert {each.form for each in programs.candidates} == {PROGRAM}
    prose, _ = think(talk([], [state(7)] * 8), make_table(), form=PROSE)
    assert {each.form for each in prose.candidates} == {PROSE}


@pytest.mark.parametrize("strategy", ["greedy", "majority", "best-of-n", "weighted", "revise"])
def test_fixed_strategies_draw_programs_where_they_are_asked_to(strategy: str) -> None:
    script = talk([write(7)] * 4, [write(7)] * 4)
    result, _ = search(
        strategy,
        script,
        yes=lambda text: 0.5,
        form=PROGRAM,
        samples=2,
        interpreter=Calculator(),
    )
    assert result.answer.text == "7"
    assert {each.form for each in result.candidates} == {PROGRAM}
    prose, _ = search("majority", talk([], [state(7)] * 4), samples=2)
    assert {each.form for each in prose.candidates} == {PROSE}


@pytest.mark.parametrize("strategy", ["beam", "dvts", "lookahead", "mcts", "particle", "backtrack"])
def test_programs_grow_step_by_step_too(strategy: str) -> None:
    def say(ask: Ask) -> Reply:
        if ask.text.endswith("print(7)\n"):
            return Reply("```", Finish.STOP)
        return Reply("x = 1\n\nprint(7)\n```", Finish.STOP)

    class Printer:
        async def run(self, code: str) -> Execution:
            return Execution("7\n" if "print(7)" in code else "", "", "printer")

    result, _ = search(
        strategy, say, yes=lambda text: 0.6, form=PROGRAM, samples=4, interpreter=Printer()
    )
    assert result.answer is not None
    assert result.answer.text == "7"
    assert {each.form for each in result.candidates} == {PROGRAM}


def test_a_program_is_refused_for_what_it_cannot_state() -> None:
    with pytest.raises(UsageError, match="cannot state"):
        search("auto", form=PROGRAM, problem=FREE)
    with pytest.raises(UsageError, match="no form called"):
        search("majority", form="sonnet", problem=QUESTION)


def test_programs_are_drawn_at_a_temperature_of_their_own_unless_another_is_set() -> None:
    def find_greedy(**options) -> dict[bool, bool]:
        """By whether it is a program, whether all seeds were those of temperature 0."""
        seeds: dict[bool, set[int]] = {True: set(), False: set()}

        def say(ask: Ask) -> Reply:
            program = ask.text.endswith("```python\n")
            seeds[program].add(ask.seed)
            return Reply(write(7) if program else state(5), Finish.STOP)

        think(say, make_table(), interpreter=Calculator(), **options)
        return {program: found == {0} for program, found in seeds.items()}

    greedy = Sampling(temperature=0.0)
    assert find_greedy(sampling=greedy) == {True: False, False: True}
    assert find_greedy(sampling=greedy, samplings={}) == {True: True, False: True}
    assert find_greedy(samplings={PROGRAM: greedy}) == {True: True, False: False}


def test_no_more_of_a_form_are_begun_than_its_limit() -> None:
    script = talk([write(number) for number in range(1, 20)], [state(50 + n) for n in range(20)])
    table = make_table(probe=4, programs=3)
    limits = {PROGRAM: 2, PROSE: 3}
    result, _ = think(script, table, interpreter=Calculator(), limits=limits)
    forms = [each.form for each in result.candidates]
    assert (forms.count(PROGRAM), forms.count(PROSE)) == (2, 3)
    assert "of this budget are grown" in result.stop_reason


def test_a_known_candidate_of_another_form_is_not_taken_for_a_program() -> None:
    script = talk([write(7)], [state(5)])
    first, _ = think(script, make_table(), interpreter=Calculator(), samples=2)
    known = {each.id: each for each in first.candidates}
    again, _ = think(
        talk([write(7)] * 4, [state(7)] * 4),
        make_table(probe=4, programs=2),
        interpreter=Calculator(),
        known=known,
    )
    assert [each.form for each in again.candidates[:2]] == [PROGRAM] * 2
    assert again.candidates[0].text == known[0].text
    assert again.usage.generator.reused_tokens == known[0].tokens
    assert again.candidates[1].text == "print(7)\n```"
    assert again.answer.text == "7"
