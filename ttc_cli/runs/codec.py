"""Events as they are stored: complete, so that any view can show a run again.

This is the store's own form and may change with ``VERSION``; the one published for users, which
joins and leaves out, is ``views.jsonl``. Fields at their default are left out, so a default in
``types`` or ``events`` may only change together with the version. ``json`` of the standard library
writes and reads the result, NaN, infinities and lone surrogates included.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from ttc_cli.errors import RunDamaged
from ttc_cli.events import Event

if TYPE_CHECKING:
    from pydantic import TypeAdapter

VERSION = 1
_GREATEST = 10**300

_KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Event)}


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(_KINDS[kind])


def prepare() -> None:
    """Build what encodes, which takes a tenth of a second: while there is time for it."""
    for kind in _KINDS:
        _adapter(kind)


def encode(event: Event) -> dict[str, Any]:
    """``event`` in values that ``json.dumps`` takes; ``decode`` is the exact inverse."""
    kind = type(event).__name__
    fields = _adapter(kind).dump_python(event, mode="json", exclude_defaults=True)
    return {"v": VERSION, "kind": kind, **fields}


def read_integer(digits: str) -> int:
    """A whole number that was kept; one that no float can hold becomes the greatest that does."""
    if len(digits) <= 300:
        return int(digits)
    return -_GREATEST if digits.startswith("-") else _GREATEST


def decode(data: Mapping[str, Any]) -> Event:
    """The event that ``encode`` was given. Fields that this version does not know are ignored.

    Raises:
        RunDamaged: ``data`` is not such an event, or a newer ttc wrote it.
    """
    from pydantic import ValidationError

    if not isinstance(data, Mapping):
        raise RunDamaged(f"A kept event must be an object, not {data!r:.80}.")
    version, kind = data.get("v"), data.get("kind")
    if version != VERSION:
        raise RunDamaged(
            f"An event of version {version!r:.20} cannot be read: this ttc writes {VERSION}.",
            "use the version of ttc that recorded the run",
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        raise RunDamaged(f"There is no event {kind!r:.40}.")
    try:
        event: Event = _adapter(kind).validate_python(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (kind, *first["loc"])))
        raise RunDamaged(f"A kept event is damaged: {place}: {first['msg']}.") from error
    return event
