"""``ttc solve --template``: how a question is worded, and what a template may set."""

import json
import os
from typing import get_type_hints

import pytest
from scripted_ttc import make_engine

from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _solve_flags as flags
from ttc_cli.engines.scripted import CHATML, ScriptedEngine
from ttc_cli.main import main

FOUR = "Two and two make four.\n\nThe final answer is 4."
LOOPS = f"{{% for a in range(9999) %}}{'.' * 999}{{% endfor %}}"

pytestmark = pytest.mark.usefixtures("scripted_model")


@pytest.fixture
def solve(monkeypatch, capsys):
    """Run ``ttc solve``; returns exit code, the object of ``--json`` (None without) and stderr."""

    def run(*arguments):
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name: make_engine([FOUR]),
        )
        code = main(["solve", *map(str, arguments), "--json", "-q"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if code == 0 else None, err

    return run


@pytest.fixture
def template(tmp_path):
    def write(text, name="words.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def asked(solve, *arguments):
    code, result, err = solve(*arguments)
    assert code == 0, err
    return result["question"]


@pytest.mark.parametrize(
    ("text", "words", "file", "question"),
    [
        ("Q: {{ question }}\nBe exact.", ["Why?"], None, "Q: Why?\nBe exact."),
        ("{{ question }} <{{ input }}>", ["Why?"], "notes\n", "Why? <notes>"),
        ("{{ question }}!", ["Why?"], "notes\n", "Why?\n\nnotes!"),
        ("<{{ input }}>", ["Why?"], "notes\n", "<Why?\n\nnotes>"),
        ("<{{ input }}>", [], "notes", "<notes>"),
        ("{% if input is defined %}{{ input }}{% else %}-{% endif %}{{ question }}", ["Why?"], None,
         "-Why?"),
        ("What is 2+2?", [], None, "What is 2+2?"),
        ("{{ question | upper }}", ["why {{ 7*7 }}"], None, "WHY {{ 7*7 }}"),
    ],
)  # fmt: skip
def test_what_a_template_has_a_place_for_goes_there(solve, template, text, words, file, question):
    given = ("--file", template(file, "notes")) if file is not None else ()
    assert asked(solve, *words, "--template", template(text), *given) == question


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("{{ question }} {{ nonsense }}", ["Why?"], "'nonsense' is undefined"),
        ("{{ question }} {{ nonsense }}", ["Why?"], "names known here: question"),
        ("{{ question }} {{ input }}", ["Why?"], "'input' is undefined"),
        ("What is 2+2?", ["Why?"], "no place for a question"),
        ("{{ question", ["Why?"], "does not compile"),
        ("{{ question.__class__ }}", ["Why?"], "unsafe"),
        ("{% include 'secret' %}{{ question }}", ["Why?"], "cannot be filled in"),
        ("{{ question * 10000000 }}", ["Why?"], "absurd size"),
        (LOOPS + "{{ question }}", ["Why?"], "without end"),
        ("{{ question }}" + "." * 300_000, ["Why?"], "longer than"),
        ("\n{# {{ question }} #}{% if question %}{% endif %}", ["Why?"], "comes out empty"),
        (CHATML, ["Why?"], "--chat-template"),
        ("+++\nbudget = 'deep'\n{{ question }}", ["Why?"], "no end"),
        ("+++\nbudget =\n+++\n{{ question }}", ["Why?"], "not valid TOML"),
        ("+++\nbugdet = 'deep'\n+++\n{{ question }}", ["Why?"], "did you mean 'budget'?"),
        ("+++\nbudget = 'huge'\n+++\n{{ question }}", ["Why?"], "one of quick, normal"),
        ("+++\nsystem = 7\n+++\n{{ question }}", ["Why?"], "system must be text"),
        (f"+++\nsystem = 0x{'f' * 5000}\n+++\n{{{{ question }}}}", ["Why?"], "without end"),
        ("+++\nanswer_type = 'poem'\n+++\n{{ question }}", ["Why?"], "answer_type must be one of"),
        ("+++\n" + "a." * 999 + "b = 1\n+++\n{{ question }}", ["Why?"], "more than 200 dots"),
        ("+++\nbudget = " + "[" * 999 + "\n+++\n{{ question }}", ["Why?"], "too deeply"),
        (f"+++\nsystem = '{'x' * (1 << 20)}'\n+++\n{{{{ question }}}}", ["Why?"], "1 MiB"),
        ("caf\udce9", ["Why?"], "UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_template_is_said(solve, tmp_path, text, words, said):
    path = tmp_path / "words.txt"
    path.write_text(text, errors="surrogateescape")
    code, _, err = solve(*words, "--template", path)
    assert code == 2
    assert said in err


def test_front_matter_sets_and_flags_win(solve, template, monkeypatch):
    monkeypatch.setenv("TTC_BUDGET", "quick")
    head = (
        "+++\nstrategy = 'majority'\nbudget = 'deep'\nanswer_type = 'text'\nmax_samples = 3\n+++\n"
    )
    path = template(head + "{{ question }}")
    _, result, _ = solve("What?", "-t", path)
    assert (result["strategy"], result["answer_type"]) == ("majority", "text")
    assert len(result["candidates"]) == 3
    _, result, _ = solve("What?", "-t", path, "--answer-type", "number", "--strategy", "greedy")
    assert (result["strategy"], result["answer_type"]) == ("greedy", "number")


@pytest.fixture
def heard(monkeypatch):
    """What a scripted engine reads, request by request."""
    texts = []

    def say(ask):
        texts.append(ask.text)
        return FOUR

    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", lambda *_: ScriptedEngine(say))
    return texts


def test_front_matter_may_hold_the_system_prompt(template, heard):
    path = template("+++\nsystem = '''\nBe brief.\n'''\n+++\nQ: {{ question }}")
    assert main(["solve", "-q", "-t", str(path), "Why?"]) == 0
    assert main(["solve", "-q", "-t", str(path), "Why?", "--system", "Be kind."]) == 0
    assert "Be brief." in heard[0]
    assert "Q: Why?" in heard[0]
    assert "Be kind." in heard[-1]
    assert "Be brief." not in heard[-1]


def test_templates_are_found_by_name(solve, template):
    template("Name: {{ question }}", "home/config/templates/mine.md")
    template("Other: {{ question }}", "home/config/templates/other.txt")
    assert asked(solve, "Why?", "-t", "mine") == "Name: Why?"
    assert asked(solve, "Why?", "-t", "other.txt") == "Other: Why?"
    for wrong in ("mien", "../templates/mine", "/etc"):
        code, _, err = solve("Why?", "-t", wrong)
        assert code == 2
        assert "There is no template" in err
        assert "mine" in err


@pytest.mark.parametrize(
    ("reference", "question"),
    [
        ("mine", "Own: Why?"),
        ("v1.2", "Own: Why?"),
        ("./mine", "Theirs: Why?"),
        ("mine.md", "Theirs: Why?"),
        ("./v1.2", "Theirs: Why?"),
        ("other.md", "Own: Why?"),
        ("stray.x", "Theirs: Why?"),
        ("stray", None),
    ],
)
def test_a_name_is_the_users_own_and_a_path_is_a_file(solve, template, reference, question):
    for name in ("mine.md", "v1.2.txt", "other.md"):
        template("Own: {{ question }}", f"home/config/templates/{name}")
    for name in ("mine", "mine.md", "v1.2", "stray", "stray.x"):
        template("Theirs: {{ question }}", name)
    if question is not None:
        assert asked(solve, "Why?", "-t", reference) == question
    else:
        code, _, err = solve("Why?", "-t", reference)
        assert code == 2
        assert f"./{reference}" in err


def test_without_any_template_the_folder_is_named(solve):
    code, _, err = solve("Why?", "-t", "mine")
    assert code == 2
    assert "templates/NAME.txt" in err


def test_names_and_files_are_completed(template):
    template("{{ question }}", "home/config/templates/summary.md")
    template("{{ question }}", "sums.txt")
    template("no", "sums.py")
    assert completion.complete_template("su") == ["summary", "sums.txt"]
    option = get_type_hints(flags.Question, include_extras=True)["template"].__metadata__[0]
    assert option.autocompletion("summ") == ["summary"]


def test_a_batch_fills_a_template_with_each_row(solve, template, tmp_path, capsys):
    rows = [
        {"question": "Why?", "topic": "birds", "n": 1},
        {"question": "How?", "topic": "bees", "n": 2},
        {"question": "Who?"},
    ]
    batch = template("".join(json.dumps(row) + "\n" for row in rows), "q.jsonl")
    path = template("On {{ topic }}, {{ n + 1 }}: {{ question }}")
    solve("warm up")  # the engine is the scripted one from here on
    code = main(["solve", "--batch", str(batch), "-t", str(path), "-q"])
    found = {row["id"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert code == 1
    assert found[1]["question"] == "On birds, 2: Why?"
    assert found[1]["row"] == {"topic": "birds", "n": 1}
    assert found[2]["question"] == "On bees, 3: How?"
    assert "'topic' is undefined" in found[3]["error"]
    assert "question" in found[3]["hint"]


def test_a_prompt_is_the_instruction_and_the_row_its_input(solve, template, capsys):
    batch = template("birds\nbees\n", "q.txt")
    both = template("{{ question }}\n---\n{{ input }}")
    solve("warm up")
    assert main(["solve", "Sum up:", "--batch", str(batch), "-t", str(both), "-q"]) == 0
    found = {row["id"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found[1]["question"] == "Sum up:\n---\nbirds"
    assert found[2]["question"] == "Sum up:\n---\nbees"
    one = template("{{ question }}", "one.txt")
    assert main(["solve", "Sum up:", "--batch", str(batch), "-t", str(one), "-q"]) == 2


def test_another_template_is_another_setting_of_a_batch(solve, template, capsys):
    batch, path = template("birds\n", "q.txt"), template("Sing of {{ question }}")
    solve("warm up")
    command = ["solve", "--batch", str(batch), "-t", str(path), "--output", "a.jsonl"]
    assert main(command) == 0
    template("Speak of {{ question }}")
    assert main(command) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "system"),
    [
        (("Summarise the argument, then judge it:",), None),
        (("Summarise the argument, then judge it:", "--system", "Be fair."), "Be fair."),
        (("-t", "judge.txt", "Is it sound?"), "Be fair."),
    ],
)
def test_notes_come_from_a_pipe_beside_an_instruction(
    monkeypatch, template, heard, arguments, system
):
    template(
        "+++\nsystem = 'Be fair.'\n+++\nSummarise the argument, then judge it:\n\n{{ input }}"
        "{% if question is defined %}\n{{ question }}{% endif %}",
        "judge.txt",
    )
    ours, theirs = os.pipe()
    os.write(theirs, b"All men are mortal.\nSocrates is a man.\n")
    os.close(theirs)
    with os.fdopen(ours) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["solve", *arguments, "-q"]) == 0
    [*before, question] = heard[0].split("<|im_start|>")[1:-1]
    assert question.startswith(
        "user\nSummarise the argument, then judge it:\n\nAll men are mortal.\nSocrates is a man."
    )
    assert ("Is it sound?" in question) == ("-t" in arguments)
    assert any(system in each for each in before) if system else "Be fair." not in heard[0]
