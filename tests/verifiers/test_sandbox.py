"""What hostile programs reach in a check, and what is no verdict on a candidate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from attacks import CONFINED, FOUND, LEAVINGS, PYTHON, confined, linux, run, score

from ttc_cli.errors import UsageError
from ttc_cli.types import Score
from ttc_cli.verifiers.checking import seccomp, watching
from ttc_cli.verifiers.checking.cells import LANDLOCK, SEATBELT_PROFILE, describe_gaps
from ttc_cli.verifiers.checking.command import CommandVerifier, read_command
from ttc_cli.verifiers.checking.sandbox import explain_sandbox, find_sandbox, run_check


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
    "number(64, 190, 0, 32000, 0o1600)",  # semget
    "number(68, 186, 0, 0o1600)",  # msgget
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
def test_a_socket_holds_no_more_than_it_does_by_itself(kind) -> None:
    ran = run(
        "one, other = socket.socketpair()\n"
        "for kind in (socket.SO_SNDBUF, socket.SO_RCVBUF):\n"
        "    before = one.getsockopt(socket.SOL_SOCKET, kind)\n"
        "    one.setsockopt(socket.SOL_SOCKET, kind, 2 * before)\n"
        "    print(one.getsockopt(socket.SOL_SOCKET, kind) == before)\n"
        "one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)\n"
        "print(one.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED))\n",
        kind,
    )
    assert ran.output.split() == ["True", "True", "1"]


@pytest.mark.skipif(not CONFINED, reason="Linux confines so")
@pytest.mark.parametrize(
    "attack",
    [
        "open('/dev/ptmx', 'rb')",
        "os.open('/dev/console', os.O_RDONLY)",
        "os.setpriority(os.PRIO_USER, 0, 19)",
        "number(251, 30, 3, 0, 3 << 13)",  # ioprio_set, of a user
    ],
)
def test_what_has_no_place_of_its_own_is_refused_without_bubblewrap(attack) -> None:
    ran = run(f"try: {attack}\nexcept OSError: print('refused')", LANDLOCK)
    assert ran.output == "refused\n"


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


@confined
def test_a_ttc_that_is_killed_leaves_nothing_running(kind, tmp_path) -> None:
    mark = f"killed-{os.getpid()}-{time.monotonic_ns()}"
    work = (
        "import asyncio, sys\n"
        "from ttc_cli.verifiers.checking.sandbox import Command, run_check\n"
        f"command = Command(({PYTHON!r}, '-c', 'print(flush=True); import time; time.sleep(64)',"
        f" {mark!r}, '{{file}}'))\n"
        f"asyncio.run(run_check(command, b'', '', seconds=60, sandbox={kind!r}))\n"
    )
    with subprocess.Popen(  # whose folder is for the next one to sweep
        [PYTHON, "-c", work], env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as ttc:
        assert _comes_to(lambda: _is_running(mark, "-c"), seconds=20)
        ttc.kill()
    assert _comes_to(lambda: not _is_running(mark, ""), seconds=5)


def _comes_to(holds, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


@confined
def test_nothing_is_left_running(kind) -> None:
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
    said = "It ended with exit status {}. It printed nothing."
    expected = [Score("check", 0.0, remark=said.format(status)) for status in (127, 126)]
    assert score(verifier, texts) == expected


@pytest.mark.slow
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
