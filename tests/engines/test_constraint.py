"""Grammars from schemas: what the binding's converter would get wrong, and patterns respelt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("llama_cpp")

from ttc_cli.engines.llamacpp.constraint import respell_pattern, write_grammar
from ttc_cli.engines.llamacpp.samplers import Grammar
from ttc_cli.errors import UsageError


def grammar_of(schema: Any) -> str:
    return write_grammar(json.dumps(schema))


def test_literals_are_written_as_json_writes_them() -> None:
    text = grammar_of({"enum": ['a "b" \\ c', "é", "line\nend"]})
    assert r'"\"a \\\"b\\\" \\\\ c\""' in text
    assert '"\\"é\\""' in text
    assert r'"\"line\\nend\""' in text


def test_strings_hold_no_bare_control_characters() -> None:
    assert r"\x00-\x1F" in grammar_of({"type": "string"})
    assert r"\x00-\x1F" in grammar_of({"type": "string", "maxLength": 3})
    assert r"\x00-\x1F" in grammar_of({"type": "object"})


def test_a_definition_called_like_a_rule_is_not_taken_for_it() -> None:
    schema = {"$ref": "#/$defs/string", "$defs": {"string": {"enum": [42]}}}
    assert '"42"' in grammar_of(schema)


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        (r"^\d{2}-\w+$", "^[0-9]{2}-[A-Za-z0-9_]+$"),
        (r"^[\d.]+$", "^[0-9.]+$"),
        (r"^\$\.$", r"^[\x24][\x2E]$"),
        (r"^[a\-z]$", r"^[a\x2Dz]$"),
        ("^a.b$", r'^a[^"\\\x00-\x1F]b$'),
        ("^[^ab]$", r'^[^"\\\x00-\x1Fab]$'),
        ("^[.^]$", "^[.^]$"),
    ],
)
def test_patterns_are_respelt_for_the_grammar(pattern: str, means: str) -> None:
    assert respell_pattern(pattern) == means
    re.compile(means)
    Grammar(None, grammar_of({"type": "string", "pattern": pattern})).close()


@pytest.mark.parametrize(
    "pattern", ["abc", r"^\bx$", r"^(?=a)b$", '^"$', r"^\\$", r"^\p$", "^a{9,99999}$"]
)
def test_a_pattern_that_no_grammar_follows_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="The schema cannot be used"):
        grammar_of({"type": "string", "pattern": pattern})


def test_a_definition_that_is_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="refers only to itself"):
        grammar_of({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})
    with pytest.raises(UsageError, match="left recursion"):
        grammar_of({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}})
    with pytest.raises(UsageError, match="called '\\$ref'"):
        grammar_of({"properties": {"$ref": {"type": "null"}}})


def test_what_the_library_cannot_read_is_an_error_and_no_crash() -> None:
    for text in ("root ::= (", 'other ::= "a"', "root ::= nothing"):
        with pytest.raises(UsageError, match="cannot read the grammar"):
            Grammar(None, text)


@pytest.mark.slow
def test_the_librarys_log_stays_off_the_terminal_once_a_schema_is_read() -> None:
    """In a process of its own: the binding takes the log once, when it is first imported."""
    work = (
        "from pathlib import Path\n"
        "from ttc_cli.engines.llamacpp import constraint, native\n"
        "native.start()\n"
        """constraint.write_grammar('{"type": "boolean"}')\n"""
        "try:\n    native.NativeModel(Path('none.gguf'))\n"
        "except Exception as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert "The library said" in done.stdout
    assert done.stderr == ""
