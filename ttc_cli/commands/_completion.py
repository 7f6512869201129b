"""What the shell offers for the next word: names of models, strategies, presets and so on.

Each is called while the user waits for the Tab key, and imports little. What goes wrong here, as a
damaged settings file, ends without a word in ``main``: errors have no place in a prompt. Names that
a shell would read as more than a word are never offered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import typer

_WORD = re.compile(r"[\w.:/@=+-]+")
"""What no shell expands; a folder's ttc.toml may hold anything as the name of a preset."""

Complete = Callable[[str], list[str]]


def _complete(list_names: Callable[[], Iterable[str]], *, several: bool = False) -> Complete:
    """What offers the names listed; with ``several``, for the last of those with commas between."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        fitting = dict.fromkeys(name for name in list_names() if name.startswith(last))
        return [f"{head}{comma}{name}" for name in fitting if _WORD.fullmatch(name)]

    return complete


def _list_models() -> list[str]:
    """Those on this machine first."""
    from ttc_cli.models.records import list_records
    from ttc_cli.models.registry import load_registry

    here = [record.name for record in list_records() if record.path.is_file()]
    return [*here, *load_registry().entries]


def _list_templates() -> Iterable[str]:
    """Files that may be one, too."""
    from ttc_cli.solving.prompt_templates import list_all

    return list_all()


def _list_strategies() -> list[str]:
    from ttc_cli import plugins
    from ttc_cli.builtin import STRATEGIES

    return ["auto", *plugins.list_names(plugins.STRATEGIES, STRATEGIES)]


def _list_forms() -> list[str]:
    from ttc_cli import plugins
    from ttc_cli.builtin import FORMS

    return ["auto", *plugins.list_names(plugins.FORMS, FORMS)]


def _list_verifiers() -> list[str]:
    """``prm=`` with the models that can be one."""
    from ttc_cli import plugins
    from ttc_cli.builtin import VERIFIERS
    from ttc_cli.models.registry import load_registry
    from ttc_cli.verifiers.confidence import STATISTICS

    names = plugins.list_names(plugins.VERIFIERS, VERIFIERS)
    plain = [name for name in names if name not in ("prm", "implicit", "probe", "check")]
    entries = load_registry().entries.values()
    models = [f"prm={entry.name}" for entry in entries if entry.kind == "verifier"]
    return [*plain, *models, *(f"confidence={each}" for each in STATISTICS)]


def _list_presets() -> Iterable[str]:
    from ttc_cli.settings.presets import list_presets

    return list_presets()


def _list_policies() -> list[str]:
    """By their files, which are not opened."""
    from ttc_cli.paths import policies_dir
    from ttc_cli.policy.file import SHIPPED_FOLDER

    folders = (policies_dir(), SHIPPED_FOLDER)
    names = [each.stem for folder in folders for each in sorted(folder.glob("*.json"))]
    return [name for name in names if name != "active"]


def _list_runs() -> list[str]:
    """Newest first."""
    from ttc_cli.paths import runs_path
    from ttc_cli.runs.store import RunStore

    with RunStore.open_to_read(runs_path()) as store:
        return [*(run.id for run in store.newest(100)), "last"]


def _list_keys() -> list[str]:
    from ttc_cli.settings.keys import KEYS

    return list(KEYS)


def _list_keys_and_presets() -> list[str]:
    from ttc_cli.settings.config import PRESETS

    return [*_list_keys(), *(f"{PRESETS}.{name}" for name in _list_presets())]


def _list_tested_verifiers() -> list[str]:
    from ttc_cli.paths import verdicts_path
    from ttc_cli.verifiers.verdicts import read_verdicts

    return [name for _, name in read_verdicts(verdicts_path())]


complete_model = _complete(_list_models)
complete_models = _complete(_list_models, several=True)
complete_template = _complete(_list_templates)
complete_strategy = _complete(_list_strategies)
complete_strategies = _complete(_list_strategies, several=True)
complete_form = _complete(_list_forms)
complete_verifier = _complete(_list_verifiers, several=True)
complete_tested_verifier = _complete(_list_tested_verifiers)
complete_preset = _complete(_list_presets)
complete_policy = _complete(_list_policies)
complete_run = _complete(_list_runs)
complete_key = _complete(_list_keys)
complete_key_or_preset = _complete(_list_keys_and_presets)


def complete_value(ctx: typer.Context, incomplete: str) -> list[str]:
    """A value of the setting that was named before it."""
    from ttc_cli.settings.keys import KEYS

    key = ctx.params.get("key")
    ways = {
        "model": complete_model,
        "strategy": complete_strategy,
        "form": complete_form,
        "verifier": complete_verifier,
    }
    choices = KEYS[key].choices if key in KEYS else ()
    return ways.get(str(key), _complete(lambda: choices))(incomplete)
