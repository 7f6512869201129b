"""What a check in bubblewrap sees of the file system: all but other programs' and secret files.

``/tmp`` is the check's own. What its command needs of the real one is shown there again, whole: the
entry of ``/tmp`` that holds its program, its script, the virtual environment these belong to, that
environment's own interpreter, and the projects that are installed there in place.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_TMP = Path("/tmp")
_IN_TMP = re.compile(r"/tmp/[^/\0'\"\s]+")
_SIBLINGS = 200
"""So many entries of ``/tmp`` are shown at most where a script lies among them."""
_READ = 1 << 16
_NOTHING = ("--ro-bind", "/dev/null")
SECRETS = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".password-store", ".netrc", ".npmrc",
    ".pypirc", ".git-credentials", ".pgpass", ".config/gcloud", ".config/gh", ".config/hub",
    ".config/git/credentials", ".config/op", ".local/share/keyrings", ".mozilla",
    ".config/chromium", ".config/google-chrome", ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens", ".huggingface", ".bash_history", ".zsh_history",
    ".python_history",
)  # fmt: skip
"""Of the home: where programs keep keys, tokens and what was typed."""
_SYSTEM_SECRETS = ("/etc/shadow", "/etc/gshadow", "/etc/ssl/private")  # open to root


def show(words: Iterable[str]) -> list[str]:
    """Bubblewrap's options that show a command its ``words`` and hide secrets, over ``/ /``."""
    needed = list(find_needed(words))
    shown = dict.fromkeys(each for path in needed for each in _list_shown(path))
    options: list[str] = []
    for path in shown:
        options += ["--ro-bind-try", str(path), str(path)]
    home = Path(os.path.expanduser("~"))
    for secret in (*(home / each for each in SECRETS), *map(Path, _SYSTEM_SECRETS)):
        with contextlib.suppress(OSError):
            real = secret.resolve(strict=True)
            if not any(path.is_relative_to(each) for path in needed for each in (secret, real)):
                empty = ("--size", "4096", "--tmpfs") if real.is_dir() else _NOTHING
                options += [*empty, str(real)]
    return options


def _list_shown(path: Path) -> list[Path]:
    """The entries of ``/tmp`` that ``path`` needs: its own, and those beside a script."""
    if not path.is_relative_to(_TMP) or path.parts[2:3] in ((), ("..",)):
        return []
    entry = Path(*path.parts[:3])
    if path != entry or path.is_dir():
        return [entry]
    with contextlib.suppress(OSError):
        beside = os.listdir(_TMP)
        if len(beside) <= _SIBLINGS:
            return [_TMP / each for each in beside]
    return [entry]


def find_needed(words: Iterable[str]) -> Iterator[Path]:
    """What a check of ``words`` is known to need, by absolute path.

    Beside what ``follow`` finds: what a word like ``--config=/tmp/…`` holds, the working folder,
    what is on the paths of the environment, which a check keeps, and ttc's own interpreter, which
    starts it.
    """
    kept = (os.environ.get(each, "") for each in ("PATH", "PYTHONPATH", "VIRTUAL_ENV"))
    own = [each for line in kept for each in line.split(os.pathsep)]
    own += [sys.executable, sys.prefix, sys.base_prefix, __file__]
    with contextlib.suppress(OSError):  # it may be gone
        own.append(os.getcwd())
    words = list(words)
    return follow([*own, *words, *(each for word in words for each in _IN_TMP.findall(word))])


def follow(words: Iterable[str]) -> Iterator[Path]:
    """Those of ``words`` that are absolute paths, and what they lead to, each once.

    Where links lead, what a ``#!`` line names, a virtual environment, its base, and what is
    installed in it in place.
    """
    waiting = [Path(each) for each in words]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # links in a ring
            if path in seen or not path.is_absolute() or not path.exists():
                continue
            seen.add(path)
            yield path
            waiting += (Path(os.path.normpath(path)), path.resolve(), *_find_next(path))


def _find_next(path: Path) -> Iterator[Path]:
    """What ``path`` leads to."""
    if path.is_symlink():
        yield path.parent / path.readlink()
    if path.is_dir():
        if (path / "pyvenv.cfg").is_file():
            yield from _find_base(path)
        return
    first = _read(path).partition("\n")[0]
    if first.startswith("#!"):
        yield from map(Path, first[2:].split())
    if path.parent.name in ("bin", "Scripts"):
        yield path.parent.parent


def _find_base(prefix: Path) -> Iterator[Path]:
    """A virtual environment's base interpreter, and what its packages name in ``/tmp``."""
    found = re.search(r"^home\s*=\s*(.+)$", _read(prefix / "pyvenv.cfg"), re.MULTILINE)
    if found:
        yield Path(found[1].strip()).parent
    for packages in prefix.glob("lib*/python*/site-packages"):
        for pattern in ("*.pth", "*.egg-link", "__editable__*.py"):
            for each in packages.glob(pattern):
                yield from map(Path, _IN_TMP.findall(_read(each)))


def _read(path: Path) -> str:
    """The beginning of a regular file; empty for anything else, which might never end."""
    with contextlib.suppress(OSError):
        if path.is_file():
            with open(path, "rb") as file:
                return file.read(_READ).decode("utf-8", "replace")
    return ""
