"""The one place that imports ``llama_cpp``: its bare bindings, as ``lib``, and one more module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any


def _import_bindings() -> Any:
    """``llama_cpp.llama_cpp``, the bare bindings, without running ``llama_cpp/__init__.py``.

    That imports the high-level ``Llama`` class and all it needs, which takes four times as long as
    the bindings and is not used here. Whoever imports ``llama_cpp`` later gets the whole of it.
    """
    name = "llama_cpp"
    if name in sys.modules:
        return importlib.import_module(f"{name}.llama_cpp")
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError("llama-cpp-python is not installed", name=name)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{name}.llama_cpp")
    finally:
        del sys.modules[name]


lib = _import_bindings()


def import_schema_converter() -> Any:
    """The binding's converter from JSON Schema to GBNF: a class, and its primitive rules."""
    grammar = importlib.import_module("llama_cpp.llama_grammar")
    return grammar.SchemaConverter, grammar.PRIMITIVE_RULES
