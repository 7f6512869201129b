"""Hostile programs in a check: what they reach, what they use up, what they leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Candidate, Finish, Problem, Score
from ttc_cli.verifiers import removal, seccomp, watching
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.cells import LANDLOCK, SEATBELT_PROFILE, describe_gaps
from ttc_cli.verifiers.command import CommandVerifier, read_command
from ttc_cli.verifiers.sandbox import (
    Checked,
    Command,
    explain_sandbox,
    find_hidden,
    find_sandbox,
    run_check,
)

PYTHON = sys.executable
FOUND = find_sandbox()
CONFINED = [LANDLOCK, FOUND] if FOUND not in (None, LANDLOCK) else [FOUND] if FOUND else []
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux confines so")
confined = pytest.mark.parametrize(
    "kind", CONFINED, ids=lambda each: "landlock" if each == LANDLOCK else "bubblewrap"
)
walled = pytest.mark.skipif(FOUND in (None, LANDLOCK), reason="bubblewrap cannot work here")

SETUP = """
import ctypes, mmap, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) == -1: raise OSError
def number(x86, other, *args):
    call('syscall', x86 if os.uname().machine == 'x86_64' else other, *args)
"""


def run(text: str, kind: str | None, *, seconds: float = 10.0, setup: str = SETUP) -> Checked:
    """``text`` as a candidate's program."""
    command = read_command(f"{PYTHON} {{file.py}}")
    data = (setup + text).encode()
    return asyncio.run(run_check(command, data, ".py", seconds=seconds, sandbox=kind))


def score(verifier: CommandVerifier, texts: list[str]) -> list[Score | None]:
    """What candidates of ``texts`` get, one after another the same question's."""

    async def work():
        async with await ScriptedEngine().open((Span("?"),), Ledger(Budget())) as session:
            found = [Candidate(n, text, 1, Finish.STOP) for n, text in enumerate(texts)]
            leaves = [Leaf(each, None) for each in found]
            return await verifier.score(session, Problem("?"), leaves)

    return asyncio.run(work())


# -- what it reaches ------------------------------------------------------------------------------


@pytest.fixture
def listener(tmp_path):
    """A socket with a name that somebody listens at, and what came in."""
    came: list[bytes] = []
    with contextlib.ExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="s", dir="/var/tmp"))
        for kind, name in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_DGRAM, "datagram")):
            heard = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            heard.bind(f"{short}/{name}")
            if kind == socket.SOCK_STREAM:
                heard.listen()
            heard.setblocking(False)
            stack.callback(_hear, heard, came)
        yield short
    assert came == []


def _hear(heard: socket.socket, came: list[bytes]) -> None:
    with contextlib.suppress(BlockingIOError):
        if heard.type == socket.SOCK_STREAM:
            heard.accept()[0].close()
            came.append(b"connected")
        else:
            came.append(heard.recv(100))


def run_each(attacks: list[str], known: str, kind: str | None) -> dict[str, str]:
    """What each attack said: they follow one another in one program."""
    body = f"""
{known}
for attack in {attacks!r}:
    try: exec(attack)
    except OSError: print('refused')
    else: print('done')
"""
    ran = run(body, kind)
    return dict(zip(attacks, ran.output.splitlines(), strict=True))


SOCKETS = [
    "s = socket.socket(socket.AF_UNIX); s.connect(PLACE + '/stream')",
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'x', PLACE + '/datagram')",
    "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM);"
    "a.sendto(b'x', PLACE + '/datagram')",
    "a, b = socket.socketpair(); a.connect(PLACE + '/stream')",
    "a, b = socket.socketpair(); a.sendto(b'x', PLACE + '/stream')",
    "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET); a.connect(PLACE + '/stream')",
    "socket.socket(40, socket.SOCK_STREAM)",  # a virtual machine's host
    "socket.create_connection(('127.0.0.1', PORT), 1)",
]


