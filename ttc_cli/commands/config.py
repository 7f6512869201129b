"""``ttc config``: list, get, set, unset, path, edit, presets.

stdout carries the data (a table, a value, a path, JSON), stderr everything else.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from ttc_cli import children
from ttc_cli.builtin import split_names
from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._dashes import TextCommand
from ttc_cli.commands._help import make_group, show_examples
from ttc_cli.errors import UsageError, suggest
from ttc_cli.output import Output
from ttc_cli.settings import config as settings
from ttc_cli.settings import presets as kept
from ttc_cli.settings.keys import KEYS, find_rule, parse_value
from ttc_cli.settings.trust import require_own_hand
from ttc_cli.toml_files import change, read_toml

app = make_group(
    "List, read and change settings; list presets.",
    show_examples(
        "ttc config list --show-origin",
        "ttc config set budget deep",
        "ttc config unset budget",
        "ttc config presets",
        more="A flag wins over a variable (TTC_BUDGET …), a variable over the project's "
        "ttc.toml, and that over your config.toml. See docs/configuration.md.",
    ),
)

KeyName = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="A setting's name, from 'ttc config list'.",
        autocompletion=completion.complete_key,
    ),
]
Project = Annotated[
    bool, typer.Option("--project", help="Use the project's ttc.toml, not your config.toml.")
]

_DEFAULT = re.compile(r"\s*\[default: (?P<words>.*)\]$")


def describe(key: str) -> tuple[str, str | None]:
    """One line on the setting ``key``, and its default in words; None where it has none.

    Both are those of the flag of ``ttc solve``, unless the setting has words of its own.
    """
    from ttc_cli.commands.solve import app as solve

    words = KEYS[key].help
    if not words:
        named = {each.name: each for each in typer.main.get_command(solve).params}
        words = getattr(named[key], "help", None) or ""
    default = _DEFAULT.search(words)
    return _DEFAULT.sub("", words), default and default["words"]


@app.command(
    "list",
    epilog=show_examples(
        "ttc config list", "ttc config list --show-origin", "ttc config list --json"
    ),
)
def list_settings(
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="Also show where each value is set.")
    ] = False,
    as_json: flags.PrintJson = False,
) -> None:
    """List every setting: its value, its default, and what it does."""
    config = settings.load_config()
    rows: list[dict[str, Any]] = []
    out = Output()
    for key in KEYS:
        summary, default = describe(key)
        try:
            value = config.get(key)
        except UsageError as error:  # a project's file says what only the user may
            out.warn(error.message)
            value = None
        rows.append(
            {
                "key": key,
                "value": value,
                "default": default,
                "origin": config.origin(key) or "default",
                "variable": f"TTC_{key.upper()}",
                "summary": summary,
            }
        )
    if as_json:
        out.document({"v": 1, "settings": rows})
        return
    lines: list[tuple[str, ...]] = [("KEY", "VALUE", "DEFAULT", "SET IN", "WHAT IT IS")]
    for row in rows:
        value = "" if row["value"] is None else str(row["value"])
        lines.append((row["key"], value, row["default"] or "", row["origin"], row["summary"]))
    if not show_origin:
        lines = [(*line[:3], line[4]) for line in lines]
    out.table(lines)


@app.command(epilog=show_examples("ttc config get budget"))
def get(key: KeyName) -> None:
    """Print a setting's value here, or nothing if it is not set."""
    find_rule(key, "ttc config get")
    config = settings.load_config()
    value, (_, default) = config.get(key), describe(key)
    out = Output()
    if value is None:
        out.say(f"{key} is not set; the default: {default or 'none'}")
    else:
        out.say(f"set in {config.origin(key)}")
        out.answer(str(value))


@app.command(
    "set",
    cls=TextCommand,
    epilog=show_examples(
        "ttc config set budget deep",
        "ttc config set threads 4",
        "ttc config set --project verifier judge,confidence",
    ),
)
def set_value(
    key: KeyName,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE",
            help="A value that the flag of the same name takes.",
            autocompletion=completion.complete_value,
        ),
    ],
    project: Project = False,
) -> None:
    """Set a value from now on, in your config.toml or in the project's ttc.toml.

    The rest of the file stays as it is, comments included.
    """
    parsed = _check(key, parse_value(key, value, "ttc config set"))
    path = _choose_file(project)
    if project:
        require_own_hand(key, parsed, str(path))
    out = Output()
    change(path, (key,), parsed, out.warn, follow=not project)
    out.say(f"{key} = {parsed} in {path}")
    _tell_winner(key, path, out)


