"""What all processes of a check may use together."""

from __future__ import annotations

import os
import threading

import pytest
from attacks import CONFINED, FOUND, confined, run, walled

from ttc_cli.verifiers.checking import watching
from ttc_cli.verifiers.checking.cells import LANDLOCK

pytestmark = pytest.mark.slow

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
def test_a_look_ends_however_much_there_is_to_look_at(kind, monkeypatch) -> None:
    monkeypatch.setattr(watching, "MEMORY", 300 << 20)
    monkeypatch.setattr(watching, "_LOOK", 0.0)
    reserved = "held = mmap.mmap(-1, 8 << 30, flags=0x4022, prot=0); time.sleep(9)"
    assert run(reserved, kind).excess == "memory"  # so much as it may be


@walled
@pytest.mark.parametrize(
    ("attack", "excess"),
    [
        ("for n in range(2000): os.mkdir(str(n))\ntime.sleep(9)", "files"),
        (
            "server, held = socket.create_server(('127.0.0.1', 0)), []\n"
            "for _ in range(40):\n"
            "    held.append(each := socket.create_connection(server.getsockname()))\n"
            "    each.setblocking(False)\n"
            "    try:\n"
            "        while each.send(bytes(1 << 20)): pass\n"
            "    except OSError: pass\n"
            "time.sleep(9)",
            "memory",
        ),
    ],
    ids=["entries", "sockets"],
)
def test_what_the_kernel_holds_for_it_is_counted(attack, excess, monkeypatch) -> None:
    monkeypatch.setattr(watching, "FILES", 500)
    monkeypatch.setattr(watching, "SPACE", 20 << 20)
    assert run(attack, FOUND).excess == excess


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
    attack = "for n in range(20): open(str(n), 'wb').write(bytes(2 << 20))\ntime.sleep(9)\n"
    assert run(attack, LANDLOCK if CONFINED else None).excess == "files"
    nested = "for n in range(30): os.mkdir('d' * 200); os.chdir('d' * 200)\n" + attack
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
