"""Answers with a structure of their own: JSON values and programs, read and brought to one form.

What a model writes is hostile: nothing here runs it, and what is too deep, too long or too large
is not an answer.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
import warnings
from typing import Any

LONGEST = 100_000
"""Characters of a program or a JSON value; a longer one is not an answer."""
LONGEST_PARSED = 20_000
"""Characters of a program that is compared by its syntax tree; longer ones by their text."""
_TRIES = 200
_EFFORT = 10 * LONGEST
"""Places at which a JSON value is looked for in a text, and characters read for it in all."""
_START = re.compile(r"[\[{]")


def parse_json(text: str, decoder: json.JSONDecoder | None = None) -> Any:
    """The JSON value that all of ``text`` is.

    Raises:
        ValueError: it is not JSON, is nested too deep, or holds a number too large for Python.
    """
    if len(text) > LONGEST:
        raise ValueError("too long")
    try:
        return (decoder or _DECODER).decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def find_json(text: str) -> str | None:
    """The text of the last JSON array or object in ``text``."""
    found, place, effort = None, 0, _EFFORT
    for _ in range(_TRIES):
        start = _START.search(text, place)
        if start is None or effort < 0:
            break
        try:
            _, place = _DECODER.raw_decode(text, start.start())
            found = text[start.start() : place]
        except json.JSONDecodeError as error:
            place = start.end()
            effort -= error.pos - start.start()
        except (ValueError, RecursionError):
            place = start.end()
            effort -= LONGEST
    return found


def write_json(value: Any) -> str:
    """``value`` on one line; characters stand for themselves where they can be written out."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value)
    return text


def indent_json(text: str) -> str:
    """The JSON text ``text``, indented for reading."""
    return json.dumps(parse_json(text), ensure_ascii=False, indent=2)


def key_json(text: str) -> str | None:
    """One form for equal values: numbers by their value, keys in any order. None for other text."""
    try:
        value = parse_json(text, _LEVELLING)
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def key_code(text: str) -> str | None:
    """One form for programs that differ in layout and comments alone; None for an empty one.

    What parses as Python is known by its syntax tree; the rest by its lines, without the blanks
    at their ends and the blank ones. Comments of other languages stay: knowing them takes a
    parser each.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines or len(text) > LONGEST:
        return None
    try:
        form = ast.dump(parse_python(text))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        form = "\n".join(lines)
    return hashlib.sha256(form.encode("utf-8", "replace")).hexdigest()


def parse_python(text: str) -> ast.Module:
    """The syntax tree of a Python program. Nothing of it is run.

    Raises:
        SyntaxError: it is not Python, or is too long or too deep.
    """
    if len(text) > LONGEST_PARSED:
        raise SyntaxError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is a SyntaxWarning to the user
            return ast.parse(text)
    except (ValueError, MemoryError, RecursionError) as error:
        raise SyntaxError(str(error)) from error


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _read_level(text: str) -> float:
    value = _read_float(text)
    return int(value) if value.is_integer() else value


_DECODER = json.JSONDecoder(parse_float=_read_float, parse_constant=_refuse)
_LEVELLING = json.JSONDecoder(parse_float=_read_level, parse_constant=_refuse)
"""Reads whole numbers alike: 1.0 as 1."""
