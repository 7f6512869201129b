"""``--preset`` and ``--save``: from a preset to flags, and from flags to a preset."""

from __future__ import annotations

from typing import Any

import typer

from ttc_cli.output import Output

_PARAMETERS = {"option": "knobs"}
"""Names that a key of a preset has in commands, where it is another."""


def apply_preset(ctx: typer.Context, name: str | None) -> str | None:
    """Let the flags that are not given be those of the preset called ``name``.

    Raises:
        UsageError: as ``presets.find_preset``.
    """
    if name is not None and not ctx.resilient_parsing:
        from ttc_cli.settings.presets import find_preset

        values = find_preset(name).values
        ctx.default_map = {_PARAMETERS.get(key, key): value for key, value in values.items()}
    return name


def save_preset(name: str, ctx: typer.Context, out: Output) -> None:
    """Keep the flags of ``ctx`` as a preset of the user's, once it is sure they can be used.

    Flags are kept that differ from their default, those of a preset which they began with among
    them.

    Raises:
        UsageError: no such strategy, option, form or verifier; or as ``presets.save_preset``.
    """
    from ttc_cli.builtin import split_names
    from ttc_cli.settings import presets
    from ttc_cli.settings.config import user_file
    from ttc_cli.settings.keys import PRESET_KEYS
    from ttc_cli.solving.options import check_names, read_knobs

    values: dict[str, Any] = {}
    defaults = {each.name: each.default for each in ctx.command.params}
    for key in PRESET_KEYS:
        parameter = _PARAMETERS.get(key, key)
        value = ctx.params.get(parameter)
        if value not in (None, [], (), defaults.get(parameter)):
            values[key] = list(value) if isinstance(value, list | tuple) else value
    knobs = read_knobs(values.get("option", ()))
    words = [word for each in values.get("verifier", ()) for word in split_names(each)]
    check_names(values.get("strategy", "auto"), knobs, words, values.get("form", "auto"))
    presets.save_preset(name, values, out.warn)
    out.say(f"saved in {user_file()}; use it with: ttc solve --preset {name} …")
