"""Where ttc keeps things, and how it writes them.

``TTC_HOME`` overrides all; otherwise the platform's own folders.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs


def _folder(kind: str, platform: Path) -> Path:
    home = os.environ.get("TTC_HOME")
    return Path(home).expanduser() / kind if home else platform


def config_dir() -> Path:
    """The user's ``config.toml`` and ``models.toml`` live here."""
    return _folder("config", platformdirs.user_config_path("ttc"))


def data_dir() -> Path:
    """Downloaded models live here, under ``models/``."""
    return _folder("data", platformdirs.user_data_path("ttc"))


def cache_dir() -> Path:
    """Built wheels and stamps: everything here can be deleted and made again."""
    return _folder("cache", platformdirs.user_cache_path("ttc"))


def find_hindrance() -> str | None:
    """Why nothing can be kept in the cache folder, in the system's words; None where it can."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(folder, os.W_OK) else "it may not be written"


def models_dir() -> Path:
    """Model files, one folder a model."""
    return data_dir() / "models"


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all; one that is there keeps its rights.

    Raises:
        OSError: it cannot be written; what was there is there still, and nothing beside it.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8", newline="")
        if path.is_file():
            fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