def _check(key: str, value: Any) -> Any:
    """``value``, held against the names that it must be one of.

    Raises:
        UsageError: there is no such strategy, form, verifier or model.
        ModelError: the path of a model that is not there.
    """
    if key == "strategy" and value != "auto":
        from ttc_cli.search.registry import find

        find(value)
    elif key == "form" and value != "auto":
        from ttc_cli.forms.registry import find as find_form

        find_form(value)
    elif key == "verifier":
        from ttc_cli.verifiers.registry import parse

        for word in split_names(value):
            parse(word)
    elif key == "model" and settings.load_config().get("server") is None:
        from ttc_cli.models.files import resolve_unchecked

        return resolve_unchecked(value).name
    return value


def _choose_file(project: bool) -> Path:
    """The user's file, or the project's: the one that is used here, else a new one.

    Raises:
        UsageError: another user's file lies where a new one would.
    """
    if not project:
        return settings.user_file()
    found = settings.find_project_file()
    if found is None and os.path.lexists(settings.PROJECT_FILE):
        raise UsageError(
            f"{settings.PROJECT_FILE} in this folder is not read: it, or the folder, belongs to "
            "another user, or it is not a file.",
            "choose another folder, or set it in your own config.toml: ttc config set …",
        )
    return found or Path.cwd() / settings.PROJECT_FILE


def _tell_winner(key: str, path: Path, out: Output) -> None:
    """Say so where another place has the last word on ``key``."""
    origin = settings.load_config().origin(key)
    if origin is not None and origin != str(path):
        out.warn(f"{origin} takes precedence and still decides {key}")


@app.command(
    epilog=show_examples("ttc config unset budget", "ttc config unset presets.maths"),
)
def unset(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="A setting, or presets.NAME.",
            autocompletion=completion.complete_key_or_preset,
        ),
    ],
    project: Project = False,
) -> None:
    """Remove a setting, or a preset, from your config.toml or the project's ttc.toml."""
    path = _choose_file(project)
    content = read_toml(path)
    tables = content.pop(settings.PRESETS, {})
    known = [*content, *(f"{settings.PRESETS}.{name}" for name in tables)]
    if key not in known:
        hint = suggest(key, known, f"it sets: {', '.join(known) or 'nothing'}", quoted=True)
        raise UsageError(f"{key} is not set in {path}.", hint)
    table, _, name = key.partition(".")
    out = Output()
    change(path, (table, name) if name else (key,), None, out.warn, follow=not project)
    out.say(f"removed {key} from {path}")
    if not name:
        _tell_winner(key, path, out)


@app.command(epilog=show_examples("ttc config path", "ttc config path --project"))
def path(project: Project = False) -> None:
    """Print the path of your config.toml, or of the project's ttc.toml, even if there is none."""
    Output().answer(str(_choose_file(project)))


@app.command(epilog=show_examples("ttc config edit", "EDITOR=nano ttc config edit --project"))
def edit(project: Project = False) -> None:
    """Open your config.toml, or the project's ttc.toml, in VISUAL or EDITOR, then check it."""
    file = _choose_file(project)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        found = filter(children.find_program, ("nano", "vim", "vi"))
        editor = next(found, None) if sys.stdin.isatty() else None
    if not editor:
        raise UsageError(
            "There is no editor to open.", f"EDITOR=nano ttc config edit, or open {file}"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        name, *arguments = shlex.split(editor)
        program = children.find_program(name)
        if program is None:
            raise ValueError(f"there is no program {name}")
        with children.start([program, *arguments, str(file)], stdin=None) as process:
            code = process.wait()
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot start the editor {editor}: {error}.", "EDITOR=nano …") from error
    if code:
        raise UsageError(f"The editor {editor} failed (exit {code}).")
    settings.load_config()
    for name in kept.list_presets():
        kept.find_preset(name)
    Output().say(f"{file} is valid")


@app.command(
    epilog=show_examples(
        "ttc config presets", 'ttc solve --preset maths --dry-run "What is 17 * 23?"'
    )
)
def presets(as_json: flags.PrintJson = False) -> None:
    """List the presets: flags saved under a name by 'ttc solve … --save NAME'."""
    out = Output()
    found = kept.list_presets().values()
    rows = [{"name": p.name, "flags": list(p.words), "origin": str(p.path)} for p in found]
    if as_json:
        out.document({"v": 1, "presets": rows})
    elif not rows:
        out.say("No presets. 'ttc solve --budget deep --save NAME' keeps flags under a name.")
    else:
        lines = [(each.name, shlex.join(each.words), str(each.path)) for each in found]
        out.table([("NAME", "FLAGS", "SET IN"), *lines])
