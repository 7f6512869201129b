"""The user's check, with real child processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.types import Answer, AnswerType, Budget, Candidate, Finish, Problem, Score
from ttc_cli.verifiers.base import Leaf, VerifierContext
from ttc_cli.verifiers.checking.command import (
    REMARK,
    CommandVerifier,
    pick_content,
    read_command,
)
from ttc_cli.verifiers.checking.sandbox import OUTPUT, Checked, find_sandbox, run_check
from ttc_cli.verifiers.registry import build

pytestmark = pytest.mark.slow

PYTHON = sys.executable
OURS = os.getpid()
"""Tells the processes of these tests from those of others that run beside them."""
SANDBOXES = [None] + ([path] if (path := find_sandbox()) else [])


@pytest.fixture(params=SANDBOXES, ids=lambda each: "bubblewrap" if each else "bare")
def sandbox(request):
    return request.param


def candidate(id: int, text: str, answer: str | None = None) -> Candidate:
    stated = None if answer is None else Answer(answer, answer, AnswerType.TEXT)
    return Candidate(id, text, 1, Finish.STOP, stated)


def check(
    script: Path, data: bytes = b"4\n", *, seconds: float = 10.0, sandbox: str | None = None
) -> Checked:
    command = read_command(f"{PYTHON} {script} {{file}}")
    return asyncio.run(run_check(command, data, ".txt", seconds=seconds, sandbox=sandbox))


def write(folder: Path, text: str, name: str = "check.py") -> Path:
    script = folder / name
    script.write_text(text, encoding="utf-8")
    return script


def list_children() -> set[psutil.Process]:
    """Living children of this process; a test session may have some of its own."""
    mine = psutil.Process(os.getpid()).children(recursive=True)
    return {each for each in mine if each.status() != psutil.STATUS_ZOMBIE}


def score(verifier: CommandVerifier, candidates: list[Candidate], budget: Budget | None = None):
    async def work():
        async with await ScriptedEngine().open((Span("?"),), Ledger(budget or Budget())) as session:
            leaves = [Leaf(each, None) for each in candidates]
            found = await verifier.score(session, Problem("?"), leaves)
            await verifier.leave(session)
            return found

    return asyncio.run(work())


# -- what is checked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer", "content"),
    [
        ("So it is \\boxed{4}.", "4", ("4\n", ".txt")),
        ("A poem.", None, ("A poem.\n", ".txt")),
        ("```python\nprint(1)\n```\ntry\n```py\nprint(2)\n```\n", "2", ("print(2)\n", ".py")),
        ("```rust\nfn main() {}\n", None, ("fn main() {}\n", ".rs")),
        ("~~~\na\n```\nb\n~~~", None, ("a\n```\nb\n", ".txt")),
        ("```go\nfunc f() {}\n```\nOutput:\n```\n3\n```", None, ("func f() {}\n", ".go")),
        ("  ```py\n  x = 1\n  ```\n```text\n3\n```", None, ("x = 1\n", ".py")),
        ("```output\n3\n```", None, ("3\n", ".txt")),
        ("```../../etc/passwd\nx\n```", None, ("x\n", ".txt")),
    ],
)
def test_the_last_code_block_is_checked_else_the_answer(text, answer, content) -> None:
    assert pick_content(candidate(0, text, answer)) == content


def test_the_file_of_a_program_ends_as_its_block_says() -> None:
    text = "```rust\nfn f() {}\n```\nIt prints\n```json\n{}\n```"
    stated = Answer("fn f() {}", "key", AnswerType.CODE)
    given = replace(candidate(0, text, None), answer=stated)
    assert pick_content(given) == ("fn f() {}\n", ".rs")
    stated = Answer("{}", "{}", AnswerType.JSON)
    assert pick_content(replace(given, answer=stated)) == ("{}\n", ".json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("python3 'x {file}", "cannot be split"),
        ("true", "no {file}"),
        ("{file}", "no {file}"),
        ("no-such-program-at-all {file}", "no program"),
        ("/dev/null {file}", "no program"),
    ],
)
def test_a_command_that_cannot_check_is_refused(text, told) -> None:
    with pytest.raises(UsageError, match=told):
        read_command(text)


def test_scripts_of_the_users_folder_are_found_from_the_checks_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "")
    (tmp_path / "word").write_text("")
    command = read_command("python3 check.py word --mode=x {file.py}")
    assert command.words[1:] == (str(tmp_path / "check.py"), "word", "--mode=x", "{file.py}")
    assert command.suffix == ".py"
    assert command.fill(Path("/x/y.py"))[-1] == "/x/y.py"


# -- how it runs ----------------------------------------------------------------------------------


def test_the_exit_status_is_the_reward(tmp_path, sandbox) -> None:
    script = write(tmp_path, "import sys\nsys.exit(open(sys.argv[1]).read().strip() != '4')\n")
    verifier = CommandVerifier(read_command(f"{PYTHON} {script} {{file}}"), sandbox=sandbox)
    found = score(verifier, [candidate(0, "", "4"), candidate(1, "", "5")])
    said = "It ended with exit status 1. It printed nothing."
    assert found == [Score("check", 1.0), Score("check", 0.0, remark=said)]


def remark(script: Path, *, seconds: float = 10.0, sandbox: str | None = None) -> str:
    command = read_command(f"{PYTHON} {script} {{file.py}}")
    verifier = CommandVerifier(command, seconds=seconds, sandbox=sandbox)
    (found,) = score(verifier, [candidate(0, "", "4")])
    assert found is not None
    return found.remark


def test_one_that_failed_is_told_what_the_check_printed(tmp_path, sandbox) -> None:
    script = write(
        tmp_path,
        "import os, runpy, sys\n"
        "print('in', os.getcwd())\n"
        "print('\\x1b[31mred\\x1b[0m' + chr(0x202e) + chr(7))\n"
        "raise ValueError(sys.argv[1])\n",
    )
    said = remark(script, sandbox=sandbox)
    first, _, printed = said.partition("\n\n")
    assert first == "It ended with exit status 1. It printed:"
    assert printed.startswith("in\nred\n") or printed.startswith("in \nred\n")
    assert printed.endswith("ValueError: candidate.py")
    assert "ttc-" not in said
    assert not any(each in said for each in "\x1b\x07\u202e")


def test_how_a_check_was_ended_is_said_in_words(tmp_path, sandbox) -> None:
    slow = write(tmp_path, "import time\nprint('so far', flush=True)\ntime.sleep(60)\n", "slow.py")
    said = remark(slow, seconds=1.0, sandbox=sandbox)
    assert said == "It took longer than 1 s and was stopped. It printed:\n\nso far"
    crash = write(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "crash.py")
    said = remark(crash, sandbox=sandbox)
    assert said == "It ended with the signal SIGSEGV. It printed nothing."
    odd = write(tmp_path, "import os\nos._exit(255)\n", "odd.py")
    assert remark(odd, sandbox=sandbox) == "It ended with exit status 255. It printed nothing."


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_model_on_another_machine_is_not_told_what_a_check_printed(tmp_path, elsewhere) -> None:
    """A program that it wrote may read files and print them."""
    script = write(tmp_path, "print('a secret')\nraise SystemExit(1)\n")
    engine = ScriptedEngine()
    object.__setattr__(engine.info, "elsewhere", elsewhere)
    context = VerifierContext(Chat(engine.info), engine=engine)
    (verifier,) = build([f"check={PYTHON} {script} {{file}}"], context)
    (found,) = score(verifier, [candidate(0, "", "4")])
    assert found.value == 0.0
    assert ("a secret" in found.remark, found.remark == "") == (not elsewhere, elsewhere)


def test_of_much_output_the_end_is_told(tmp_path) -> None:
    script = write(tmp_path, "for i in range(9000): print('line', i)\nraise SystemExit(1)\n")
    said = remark(script)
    assert len(said) < REMARK + 80
    assert "\n\n…\nline 8" in said
    assert said.endswith("line 8999")
    wide = write(tmp_path, "print('x' * 5000 + '!')\nraise SystemExit(1)\n", "wide.py")
    assert remark(wide).endswith("x" * (REMARK - 1) + "!")


def test_model_text_reaches_neither_arguments_nor_names_nor_a_shell(tmp_path, sandbox) -> None:
    hostile = (
        f"$(touch {tmp_path}/pwned); `touch {tmp_path}/pwned`\n{{file}} --help ../../x\0\ud800"
    )
    script = write(
        tmp_path,
        "import os, sys\n"
        "print(sys.argv[1:], os.listdir('.'))\n"
        "sys.exit(open(sys.argv[1], 'rb').read() != open(sys.argv[2], 'rb').read())\n",
    )
    wanted = tmp_path / "wanted.txt"
    data = hostile.encode("utf-8", "surrogatepass") + b"\n"
    wanted.write_bytes(data)
    command = read_command(f"{PYTHON} {script} {{file}} {wanted}")
    ran = asyncio.run(run_check(command, data, ".txt", seconds=10, sandbox=sandbox))
    assert ran.passed, ran.output
    assert "pwned" not in ran.output
    assert "candidate.txt']" in ran.output
    assert not (tmp_path / "pwned").exists()
    verifier = CommandVerifier(command, sandbox=sandbox)
    assert score(verifier, [candidate(0, hostile)]) == [Score("check", 1.0)]


def test_it_runs_alone_poor_and_last(tmp_path, monkeypatch, sandbox) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "hush")
    script = write(
        tmp_path,
        "import os, sys\n"
        "print(os.getcwd() == os.environ['HOME'] == os.path.dirname(sys.argv[1]))\n"
        "print(os.nice(0), 'SECRET_API_KEY' in os.environ, sys.stdin.read() == '')\n"
        "open('scratch', 'w').write('x')\n",
    )
    ran = check(script, sandbox=sandbox)
    assert (ran.code, ran.output.split()) == (0, ["True", "19", "False", "True"])


def test_what_takes_too_long_is_killed_with_its_children(tmp_path, sandbox) -> None:
    script = write(
        tmp_path,
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61.{OURS})'])\n"
        f"time.sleep(61.{OURS})\n",
    )
    started = time.monotonic()
    ran = check(script, seconds=1.0, sandbox=sandbox)
    assert (ran.code, ran.passed) == (None, False)
    assert time.monotonic() - started < 10
    assert not _living(f"61.{OURS}")


def test_children_left_behind_are_killed_and_do_not_hold_it_up(tmp_path, sandbox) -> None:
    script = write(
        tmp_path,
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(62.{OURS})'])\n"
        "print('done')\n",
    )
    started = time.monotonic()
    ran = check(script, seconds=30.0, sandbox=sandbox)
    assert (ran.code, ran.output) == (0, "done\n")
    assert time.monotonic() - started < 15
    assert not _living(f"62.{OURS}")


def _living(mark: str) -> bool:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        found = [
            each
            for each in psutil.process_iter(["cmdline", "status"])
            if each.info["cmdline"]
            and any(f"time.sleep({mark})" in word for word in each.info["cmdline"])
            and each.info["status"] != psutil.STATUS_ZOMBIE
        ]
        if not found:
            return False
        time.sleep(0.05)
    return True


def test_much_output_is_read_and_only_its_end_kept(tmp_path, sandbox) -> None:
    script = write(
        tmp_path, "for i in range(200000): print('x' * 50)\nprint('the end', flush=True)\n"
    )
    ran = check(script, seconds=60.0, sandbox=sandbox)
    assert ran.code == 0
    assert len(ran.output) == OUTPUT
    assert ran.output.endswith("the end\n")


def test_a_check_that_closes_its_output_is_waited_for(tmp_path) -> None:
    script = write(
        tmp_path, "import os, sys, time\nos.close(1)\nos.close(2)\ntime.sleep(.3)\nos._exit(3)\n"
    )
    assert check(script).code == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux keeps them")
def test_memory_and_files_are_limited(tmp_path) -> None:
    greedy = write(tmp_path, "x = bytearray(6 << 30)\n")
    assert "MemoryError" in check(greedy).output
    full = write(tmp_path, "open('big', 'wb').truncate(1 << 30)\n", "full.py")
    assert not check(full).passed


def test_killed_by_a_signal_is_not_passed(tmp_path) -> None:
    script = write(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert check(script).code == -11


@pytest.mark.skipif(len(SANDBOXES) < 2, reason="bubblewrap is not installed, or cannot work here")
def test_the_sandbox_has_no_network_and_writes_nowhere_else(tmp_path) -> None:
    script = write(
        tmp_path,
        "import os, socket\n"
        "try: open(os.path.join(os.path.dirname(__file__), 'mark'), 'w')\n"
        "except OSError as e: print('read-only')\n"
        "try: socket.create_connection(('127.0.0.1', 1), 1)\n"
        "except OSError as e: print(e.errno)\n"
        "print(sorted(os.listdir('/sys/class/net')) if os.path.exists('/sys/class/net') else [])\n"
        "print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 5)\n",
    )
    ran = check(script, sandbox=find_sandbox())
    assert ran.output.splitlines()[0] == "read-only"
    assert ran.output.splitlines()[-1] == "True"
    assert not (tmp_path / "mark").exists()


# -- how it counts --------------------------------------------------------------------------------


def test_equal_candidates_are_checked_once(tmp_path) -> None:
    log = tmp_path / "log"
    script = write(tmp_path, f"open({str(log)!r}, 'a').write('x')\n")
    verifier = CommandVerifier(read_command(f"{PYTHON} {script} {{file}}"), sandbox=None)
    found = score(verifier, [candidate(i, "", str(i % 2)) for i in range(6)])
    assert found == [Score("check", 1.0)] * 6
    assert log.read_text() == "xx"


def test_no_more_run_at_once_than_allowed(tmp_path) -> None:
    script = write(
        tmp_path,
        "import glob, os, sys, time\n"
        f"mark = os.path.join({str(tmp_path)!r}, f'run-{{os.getpid()}}')\n"
        "open(mark, 'w').close()\n"
        f"crowd = len(glob.glob(os.path.join({str(tmp_path)!r}, 'run-*')))\n"
        "time.sleep(.2)\n"
        "os.remove(mark)\n"
        "sys.exit(crowd > 2)\n",
    )
    command = read_command(f"{PYTHON} {script} {{file}}")
    verifier = CommandVerifier(command, sandbox=None, parallel=2)
    found = score(verifier, [candidate(i, "", str(i)) for i in range(6)])
    assert found == [Score("check", 1.0)] * 6


def test_the_runs_own_time_cap_holds_and_leaves_no_score(tmp_path) -> None:
    script = write(tmp_path, "import time; time.sleep(60)\n")
    verifier = CommandVerifier(read_command(f"{PYTHON} {script} {{file}}"), sandbox=None)
    started = time.monotonic()
    found = score(verifier, [candidate(i, "", str(i)) for i in range(3)], Budget(max_seconds=0.5))
    assert found == [None, None, None]
    assert time.monotonic() - started < 5


def test_whoever_ends_the_run_ends_its_checks(tmp_path) -> None:
    before = list_children()
    script = write(tmp_path, "import time; time.sleep(60)\n")
    stopped = threading.Event()
    verifier = CommandVerifier(
        read_command(f"{PYTHON} {script} {{file}}"), sandbox=None, stopped=stopped
    )
    threading.Timer(0.5, stopped.set).start()
    started = time.monotonic()
    found = score(verifier, [candidate(i, "", str(i)) for i in range(3)])
    assert found == [None, None, None]
    assert time.monotonic() - started < 5
    assert list_children() <= before


def test_a_cancelled_run_leaves_no_process(tmp_path) -> None:
    before = list_children()
    script = write(tmp_path, "import time\ntime.sleep(63.5)\n")
    command = read_command(f"{PYTHON} {script} {{file}}")

    async def work() -> None:
        running = asyncio.create_task(run_check(command, b"", ".txt", seconds=60, sandbox=None))
        await asyncio.sleep(0.5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(work())
    assert list_children() <= before


def test_a_program_that_is_gone_is_told_of(tmp_path) -> None:
    program = tmp_path / "prog"
    shutil.copy(shutil.which("true"), program)
    command = read_command(f"{program} {{file}}")
    program.unlink()
    with pytest.raises(UsageError, match="could not be started"):
        score(CommandVerifier(command, sandbox=None), [candidate(0, "", "4")])
