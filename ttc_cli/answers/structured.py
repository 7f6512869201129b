"""Answers with a structure of their own: JSON values and programs, read and brought to one form.

What a model writes is hostile: nothing here runs it, and what is too deep, too long or too large
to be looked at is no answer.
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
"""Characters of a program or a JSON value; a longer one is no answer."""
LONGEST_PARSED = 20_000
"""Characters of a program that is compared by its syntax tree; longer ones by their text."""
_TRIES = 200
_EFFORT = 10 * LONGEST
"""Places at which a JSON value is looked for in a text, and characters read for it in all."""
_START = re.compile(r"[\[{]")


def parse_json(text: str) -> Any:
    """The JSON value that all of ``text`` is.

    Raises:
        ValueError: it is none, is nested too deep, or holds a number that Python cannot.
    """
    if len(text) > LONGEST:
        raise ValueError("too long")
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def find_json(text: str) -> str | None:
    """The last array or object that stands in ``text``, from its first character to its last."""
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
    return text if _can_be_written(text) else json.dumps(value)


def indent_json(text: str) -> str:
    """The JSON text ``text`` as people read it."""
    return json.dumps(parse_json(text), ensure_ascii=False, indent=2)


def key_json(text: str) -> str | None:
    """One form for equal values: numbers by their value, keys in any order. None if it is none."""
    try:
        value = _level(parse_json(text))
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def key_code(text: str) -> str | None:
    """One form for programs that differ in layout and comments alone; None for an empty one.

    What parses as Python is known by its syntax tree; all else by its lines, without the blanks
    at their ends and the blank ones. Comments of other languages stay: knowing them takes a
    parser each.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines or len(text) > LONGEST:
        return None
    return hashlib.sha256(_form_program(text, lines).encode("utf-8", "replace")).hexdigest()


def parse_python(text: str) -> ast.Module:
    """The syntax tree of a Python program. Nothing of it is run.

    Raises:
        SyntaxError: it is none, or too long or too deep to be looked at.
    """
    if len(text) > LONGEST_PARSED:
        raise SyntaxError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is a SyntaxWarning to the user
            return ast.parse(text)
    except (ValueError, MemoryError, RecursionError) as error:
        raise SyntaxError(str(error)) from error


def _form_program(text: str, lines: list[str]) -> str:
    try:
        return ast.dump(parse_python(text))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "\n".join(lines)


def _level(value: Any) -> Any:
    """``value`` with whole numbers written alike: 1.0 as 1."""
    if isinstance(value, dict):
        return {key: _level(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_level(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


_DECODER = json.JSONDecoder(parse_float=_read_float, parse_constant=_refuse)
