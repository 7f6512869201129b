"""Engines of other packages: what an entry point of ``ttc.engines`` names, and how to open it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ttc_cli.engines.base import Engine
from ttc_cli.errors import EngineError, TtcError, UsageError, find_near
from ttc_cli.plugins import ENGINES, Plugin, find_plugin, list_names, load


@dataclass(frozen=True, slots=True)
class EngineWish:
    """What a plugin's engine is opened for. None means: its own default.

    ``where`` is all after ``NAME:`` in ``--server NAME:WHERE``; ``model`` is as the user named it.
    ``template`` is a chat template's text and ``tokens`` the spellings of its ``bos_token`` and
    ``eos_token``, which the engine is to give back in its ``EngineInfo``. ``parameters`` reckons
    FLOPs, ``parallel`` branches grow at once, ``context`` is the longest path in tokens.
    """

    where: str
    model: str | None = None
    template: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict)
    parameters: int | None = None
    parallel: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine of a plugin: ``open`` gives it ready, and raises what ``Engine.open`` may."""

    name: str
    open: Callable[[EngineWish], Engine]
    summary: str


def find_engine(address: str) -> tuple[Plugin, str] | None:
    """The engine that ``--server NAME:WHERE`` names, and WHERE; None for a server's address.

    Raises:
        UsageError: no engine has that name, and one has a name much like it.
    """
    name, colon, where = address.partition(":")
    if not colon or where.startswith("//") or "@" in where or where[:1].isdigit():
        return None
    plugin = find_plugin(ENGINES, name)
    if plugin is not None:
        return plugin, where
    near = find_near(name, list_names(ENGINES))
    if near is not None:
        raise UsageError(f"There is no engine called {name!r}.", f"Did you mean {near}:{where}?")
    return None


def open_engine(plugin: Plugin, wish: EngineWish) -> Engine:
    """The engine of ``plugin``, ready.

    Raises:
        UsageError: the plugin cannot be loaded.
        EngineError: it failed, or gave no engine.
        TtcError: what it says itself.
    """
    entry = load(plugin, EngineEntry)
    try:
        engine = entry.open(wish)
        ready = hasattr(engine, "info") and hasattr(engine, "open")
    except TtcError:
        raise
    except Exception as error:  # whatever another's code does
        raise EngineError(f"{plugin} failed: {type(error).__name__}: {error}") from error
    if not ready:
        raise EngineError(f"{plugin} gave {engine!r}, which is not an engine.")
    return engine
