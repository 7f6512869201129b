"""Writes the user's own ``models.toml``: adds an entry, removes one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError
from ttc_cli.models import files, records
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hub import Hub
from ttc_cli.models.pull import pick_file
from ttc_cli.models.registry import (
    Entry,
    FileSource,
    Source,
    check_entry,
    load_registry,
    user_file,
)
from ttc_cli.toml_files import change


def add_entry(
    reference: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    verifier_format: str | None = None,
    thinks: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Entry:
    """Add a file of this machine, or ``user/repo:quant`` of the hub, to the user's registry.

    The entry is pinned: to the file's hash, or to the hash that the hub states. ``warn`` as for
    ``toml_files.change``.

    Raises:
        UsageError: no such reference, or the name is taken.
        ModelCorrupt, ModelUnsupported: the file is not usable, or not the one that is pinned.
        AccessDenied, ModelMissing, NetworkError: the hub does not say what it holds.
    """
    values: dict[str, Any] = {}
    path = Path(os.path.expanduser(reference))
    parsed = files.parse_hub_reference(reference)
    source: Source
    if os.path.isfile(path):
        info = read_header(path)
        path = path.resolve()
        found = records.check_file(path, sha256, path.name)
        source = FileSource(str(path))
        values |= {"sha256": found, "bytes": info.file_bytes, "context": info.context_length}
        suggested = path.stem
    elif parsed is not None:
        picked, listed = pick_file(
            Hub.from_environment(), parsed.repo, parsed.wanted, parsed.revision
        )
        source = picked
        pinned = sha256 or listed.sha256
        values |= {"bytes": listed.size} | ({"sha256": pinned} if pinned else {})
        suggested = Path(listed.name).stem
    else:
        raise UsageError(
            f"{reference!r} is neither a file nor a hub reference.",
            "ttc models add PATH.gguf, or ttc models add user/repo:Q4_K_M",
        )
    name = name or re.sub(r"[^a-z0-9._-]+", "-", suggested.lower()).strip("-.")
    if load_registry().get(name) is not None:
        raise UsageError(
            f"There is already a model called {name}.",
            f"ttc models add {reference} --name OTHER",
        )
    values["sources"] = [asdict(source)]
    if verifier_format is not None:
        values |= {"kind": "verifier", "format": verifier_format}
    if thinks:
        values["thinks"] = True
    entry = check_entry(name, values, "ttc models add")
    change(user_file(), ("models", name), values, warn)
    if isinstance(source, FileSource):
        records.record_file(name, path, values["sha256"], source)
    return entry


def forget_entry(name: str, warn: Callable[[str], None]) -> None:
    """Take ``name`` out of the user's file; ``warn`` as for ``toml_files.change``."""
    change(user_file(), ("models", name), None, warn)
