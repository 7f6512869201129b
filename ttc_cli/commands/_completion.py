"""What the shell is offered for the next word: names of models, strategies, presets and the like.

Each is called while the user waits for the Tab key, and imports little. What goes wrong here, as
a damaged settings file, ends without a word in ``main``: errors have no place in a prompt. Names
that a shell would read as more than a word are never offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import typer

_WORD = re.compile(r"[\w.:/@=+-]+")
"""What no shell expands; a folder's ttc.toml may hold anything as the name of a preset."""


def _pick(names: Iterable[str], incomplete: str) -> list[str]:
    found = dict.fromkeys(name for name in names if name.startswith(incomplete))
    return [name for name in found if _WORD.fullmatch(name)]


def _pick_last(names: Iterable[str], incomplete: str) -> list[str]:
    """Of names with commas between them, those that the last one may be."""
    head, comma, last = incomplete.rpartition(",")
    return [f"{head}{comma}{name}" for name in _pick(names, last)]


def _list_models() -> list[str]:
    """Those on this machine first."""
    from ttc_cli.models.records import list_records
    from ttc_cli.models.registry import load_registry

    here = [record.name for record in list_records() if record.path.is_file()]
    return [*here, *load_registry().entries]


def complete_model(incomplete: str) -> list[str]:
    """A model's name."""
    return _pick(_list_models(), incomplete)


def complete_models(incomplete: str) -> list[str]:
    """Models' names with commas between them."""
    return _pick_last(_list_models(), incomplete)


def complete_template(incomplete: str) -> list[str]:
    """A prompt template's name, or a file that may be one."""
    from ttc_cli.solving.prompt_templates import list_all

    return _pick(list_all(), incomplete)


def _list_strategies() -> list[str]:
    from ttc_cli import plugins
    from ttc_cli.builtin import STRATEGIES

    return ["auto", *STRATEGIES, *plugins.list_names(plugins.STRATEGIES, STRATEGIES)]


def complete_strategy(incomplete: str) -> list[str]:
    """A strategy's name."""
    return _pick(_list_strategies(), incomplete)


def complete_strategies(incomplete: str) -> list[str]:
    """Strategies' names with commas between them."""
    return _pick_last(_list_strategies(), incomplete)


def complete_verifier(incomplete: str) -> list[str]:
    """Verifiers' names with commas between them; ``prm=`` with the models that can be one."""
    from ttc_cli import plugins
    from ttc_cli.builtin import VERIFIERS
    from ttc_cli.models.registry import load_registry
    from ttc_cli.verifiers.confidence import STATISTICS

    names = [*VERIFIERS, *plugins.list_names(plugins.VERIFIERS, VERIFIERS)]
    plain = [name for name in names if name not in ("prm", "probe", "check")]
    entries = load_registry().entries.values()
    models = [f"prm={entry.name}" for entry in entries if entry.kind == "verifier"]
    return _pick_last([*plain, *models, *(f"confidence={each}" for each in STATISTICS)], incomplete)


def complete_preset(incomplete: str) -> list[str]:
    """A preset's name."""
    from ttc_cli.settings.presets import list_presets

    return _pick(list_presets(), incomplete)


def complete_policy(incomplete: str) -> list[str]:
    """A policy's name: that of its file, which is not opened."""
    from ttc_cli.paths import policies_dir
    from ttc_cli.policy.file import SHIPPED_FOLDER

    files = [
        each for place in (policies_dir(), SHIPPED_FOLDER) for each in sorted(place.glob("*.json"))
    ]
    return _pick((each.stem for each in files if each.stem != "active"), incomplete)


def complete_run(incomplete: str) -> list[str]:
    """The id of a run, newest first."""
    from ttc_cli.paths import runs_path
    from ttc_cli.runs.store import RunStore

    with RunStore.open_to_read(runs_path()) as store:
        return _pick((*(run.id for run in store.newest(100)), "last"), incomplete)


def complete_key(incomplete: str) -> list[str]:
    """A setting's key."""
    from ttc_cli.settings.keys import KEYS

    return _pick(KEYS, incomplete)


def complete_key_or_preset(incomplete: str) -> list[str]:
    """What ``ttc config unset`` takes."""
    from ttc_cli.settings.config import PRESETS
    from ttc_cli.settings.keys import KEYS
    from ttc_cli.settings.presets import list_presets

    return _pick([*KEYS, *(f"{PRESETS}.{name}" for name in list_presets())], incomplete)


def complete_value(ctx: typer.Context, incomplete: str) -> list[str]:
    """A value of the setting that was named before it."""
    from ttc_cli.settings.keys import KEYS

    key = ctx.params.get("key")
    ways = {
        "model": complete_model,
        "strategy": complete_strategy,
        "verifier": complete_verifier,
    }
    if key in ways:
        return ways[key](incomplete)
    return _pick(KEYS[key].choices if key in KEYS else (), incomplete)


def complete_tested_verifier(incomplete: str) -> list[str]:
    """A verifier whose test is remembered."""
    from ttc_cli.paths import verdicts_path
    from ttc_cli.verifiers.verdicts import read_verdicts

    return _pick((name for _, name in read_verdicts(verdicts_path())), incomplete)