@confined
def test_no_socket_outside_is_reached(listener, kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        known = f"PLACE, PORT = {listener!r}, {server.getsockname()[1]}"
        assert run_each(SOCKETS, known, kind) == dict.fromkeys(SOCKETS, "refused")


@confined
def test_a_pair_of_sockets_and_what_is_built_on_it_still_work(kind) -> None:
    ran = run(
        "import asyncio\n"
        "async def main():\n"
        "    p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=subprocess.PIPE)\n"
        "    print((await p.communicate())[0])\n"
        "asyncio.run(main())\n"
        "os.system('echo to a device > /dev/null; echo to itself > /dev/stdout')\n",
        kind,
    )
    assert ran.output.split() == ["to", "itself", "b'hi\\n'"], ran.output


OUTSIDE = [
    "call('unshare', 0x10000000)",
    "call('unshare', 0x10020000)",
    "number(56, 220, 0x10000011, 0, 0, 0, 0)",  # clone
    "number(435, 435, (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17), 88)",  # clone3
    "call('setns', 0, 0)",
    "call('mount', b'/', b'/tmp', None, 4096, None)",
    "number(250, 219, 0, -3, 1)",  # keyctl
    "number(248, 217, b'user', b'k', b'v', 1, -3)",  # add_key
    "number(425, 425, 8, ctypes.create_string_buffer(120))",  # io_uring_setup
    "number(319, 279, b'm', 0)",  # memfd_create
    "number(29, 194, 0, 4096, 0o1600)",  # shmget
    "os.kill(OUTSIDE, 0)",
    "call('ptrace', 16, OUTSIDE, None, None)",
    "open(f'/proc/{OUTSIDE}/environ')",
    "open(f'/proc/{OUTSIDE}/mem', 'rb')",
    "call('setpriority', 0, OUTSIDE, 19)",
    "number(302, 261, OUTSIDE, 7, (ctypes.c_uint64 * 2)(9, 9), None)",  # prlimit64
    "os.sched_setaffinity(OUTSIDE, {0})",
    "open(PLACE + '/new', 'w')",
    "os.truncate(PLACE + '/old', 0)",
    "os.remove(PLACE + '/old')",
    "os.rename(PLACE + '/old', PLACE + '/new')",
    "os.link(PLACE + '/old', 'here')",
    "os.mkfifo(PLACE + '/new')",
    "os.open(PLACE + '/fifo', os.O_WRONLY | os.O_NONBLOCK)",
    "os.open(PLACE + '/fifo', os.O_RDWR)",
    "os.mknod('disk', 0o60600, os.makedev(254, 0))",
    "open('/proc/sys/kernel/hostname', 'w')",
    "open('/proc/1/mem', 'r+b')",
]


@confined
def test_what_is_outside_stays_outside(kind) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        (Path(place) / "old").write_text("mine")
        os.mkfifo(f"{place}/fifo")
        reading = os.open(f"{place}/fifo", os.O_RDONLY | os.O_NONBLOCK)
        found = run_each(OUTSIDE, f"PLACE, OUTSIDE = {place!r}, {os.getpid()}", kind)
        os.close(reading)
        assert found == dict.fromkeys(OUTSIDE, "refused")
        assert sorted(os.listdir(place)) == ["fifo", "old"]
        assert (Path(place) / "old").read_text() == "mine"


@confined
def test_no_open_file_is_inherited(kind) -> None:
    ran = run(
        "print(sorted(os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in range(3)))\n"
        "for n in range(3, 1000):\n"
        "    try: os.fstat(n)\n"
        "    except OSError: pass\n"
        "    else: print(n, os.readlink(f'/proc/self/fd/{n}'))\n",
        kind,
    )
    assert ran.output == "['/dev/null', 'pipe', 'pipe']\n"


@walled
def test_keys_in_the_home_are_hidden_and_all_else_is_shown(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".ssh/id_rsa", ".netrc", ".bashrc", "elsewhere/token"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("secret")
    (tmp_path / ".aws").symlink_to(tmp_path / "elsewhere")
    checks = tmp_path / ".kube"  # a command that lives there is found all the same
    checks.mkdir()
    script = checks / "check.py"
    script.write_text(
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "print(os.listdir('.ssh'), os.listdir('.aws'), open('.bashrc').read())\n"
        "open('.netrc')\n"
    )
    command = read_command(f"{PYTHON} {script} {tmp_path} {{file}}")
    ran = asyncio.run(run_check(command, b"", ".txt", seconds=10, sandbox=FOUND))
    assert ran.output.startswith("[] [] secret\n")
    assert "PermissionError" in ran.output


# -- what it uses up ------------------------------------------------------------------------------

HUNGRY = """
def eat(size, shared):
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    each = mmap.mmap(-1, size, flags=kind | mmap.MAP_ANONYMOUS)
    for i in range(0, size, 4096): each[i] = 1
    return each
"""


@confined
@pytest.mark.parametrize(
    "attack",
    [
        "held = eat(400 << 20, True); time.sleep(9)",
        "held = eat(400 << 20, False); time.sleep(9)",
        "held = [os.fork() or (eat(100 << 20, False), time.sleep(9)) for _ in range(4)];"
        "time.sleep(9)",
        # shared, touched by one that lets go of it: in nobody's resident pages
        "all = [mmap.mmap(-1, 100 << 20) for _ in range(4)]\n"
        "for each in all:\n"
        "    for i in range(0, 100 << 20, 4096): each[i] = 1\n"
        "    each.madvise(mmap.MADV_DONTNEED)\n"
        "time.sleep(9)",
        "zero = os.open('/dev/zero', os.O_RDWR)\n"
        "held = [mmap.mmap(zero, 100 << 20) for _ in range(4)]; time.sleep(9)",
        # shared, unmapped again but for its first page
        "libc.mmap.restype = ctypes.c_void_p\n"
        "for _ in range(40):\n"
        "    at = libc.mmap(None, 10 << 20, 3, 0x21, -1, 0)\n"
        "    ctypes.memset(at, 1, 10 << 20)\n"
        "    libc.munmap(ctypes.c_void_p(at + 4096), (10 << 20) - 4096)\n"
        "time.sleep(9)",
        # read alone: page tables without pages
        "all = mmap.mmap(-1, 200 << 30, flags=0x4022, prot=mmap.PROT_READ)\n"
        "for i in range(0, 200 << 30, 2 << 20): all[i]\n"
        "time.sleep(9)",
    ],
    ids=["shared", "private", "children", "let go", "device", "unmapped", "tables"],
)
def test_memory_is_counted_together(kind, attack, monkeypatch) -> None:
    monkeypatch.setattr(watching, "MEMORY", 300 << 20)
    ran = run(HUNGRY + attack, kind)
    assert (ran.excess, ran.code) == ("memory", -9)


@confined
def test_open_files_are_counted_together(kind, monkeypatch) -> None:
    monkeypatch.setattr(watching, "OPEN", 1000)
    ran = run(
        "for _ in range(2):\n"
        "    if not os.fork(): break\n"
        "held = [socket.socketpair() for _ in range(200)]\n"
        "time.sleep(9)\n",
        kind,
    )
    assert (ran.excess, ran.code) == ("open files", -9)


@confined
def test_memory_that_is_shared_is_counted_once_and_what_is_reserved_not_at_all(
    kind, monkeypatch
) -> None:
    monkeypatch.setattr(watching, "MEMORY", 300 << 20)
    ran = run(
        HUNGRY + "mine, all = eat(100 << 20, False), eat(100 << 20, True)\n"
        "reserved = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)\n"
        "for _ in range(4):\n"
        "    if not os.fork(): time.sleep(.5); os._exit(0)\n"
        "for _ in range(4): os.wait()\n"
        "print('done')\n",
        kind,
    )
    assert (ran.code, ran.output, ran.excess) == (0, "done\n", None)


@walled
def test_what_can_be_written_to_has_a_size() -> None:
    ran = run(
        "def fill(folder):\n"
        "    size = 0\n"
        "    try:\n"
        "        for n in range(1000):\n"
        "            with open(f'{folder}/fill{n}', 'wb') as file:\n"
        "                for _ in range(32): size += file.write(bytes(1 << 20))\n"
        "    except OSError: return size >> 20\n"
        "mounts = dict.fromkeys(line.split()[4] for line in open('/proc/self/mountinfo'))\n"
        "print([(each, size) for each in mounts if (size := fill(each))], fill('.'))\n",
        FOUND,
        seconds=60,
    )
    assert ran.output == "[('/dev/shm', 64), ('/tmp', 512)] 0\n"


def test_files_on_a_disk_have_a_size_together(monkeypatch) -> None:
    monkeypatch.setattr(watching, "SPACE", 20 << 20)
    attack = (
        "for n in range(20): open(str(n), 'wb').write(bytes(2 << 20))\nos.sync()\ntime.sleep(9)\n"
    )
    assert run(attack, LANDLOCK if CONFINED else None).excess == "files"
    nested = "for n in range(1500): os.mkdir('d' * 20); os.chdir('d' * 20)\n" + attack
    assert run(nested, LANDLOCK if CONFINED else None).excess == "files"


def test_many_files_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr(watching, "FILES", 500)
    attack = "for n in range(2000): open(str(n), 'w')\ntime.sleep(9)\n"
    assert run(attack, None).excess == "files"


def test_what_others_write_is_not_held_against_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(watching, "SPACE", 4 << 20)
    beside = tmp_path / "big"
    threading.Timer(0.3, lambda: beside.write_bytes(os.urandom(16 << 20))).start()
    ran = run("time.sleep(1)\nprint('done')", LANDLOCK if CONFINED else None)
    assert (ran.excess, ran.output, beside.stat().st_size) == (None, "done\n", 16 << 20)


@confined
@pytest.mark.parametrize(
    "attack",
    [
        "held = [os.fork() or time.sleep(9) for _ in range(300)]; time.sleep(9)",
        "for _ in range(300): threading.Thread(target=time.sleep, args=(9,)).start()",
        "for _ in range(300):\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        if not os.fork(): time.sleep(9)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "time.sleep(9)",
    ],
    ids=["processes", "threads", "orphans"],
)
def test_processes_are_counted_for_root_too(kind, attack, monkeypatch) -> None:
    monkeypatch.setattr(watching, "PROCESSES", 40)
    ran = run(attack, kind)
    assert (ran.excess, ran.code) == ("processes", -9)


@confined
def test_a_ttc_that_is_killed_leaves_nothing_running(kind) -> None:
    mark = f"killed-{os.getpid()}-{time.monotonic_ns()}"
    work = (
        "import asyncio, sys\n"
        "from ttc_cli.verifiers.sandbox import Command, run_check\n"
        f"command = Command(({PYTHON!r}, '-c', 'print(flush=True); import time; time.sleep(64)',"
        f" {mark!r}, '{{file}}'))\n"
        f"asyncio.run(run_check(command, b'', '', seconds=60, sandbox={kind!r}))\n"
    )
    with subprocess.Popen([PYTHON, "-c", work]) as ttc:
        assert _comes_to(lambda: _is_running(mark, "-c"), seconds=20)
        ttc.kill()
    assert _comes_to(lambda: not _is_running(mark, ""), seconds=5)


def _comes_to(holds, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


@confined
def test_nothing_is_left_running(kind, tmp_path) -> None:
    mark = f"left-{os.getpid()}-{time.monotonic_ns()}"
    ran = run(
        "if not os.fork():\n"
        "    os.setsid()\n"
        f"    if not os.fork(): os.execlp('sh', {mark!r}, '-c', 'sleep 63; true')\n"
        "    os._exit(0)\n"
        "os.wait()\nprint('done')\n",
        kind,
    )
    assert (ran.code, ran.output) == (0, "done\n")
    assert _comes_to(lambda: not _is_running(mark), seconds=3)


def _is_running(mark: str, second: str = "") -> bool:
    """Whether a process has the word ``mark``, and ``second`` as the one behind its program."""
    found = (each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"]))
    return any(mark in words and second in ("", *words[1:2]) for words in found)


# -- what it leaves -------------------------------------------------------------------------------


LEAVINGS = {
    "deep": "for _ in range(1500): os.mkdir('d'); os.chdir('d')",
    "deeper than a path": "for _ in range(600): os.mkdir('d' * 255); os.chdir('d' * 255)",
    "closed": "os.makedirs('a/b/c'); os.mkdir('a/b/c/d', 0); os.chmod('a/b', 0); os.chmod('.', 0)",
    "names": "for n in range(1, 256): open(bytes([n]) * 200, 'w') if n not in (46, 47) else 0\n"
    "os.mkdir(b'\\xff'); open(b'\\xff/\\n', 'w'); os.mkfifo('fifo')",
    "links": "os.mkdir('a')\nfor to in (PLACE, PLACE + '/old', '.', '/', 'nowhere'):\n"
    "    for at in ('', 'a/'): os.symlink(to, at + str(hash(to)))",
    "nobody's": "os.mkdir('a', 0o555); os.mkdir('b'); os.mkdir('b/c', 0o111); os.chmod('b', 0o500)",
}


@pytest.mark.parametrize("kind", [None, FOUND], ids=["bare", "sandbox"])
@pytest.mark.parametrize("text", LEAVINGS.values(), ids=LEAVINGS)
def test_whatever_it_leaves_is_removed_and_no_more(kind, text, tmp_path, monkeypatch) -> None:
    temporary, place = tmp_path / "tmp", tmp_path / "place"
    temporary.mkdir()
    place.mkdir(mode=0o750)
    (place / "old").touch(mode=0o400)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    ran = run(f"PLACE = {str(place)!r}\n{text}\nprint('done')", kind)
    assert (ran.code, ran.output) == (0, "done\n")
    assert os.listdir(temporary) == []
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (place, place / "old")]
    assert modes == [0o750, 0o400]


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1)
TREES = st.recursive(
    st.sampled_from(["file", "link", "pipe"]),
    lambda below: st.dictionaries(NAMES.map(lambda name: name[:60]), below, max_size=4),
    max_leaves=12,
)


def plant(at: bytes, tree, modes) -> None:
    if isinstance(tree, dict):
        os.mkdir(at)
        for name, below in tree.items():
            if name not in (".", ".."):
                plant(at + b"/" + name.encode(), below, modes)
        os.chmod(at, modes.draw(st.integers(0, 0o777)))
    elif tree == "link":
        os.symlink("..", at)
    elif tree == "pipe":
        os.mkfifo(at)
    else:
        os.close(os.open(at, os.O_CREAT, 0))


@given(tree=TREES, modes=st.data())
@settings(max_examples=30, deadline=None)
def test_any_tree_is_removed(tree, modes) -> None:
    with tempfile.TemporaryDirectory() as made:
        plant(os.fsencode(made) + b"/tree", {"top": tree}, modes)
        assert removal.remove(Path(made) / "tree")
        assert os.listdir(made) == []


def test_what_cannot_be_removed_is_left_and_nothing_raised(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    unlink = os.unlink

    def refuse(path, **named):
        if path == "held":
            raise PermissionError
        unlink(path, **named)

    monkeypatch.setattr(os, "unlink", refuse)
    assert run("open('held', 'w'); open('other', 'w')", None).passed
    [left] = tmp_path.iterdir()
    assert [each.name for each in left.iterdir()] == ["held"]
    monkeypatch.setattr(removal, "AGE", -1.0)
    assert removal.sweep() == [left]
    monkeypatch.undo()


def test_what_killed_runs_left_is_swept_and_what_is_in_use_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(removal, "AGE", -1.0)
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (tmp_path / "ttc-check-link").symlink_to(victim)
    (tmp_path / "ttc-check-file").touch()
    (tmp_path / "ttc-check-left" / "a").mkdir(parents=True)
    with removal.make_folder() as used:
        assert removal.sweep() == []
        names = {each.name for each in tmp_path.iterdir()}
        assert names == {used.name, "victim", "ttc-check-link", "ttc-check-file"}
    monkeypatch.setattr(removal, "AGE", 60.0)
    (tmp_path / "ttc-check-new").mkdir()
    removal.sweep()
    assert (tmp_path / "ttc-check-new").is_dir()


# -- what its command needs -----------------------------------------------------------------------


def make_environment(place: Path) -> Path:
    """A virtual environment with a package of its own, and one that is installed in place."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", place / "venv"], check=True)
    [packages] = place.glob("venv/lib/python*/site-packages")
    (packages / "of_its_own.py").touch()
    (place / "project" / "src").mkdir(parents=True)
    (place / "project" / "src" / "in_place.py").touch()
    return packages


@pytest.fixture
def hidden():
    """A folder that the sandbox hides with the rest of /tmp."""
    with tempfile.TemporaryDirectory(prefix="needed-", dir="/tmp") as made:
        yield Path(made)


@walled
@pytest.mark.parametrize("kind", ["pth", "finder", "script", "link"])
def test_an_interpreter_below_tmp_sees_its_packages(hidden, kind) -> None:
    with tempfile.TemporaryDirectory(prefix="project-", dir="/tmp") as elsewhere:
        packages = make_environment(hidden)
        project = shutil.move(hidden / "project", elsewhere) + "/src"
        (packages / "project.pth").write_text(
            f"{project}\n" if kind == "pth" else "import __editable___project\n"
        )
        (packages / "__editable___project.py").write_text(
            f"import sys\nMAPPING = {{'in_place': {project!r}}}\nsys.path += MAPPING.values()\n"
        )
        program = hidden / "venv" / "bin" / "python"
        if kind == "script":
            tool = hidden / "venv" / "bin" / "tool"
            tool.write_text(f"#!{program}\nimport runpy, sys\nrunpy.run_path(sys.argv[1])\n")
            tool.chmod(0o755)
            program = tool
        if kind == "link":
            other = Path(elsewhere) / "py"
            other.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            other.chmod(0o755)
            command = read_command(f"{other} {{file.py}} {program}")
        else:
            command = read_command(f"{program} {{file.py}}")
        data = b"import of_its_own, in_place, sys; print(sys.prefix)"
        ran = asyncio.run(run_check(command, data, ".py", seconds=20, sandbox=FOUND))
        assert ran.output == f"{hidden}/venv\n"
        assert find_hidden(command, FOUND) == ()


@pytest.mark.parametrize("kind", [None, FOUND], ids=["bare", "sandbox"])
def test_version_managers_and_packages_of_the_user_are_found(tmp_path, kind, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("RUSTUP_HOME", "/rust")
    names = ("PYENV_DIR", "PYTHONUSERBASE", "RUSTUP_HOME")
    ran = run(f"print(*map(os.environ.get, {names!r}))", kind)
    assert ran.output.split() == [str(tmp_path), "/nowhere/.local", "/rust"]


@walled
def test_a_script_below_tmp_sees_its_project(hidden, monkeypatch) -> None:
    (hidden / "tests").mkdir()
    (hidden / "tests" / "check.py").write_text(
        "import os, sys\n"
        "sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..'))\n"
        "import solution\n"
    )
    (hidden / "solution.py").touch()
    monkeypatch.chdir(hidden)
    command = read_command(f"{PYTHON} tests/check.py {{file}}")
    assert asyncio.run(run_check(command, b"", ".txt", seconds=20, sandbox=FOUND)).passed


@walled
@pytest.mark.parametrize("word", ["--data={}/data.txt", "cat {}/data.txt #", "'{}/data.txt'"])
def test_a_path_within_a_word_is_shown(hidden, word) -> None:
    (hidden / "data.txt").touch()
    program = "import re, sys; open(re.search(r'/tmp/[^ \\']*', sys.argv[1])[0])"
    command = Command((PYTHON, "-c", program, word.format(hidden), "{file}"))
    ran = asyncio.run(run_check(command, b"", "", seconds=10, sandbox=FOUND))
    assert ran.passed, ran.output


@walled
def test_a_script_in_tmp_itself_sees_what_is_beside_it() -> None:
    with (
        tempfile.NamedTemporaryFile("w", dir="/tmp", prefix="besides", suffix=".py") as beside,
        tempfile.NamedTemporaryFile("w", dir="/tmp", suffix=".py") as script,
    ):
        script.write(f"import {Path(beside.name).stem}\n")
        script.flush()
        command = read_command(f"{PYTHON} {script.name} {{file}}")
        ran = asyncio.run(run_check(command, b"", ".txt", seconds=20, sandbox=FOUND))
        assert ran.passed, ran.output


@walled
def test_what_a_check_could_not_open_is_named(hidden) -> None:
    assert find_hidden(read_command(f"{PYTHON} {{file}}"), FOUND) == ()
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".py") as script:
        assert find_hidden(read_command(f"{PYTHON} {script.name} {{file}}"), FOUND) == (
            script.name,
        )
    if os.getuid() == 0:  # who may read what is not root's, but not in there
        script = hidden / "check.py"
        script.touch()
        os.chown(hidden, 65534, 65534)
        hidden.chmod(0o700)
        assert find_hidden(read_command(f"{PYTHON} {script} {{file}}"), FOUND) == (str(script),)


@pytest.mark.parametrize(
    ("bwrap", "said"),
    [("exit 0", "exit status 0"), ("echo 'bwrap: no room' >&2; exit 1", "bwrap: no room")],
)
def test_a_sandbox_that_fails_is_no_verdict(bwrap, said, tmp_path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(f"#!/bin/sh\n{bwrap}\n")
    broken.chmod(0o755)
    command = read_command(f"{PYTHON} {{file}}")
    assert not asyncio.run(run_check(command, b"", "", seconds=10, sandbox=str(broken))).passed
    with pytest.raises(UsageError, match=f"could not be started.*{said}"):
        score(CommandVerifier(command, sandbox=str(broken)), ["4"])


def test_no_room_for_a_check_is_no_verdict(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match=r"could not be started.*No such file"):
        score(CommandVerifier(read_command(f"{PYTHON} {{file}}"), sandbox=None), ["4"])


def test_what_exits_as_if_it_were_not_found_has_failed() -> None:
    verifier = CommandVerifier(read_command(f"{PYTHON} {{file}}"), sandbox=FOUND)
    texts = ["```py\nimport os; os._exit(127)\n```", "```py\nimport os; os._exit(126)\n```"]
    assert score(verifier, texts) == [Score("check", 0.0)] * 2


def test_an_attack_costs_its_own_candidate_alone(monkeypatch) -> None:
    monkeypatch.setattr(watching, "MEMORY", 300 << 20)
    attacks = [
        LEAVINGS["deep"],
        "import mmap; a = mmap.mmap(-1, 400 << 20); import time; time.sleep(9)",
        "while True: print('x' * 10000)",
        "os.kill(0, 9)",
        "os.kill(os.getppid(), 9)",
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\nimport time; time.sleep(99)",
    ]
    texts = [f"```py\nimport os\n{each}\n```" for each in ("", *attacks, "pass")]
    verifier = CommandVerifier(
        read_command(f"{PYTHON} {{file}}"), seconds=3.0, sandbox=FOUND, parallel=4
    )
    found = score(verifier, texts)
    assert [each.value for each in found] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]


# -- where there is less --------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    ("bwrap", "said"),
    [
        ("echo 'bwrap: No permissions to create a new namespace' >&2; exit 1", "No permissions"),
        ("echo 'bwrap: Unknown option --size' >&2; exit 1", "Unknown option --size"),
        ("exit 3", "does not work here"),
        (None, "bubblewrap is missing"),
    ],
)
def test_without_bubblewrap_linux_confines_and_says_why(bwrap, said, tmp_path, monkeypatch) -> None:
    if bwrap is not None:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{bwrap}\n")
        (tmp_path / "bwrap").chmod(0o755)
    (tmp_path / "true").symlink_to(shutil.which("true"))
    monkeypatch.setenv("PATH", str(tmp_path))
    find_sandbox.cache_clear()
    try:
        kind, why = find_sandbox(), explain_sandbox()
    finally:
        find_sandbox.cache_clear()
    assert said in why
    assert kind == (LANDLOCK if LANDLOCK in CONFINED else None)
    assert describe_gaps(kind)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_a_filter_is_known_for_each_machine(machine, monkeypatch) -> None:
    monkeypatch.setattr(seccomp.platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    for alone in (True, False):
        assert len(seccomp.build_filter(alone=alone)) % 8 == 0
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "pdp11")
    assert seccomp.build_filter(alone=True) is None


def test_the_profile_of_macos_is_well_formed() -> None:
    depth = 0
    for character in SEATBELT_PROFILE:
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    rules = SEATBELT_PROFILE.splitlines()
    denied = rules.index("(deny file-write*)")
    assert all(rules.index(each) > denied for each in rules if "allow file-write" in each)
    assert "(deny network*)" in rules
