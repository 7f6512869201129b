"""Token by token: what the formats read is what the reference code reads, and ends where it looks.

``tests/data/prm/make.py`` wrote the references; see there for how.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
import vocabularies

from ttc_cli.engines.base import EngineInfo, Span
from ttc_cli.engines.llamacpp.engine import LlamaCppEngine
from ttc_cli.engines.llamacpp.native import NativeModel
from ttc_cli.engines.llamacpp.tokeniser import Tokeniser
from ttc_cli.errors import UsageError
from ttc_cli.prompts import Chat
from ttc_cli.verifiers.prm.formats import MATH_SHEPHERD, VERSAPRM, RlhflowFormat
from ttc_cli.verifiers.prm.verifier import Vocabulary

NAMES = ("rlhflow-llama3", "versaprm-llama3", "versaprm-qwen2", "math-shepherd-mistral")
TEMPLATES = vocabularies.DATA.parent / "templates"


def make_format(name: str):
    if name == "rlhflow":
        info = EngineInfo(
            name="vocabulary",
            model="llama3",
            parameters=0,
            context=0,
            parallel=1,
            chat_template=(TEMPLATES / "llama3.jinja").read_text(encoding="utf-8"),
            control_tokens={"bos_token": "<|begin_of_text|>"},
        )
        return RlhflowFormat(Chat(info, now=lambda: datetime(2024, 7, 26)))
    return MATH_SHEPHERD if name == "math-shepherd" else VERSAPRM


@pytest.fixture(scope="module", params=NAMES)
def reference(request, tmp_path_factory):
    content = vocabularies.read(request.param)
    folder = os.environ.get("TTC_TEST_VOCABULARIES")  # of llama.cpp: the whole vocabularies
    path = Path(folder or "", content["source"])
    if not (folder and path.suffix == ".gguf"):
        path = tmp_path_factory.mktemp("vocabulary") / f"{request.param}.gguf"
        vocabularies.write(content["vocabulary"], path)
    model = NativeModel(path, vocab_only=True)
    yield content, model
    model.close()


def read_steps(format, model, case):
    """All tokens in front of the last label, and where each step ends."""
    tokeniser = Tokeniser(model, "vocabulary")
    begin = model.begin_token()
    tokens = tokeniser.tokenise(format.open(case["question"]))
    if begin is not None and tokens[0] != begin:
        tokens.insert(0, begin)
    positions = []
    for number, step in enumerate(case["steps"]):
        more = format.go_on(step) if number else format.begin(case["question"], step)
        tokens += tokeniser.tokenise(more, tokens[-1])
        positions.append(len(tokens) - 1)
    return tokens, positions


@pytest.mark.slow
def test_each_step_adds_the_tokens_that_the_reference_reads(reference):
    content, model = reference
    format = make_format(content["format"])
    for case in content["cases"]:
        tokens, positions = read_steps(format, model, case)
        assert positions == case["positions"]
        assert tokens == case["tokens"][: positions[-1] + 1]


@pytest.mark.slow
def test_the_labels_are_the_tokens_that_the_reference_compares(reference):
    content, model = reference
    format = make_format(content["format"])
    tokeniser = Tokeniser(model, "vocabulary")
    for label in (format.good, format.bad):
        assert tokeniser.find_labels((label,)) == [content["labels"][label]]


@pytest.mark.slow
def test_the_ids_are_those_that_the_reference_code_names(reference):
    content, _ = reference
    tags = {
        ("rlhflow", "ggml-vocab-llama-bpe.gguf"): 271,  # two newlines, before the assistant's "+"
        ("versaprm", "ggml-vocab-llama-bpe.gguf"): 23535,
        ("versaprm", "ggml-vocab-qwen2.gguf"): 22701,
        ("math-shepherd", "tokenizer.model.v1"): 12902,
    }
    for case in content["cases"]:
        found = {case["tokens"][position] for position in case["positions"]}
        assert found == {tags[content["format"], content["source"]]}
        if content["format"] == "rlhflow":
            assert {case["tokens"][position + 1] for position in case["positions"]} == {10}


@pytest.mark.slow
def test_a_vocabulary_without_the_tags_is_refused(tmp_path):
    content = vocabularies.read("versaprm-llama3")
    model = NativeModel(
        vocabularies.write(content["vocabulary"], tmp_path / "a.gguf"), vocab_only=True
    )
    tokeniser = Tokeniser(model, "a model")
    with pytest.raises(UsageError, match="single token of a model"):
        tokeniser.tokenise((Span(MATH_SHEPHERD.tags[0], piece=True),))
    with pytest.raises(UsageError, match="single token of a model"):
        tokeniser.find_labels((MATH_SHEPHERD.good,))
    model.close()


def test_control_words_in_a_step_are_read_as_text(reference):
    content, model = reference
    format = make_format(content["format"])
    tokeniser = Tokeniser(model, "vocabulary")
    special = {int(token) for token, kind in content["vocabulary"]["types"].items() if kind == 3}
    hostile = tokeniser.tokenise(format.go_on("a<|eot_id|>b</s>"), None)
    harmless = tokeniser.tokenise(format.go_on("ab"), None)
    assert special
    assert [t for t in hostile if t in special] == [t for t in harmless if t in special]


def test_the_engine_on_this_machine_is_asked_for_its_vocabulary():
    assert issubclass(LlamaCppEngine, Vocabulary)
