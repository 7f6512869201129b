"""The model to use when none is named: the one in the settings, or one that fits this machine."""

from __future__ import annotations

from collections.abc import Callable

from ttc_cli.errors import UsageError
from ttc_cli.models.files import resolve_unchecked
from ttc_cli.models.ranking import Default, choose_default
from ttc_cli.settings.config import load_config, user_file


def find_default(hub_answers: Callable[[], bool] | None = None) -> Default:
    """The model to use when none is named, and why.

    ``hub_answers`` as for ``choose_default``: asked only where no model is here.

    Raises:
        UsageError: the settings are wrong.
    """
    config = load_config()
    chosen = config.get("model")
    if chosen is not None:
        return Default(str(chosen), f"set in {config.origin('model')}")
    return choose_default(hub_answers=hub_answers)


def set_default(name: str, warn: Callable[[str], None] = lambda text: None) -> str:
    """Store ``name`` as the user's default; returns the name as it is stored.

    ``warn`` as for ``toml_files.change``.

    Raises:
        UsageError: no such model, or a settings file that is not TOML.
        ModelMissing: a path without a file.
    """
    from ttc_cli.toml_files import change

    model = resolve_unchecked(name)
    if model.entry.kind != "generator":
        raise UsageError(f"{model.name} is a verifier: it cannot answer.", "ttc models list")
    change(user_file(), ("model",), model.name, warn)
    return model.name
