"""Files of lines: whole ones stay, a torn one goes, and one process at a time appends."""

from pathlib import Path

import pytest

from ttc_cli.appending import LineFile
from ttc_cli.errors import UsageError

BUSY = UsageError("somebody else")


def test_a_later_process_goes_on_where_the_last_whole_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with LineFile(path, BUSY) as file:
        assert (file.lines, file.torn) == (b"", b"")
        file.append(b"one\n")
    path.write_bytes(path.read_bytes() + b"tw")
    with LineFile(path, BUSY) as file:
        assert (file.lines, file.torn) == (b"one\n", b"tw")
        assert path.read_bytes() == b"one\ntw"  # opening changes nothing
        file.cut()
        file.append(b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


def test_a_second_one_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    with LineFile(tmp_path / "lines", BUSY), pytest.raises(UsageError, match="somebody else"):
        LineFile(tmp_path / "lines", BUSY)
    LineFile(tmp_path / "lines", BUSY).__exit__()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        LineFile(tmp_path / "lines", BUSY)
    assert not (tmp_path / "elsewhere").exists()
