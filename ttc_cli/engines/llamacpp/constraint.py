"""Growing under a JSON Schema: the schema as a grammar, and draws that follow it.

The schema is brought to few keywords (``answers.schema``), and the binding's converter writes the
grammar. A row is not masked as a whole: the likeliest tokens are asked about first, more of them
only where none may come next. Small models mostly want what they may, so that a draw costs a few
dozen tokens of grammar instead of a vocabulary of 150,000.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from ttc_cli.answers.schema import MOST_VALUES, simplify
from ttc_cli.engines.llamacpp.bindings import import_schema_converter
from ttc_cli.engines.llamacpp.distribution import Row
from ttc_cli.engines.llamacpp.native import take_log
from ttc_cli.engines.llamacpp.samplers import Grammar, Sampler
from ttc_cli.engines.trace import MARGIN
from ttc_cli.errors import UsageError

FIRST = 64
"""Tokens that are asked about first; then sixteen times as many, until one may come next."""

_CHARACTER = r'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] ' + (
    "[0-9a-fA-F] [0-9a-fA-F])"
)
"""What stands in a string; the converter's own rule lets line ends through, which is no JSON."""


@functools.lru_cache(maxsize=32)
def write_grammar(schema: str) -> str:
    """The GBNF grammar of the values that conform to ``schema`` (JSON text).

    Raises:
        UsageError: the schema says what no grammar can hold an answer to.
    """
    wanted = simplify(schema)
    base, primitives = import_schema_converter()
    take_log()

    class Converter(base):  # type: ignore[misc,valid-type]
        def _format_literal(self, literal: str) -> str:
            """As its own, which leaves backslashes and what follows them to the grammar."""
            text = json.dumps(json.loads(literal), ensure_ascii=False)
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

        def _visit_pattern(self, pattern: str, name: str) -> Any:
            return super()._visit_pattern(respell_pattern(pattern), name)

        def _add_rule(self, name: str, rule: str) -> Any:
            own = primitives["char"].content
            return super()._add_rule(name, _CHARACTER if rule == own else rule)

    converter = Converter(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    try:
        converter.visit(converter.resolve_refs(wanted, ""), "")
        grammar = str(converter.format_grammar())
    except (AssertionError, ValueError, LookupError, RecursionError) as error:
        raise UsageError(
            f"The schema cannot be used: {error}.",
            "A pattern must have the form ^…$, without (?…).",
        ) from error
    try:
        Grammar(None, grammar).close()
    except UsageError as error:
        raise UsageError(
            f"The schema cannot be used: {error.message}",
            "A definition cannot refer only to itself; a pattern takes only classes, groups and "
            "repetitions.",
        ) from error
    return grammar


def respell_pattern(pattern: str) -> str:
    r"""A regular expression in what the converter and GBNF know: ``\d`` and ``.`` as classes.

    In a JSON string a quotation mark, a backslash and control characters are written with a
    backslash before them, which a grammar of single characters cannot follow: ``.`` and classes
    of what is *not* in them leave these out.

    Raises:
        ValueError: it asks for one of those, or for what only a regular expression can.
    """
    if any(int(count) > MOST_VALUES for count in _COUNT.findall(pattern)):
        raise ValueError(f"a repetition in the pattern {pattern} is above {MOST_VALUES:,}")
    written, inside = [], False
    for token in _PATTERN.findall(pattern):
        if token in _CLASSES:
            written.append(_CLASSES[token] if inside else f"[{_CLASSES[token]}]")
        elif token == '"' or (len(token) == 2 and token[1].isalnum()) or token in ("\\", "\\\\"):
            raise ValueError(f"{token} in the pattern {pattern} cannot be enforced")
        elif token[0] == "\\":
            character = f"\\x{ord(token[1]):02X}" if ord(token[1]) < 128 else token[1]
            written.append(character if inside else f"[{character}]")
        elif token == "[^" and not inside:
            written.append(rf"[^{_UNSPELT}")
        elif token == "." and not inside:
            written.append(rf"[^{_UNSPELT}]")
        else:
            written.append(token)
        inside = token in ("[", "[^") or (inside and token != "]")
    return "".join(written)


_PATTERN = re.compile(r"\\.|\\|\[\^|.", re.DOTALL)
_COUNT = re.compile(r"(?<=[{,])\d+(?=[},])")
_CLASSES = {r"\d": "0-9", r"\w": "A-Za-z0-9_", r"\s": " "}
_UNSPELT = r'"\\\x00-\x1F'


def draw_allowed(
    sampler: Sampler, grammar: Grammar, row: Row, likely: npt.NDArray[np.int64]
) -> int | None:
    """Draw of ``row`` (n_vocab,) a token that ``grammar`` lets pass, and go on after it.

    The draw is among the likeliest that may come next: of ``FIRST`` of the ``likely`` ones if one
    of those may, else of ever more of the vocabulary. None where no token at all may.
    """
    size, tokens = FIRST, _best(row, likely, FIRST)
    while not (allowed := grammar.allow(tokens)).any():
        if size >= len(row):
            return None
        size *= 16
        tokens = _best(row, np.arange(len(row)), size)
    tokens = np.sort(tokens[allowed])
    logits = row[tokens]
    near = logits > logits.max() - np.float32(MARGIN)
    token = sampler.draw(tokens[near], logits[near])
    grammar.accept(token)
    return token


def include(
    token: int, tokens: npt.NDArray[np.int64], logits: Row
) -> tuple[npt.NDArray[np.int64], Row]:
    """The likely ``tokens`` and their ``logits`` with ``token`` among them.

    Confidence is that of the model's own distribution, also where it was made to write what it
    held for unlikely; as elsewhere, nothing counts as less likely than the margin.
    """
    place = int(np.searchsorted(tokens, token))
    if place < len(tokens) and tokens[place] == token:
        return tokens, logits
    least = logits.max() - np.float32(MARGIN)
    return np.insert(tokens, place, token), np.insert(logits, place, least)


def _best(row: Row, tokens: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    if len(tokens) <= size:
        return tokens
    found: npt.NDArray[np.int64] = tokens[np.argpartition(row[tokens], -size)[-size:]]
    return found
