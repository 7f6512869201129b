from __future__ import annotations

import sys

import pytest

from ttc_cli.builtin import VERIFIERS
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.prompts import Chat
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import VerifierContext, WeightedVerifier
from ttc_cli.verifiers.registry import Spec, build, parse


def means() -> VerifierContext:
    engine = ScriptedEngine()
    return VerifierContext(Chat(engine.info), engine=engine)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("judge", Spec("judge")),
        ("judge:0.5", Spec("judge", None, 0.5)),
        ("confidence=self-certainty:0", Spec("confidence", "self-certainty", 0.0)),
        ("generative=u/r:Q8_0@thinkprm:2", Spec("generative", "u/r:Q8_0@thinkprm", 2)),
        ("check=grep -q 'a:1' {file}:2", Spec("check", "grep -q 'a:1' {file}:2")),
    ],
)  # fmt: skip
def test_a_verifier_is_read_as_name_argument_and_weight(text, spec) -> None:
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("oracle", "no verifier called 'oracle'"),
        ("judge=x", "takes no argument"),
        ("confidence=loud", "no confidence called 'loud'"),
        ("judge:1.2.3", "not a number"),
        ("probe", "needs an argument"),
        ("prm", "needs an argument"),
        ("check", "needs an argument"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(text, told) -> None:
    with pytest.raises(UsageError, match=told):
        parse(text)


def test_a_mistyped_name_is_guessed() -> None:
    with pytest.raises(UsageError) as caught:
        parse("confidance")
    assert caught.value.hint == "Did you mean confidence?"


def test_verifiers_are_built_by_name_and_weight() -> None:
    wanted = ["judge", "confidence=mean:0.25", "generative", f"check={sys.executable} {{file}}"]
    built = build(wanted, means())
    assert [each.name for each in built] == ["judge", "confidence=mean", "generative", "check"]
    assert isinstance(built[1], WeightedVerifier)
    assert built[1].weight == 0.25
    assert [each.needs_branch for each in built] == [True, False, False, False]


def test_one_verifier_cannot_speak_twice() -> None:
    with pytest.raises(UsageError, match="once only"):
        build(["judge", "judge"], means())
    with pytest.raises(UsageError, match="same name"):
        build(["confidence", "confidence=tail"], means())


def test_every_entry_says_what_it_does() -> None:
    assert [each.name for each in registry.entries()] == list(VERIFIERS)
    for entry in registry.entries():
        assert entry.summary
        assert entry.scores
        assert entry.cost


def test_the_engine_is_told_when_the_whole_row_is_wanted() -> None:
    assert registry.wants_certainty(["judge", "confidence=self-certainty"])
    assert not registry.wants_certainty(["judge", "confidence"])
