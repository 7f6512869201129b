"""Token by token: implicit and generative verifiers read what their models' reference code reads.

In the vocabulary of Qwen 2, which theirs share; ``tests/data/prm/make.py`` wrote the references.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import vocabularies

from ttc_cli.engines.base import Branch, Growth
from ttc_cli.engines.llamacpp.native import NativeModel
from ttc_cli.engines.llamacpp.tokeniser import Tokeniser
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.prompts import Chat
from ttc_cli.types import Finish, Problem
from ttc_cli.verifiers.critiques import FORMATS
from ttc_cli.verifiers.generative import GenerativeVerifier
from ttc_cli.verifiers.prm.implicit import ImplicitFormat

pytestmark = pytest.mark.slow
TEMPLATE = vocabularies.DATA.parent / "templates" / "qwen2.5-coder.jinja"


@pytest.fixture
def open_reference(tmp_path):
    models = []

    def open(name):
        content = vocabularies.read(name)
        folder = os.environ.get("TTC_TEST_VOCABULARIES")  # of llama.cpp: the whole vocabularies
        path = Path(folder or "", content["source"])
        if not folder:
            path = vocabularies.write(content["vocabulary"], tmp_path / f"{name}.gguf")
        models.append(NativeModel(path, vocab_only=True))
        return content, Tokeniser(models[-1], name)

    yield open
    for each in models:
        each.close()


def make_engine() -> ScriptedEngine:
    engine = ScriptedEngine()
    template = TEMPLATE.read_text(encoding="utf-8")
    engine.info = replace(engine.info, chat_template=template)
    return engine


def make_critic(format: str) -> GenerativeVerifier:
    engine = make_engine()
    return GenerativeVerifier(engine, Chat(engine.info), FORMATS[format])


def test_the_steps_of_an_implicit_model_are_those_of_its_conversation(open_reference):
    content, tokeniser = open_reference("implicit-qwen2")
    format = ImplicitFormat(Chat(make_engine().info))
    for case in content["cases"]:
        tokens, ends = tokeniser.tokenise(format.open(case["question"])), []
        for number, step in enumerate(case["steps"]):
            more = format.go_on(step) if number else format.begin(case["question"], step)
            tokens += tokeniser.tokenise(more, tokens[-1])
            ends.append(len(tokens) - 1)
        *inner, last = case["positions"]
        assert ends[:-1] == inner
        assert tokens[: inner[-1] + 1] == case["tokens"][: inner[-1] + 1]
        # Behind the last step stands the end of the turn there, and a blank line here.
        assert tokens[:last] == case["tokens"][:last]


def test_thinkprm_reads_the_prompt_that_it_was_trained_with(open_reference):
    content, tokeniser = open_reference("thinkprm-qwen2")
    critic = make_critic("thinkprm")
    for case in content["cases"]:
        problem, path = Problem(case["question"]), tuple(case["steps"])
        shared, _ = critic._halves(problem)
        tokens = tokeniser.tokenise(shared)
        tokens += tokeniser.tokenise(critic._word(problem, path), tokens[-1])
        assert tokens == case["tokens"]


@pytest.mark.parametrize("written", ["it is right.\n</analyze>", "it is right.\n</analyze>\n"])
def test_genprm_reads_its_prompt_and_its_verdict(open_reference, written):
    content, tokeniser = open_reference("genprm-qwen2")
    critic = make_critic("genprm")
    for case in content["cases"]:
        problem, path = Problem(case["question"]), (case["steps"][0],)
        shared, _ = critic._halves(problem, path)
        tokens = tokeniser.tokenise(shared)
        tokens += tokeniser.tokenise(critic._word_turn(problem, path), tokens[-1])
        start = case["positions"][0]
        # The blank that ends the beginning belongs to the word that the model goes on with.
        assert tokens[:start] == case["tokens"][:start]
        ending = critic._ask(Growth(Branch(1), 0, written, 9, Finish.MARK))
        text = written + "".join(span.text for span in ending)
        assert text == "it is right.\n</analyze>\n<output>\n**Judgement**: $\\boxed{"
        verdict = tokeniser.tokenise(ending)
        yes = content["labels"]["Yes"]
        place = case["tokens"].index(yes)
        assert case["tokens"][place - 3 : place] == verdict[-3:]


@pytest.mark.parametrize(
    ("name", "labels"), [("thinkprm-qwen2", (" yes", " no")), ("genprm-qwen2", ("Yes", "No"))]
)
def test_verdicts_are_one_token_each(open_reference, name, labels):
    content, tokeniser = open_reference(name)
    for label in labels:
        assert tokeniser.find_labels((label,)) == [content["labels"][label]]
