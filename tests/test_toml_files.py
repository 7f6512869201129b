"""Changing one place in a settings file: what is wanted is there, all else is as it was."""

import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.errors import UsageError
from ttc_cli.toml_files import change

FILE = """\
# mine
model = 'small'   # a # in a comment
threads = 2

# what I use for maths
[presets.maths]
budget = "deep"
verifier = [
    "judge",
]

# and for code
[presets.code]
check = "python3 {file}"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    return path


def refuse(text):
    pytest.fail(text)


def test_a_value_is_replaced_and_its_comment_stays(file):
    change(file, ("model",), "a # b", refuse)
    assert file.read_text() == FILE.replace("'small'", '"a # b"')


def test_a_new_value_stands_before_the_tables(file):
    change(file, ("budget",), "deep", refuse)
    assert file.read_text() == FILE.replace("threads = 2\n", 'threads = 2\nbudget = "deep"\n')


def test_a_value_is_taken_out(file):
    change(file, ("threads",), None, refuse)
    assert file.read_text() == FILE.replace("threads = 2\n", "")


def test_a_table_is_replaced_and_the_comments_around_it_stay(file):
    change(file, ("presets", "maths"), {"samples": 4}, refuse)
    before, rest = FILE.split('budget = "deep"')
    assert file.read_text() == before + "samples = 4" + rest.partition("]")[2]


def test_a_table_is_added_and_taken_out_again(file):
    change(file, ("presets", "words"), {"budget": "quick"}, refuse)
    assert file.read_text() == FILE + '\n[presets.words]\nbudget = "quick"\n'
    change(file, ("presets", "words"), None, refuse)
    assert file.read_text().rstrip() == FILE.rstrip()


def test_a_file_and_its_folder_are_made(tmp_path):
    path = tmp_path / "deep" / "config.toml"
    change(path, ("threads",), 3, refuse)
    assert path.read_text() == "threads = 3\n"


def test_what_cannot_be_changed_in_its_lines_is_written_anew_with_a_copy(file):
    said = []
    file.write_text('presets = { maths = { budget = "deep" } }  # inline\nthreads = 2\n')
    before = file.read_text()
    change(file, ("presets", "maths"), {"budget": "quick"}, said.append)
    wanted = {"threads": 2, "presets": {"maths": {"budget": "quick"}}}
    assert tomllib.loads(file.read_text()) == wanted
    copy = file.with_name("config.toml.bak")
    assert copy.read_text() == before
    assert str(copy) in said[0]


def test_a_key_that_only_looks_like_one_is_left_alone(file):
    file.write_text('system = """\nthreads = 9\n"""\nthreads = 2\n')
    change(file, ("threads",), 4, lambda text: None)
    found = tomllib.loads(file.read_text())
    assert found == {"system": "threads = 9\n", "threads": 4}


def test_line_ends_rights_and_links_stay(tmp_path):
    real, link = tmp_path / "dotfiles.toml", tmp_path / "config.toml"
    real.write_bytes(b"threads = 2\r\n# end\r\n")
    real.chmod(0o600)
    link.symlink_to(real)
    change(link, ("budget",), "deep", refuse)
    assert link.is_symlink()
    assert real.read_bytes() == b'threads = 2\r\nbudget = "deep"\n# end\r\n'
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "dotfiles.toml"]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085"])
def test_a_comment_ends_with_its_line_alone(file, sign):
    file.write_text(f"# as{sign}threads = 1\nthreads = 2\n", encoding="utf-8")
    change(file, ("threads",), 4, refuse)
    assert file.read_text(encoding="utf-8") == f"# as{sign}threads = 1\nthreads = 4\n"


def test_a_file_that_is_marked_as_utf16_is_changed_and_is_utf8_then(file):
    file.write_text("# größer\nthreads = 2\n", encoding="utf-16")
    change(file, ("threads",), 4, refuse)
    assert file.read_bytes() == "# größer\nthreads = 4\n".encode()


@pytest.mark.parametrize("target", ["there.toml", "missing.toml"])
def test_a_link_that_came_with_a_project_is_not_followed(tmp_path, target):
    (tmp_path / "there.toml").write_text("a = 1\n")
    (tmp_path / "ttc.toml").symlink_to(tmp_path / target)
    with pytest.raises(UsageError, match="is a link to"):
        change(tmp_path / "ttc.toml", ("threads",), 4, refuse, follow=False)
    assert (tmp_path / "there.toml").read_text() == "a = 1\n"
    assert not (tmp_path / "missing.toml").exists()


def test_what_is_no_toml_is_left_as_it_is(file):
    file.write_text("model = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        change(file, ("threads",), 4, refuse)
    assert file.read_text() == "model = "


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(file):
    file.parent.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="Cannot write"):
            change(file, ("threads",), 4, refuse)
    finally:
        file.parent.chmod(0o700)
    assert file.read_text() == FILE


LINES = st.sampled_from(
    [
        "a = 1",
        "  b = 'x' # c",
        "'a' = 2",
        "c = [\n 1, # one\n 2,\n]",
        'c = """\na = 3\n[t.x]\n"""',
        "# comment",
        "",
        "[t]",
        "[t.x]",
        "[t.y] # y",
        "[[u]]",
        "t.x.a = 1",
    ]
)
VALUES = st.one_of(st.none(), st.integers(0, 9), st.text(max_size=4))


@given(st.lists(LINES, max_size=8), st.sampled_from(["a", "b", "c", "d"]), VALUES, st.booleans())
def test_whatever_the_file_the_change_is_made_and_nothing_else(
    tmp_path_factory, lines, key, value, table
):
    text = "\n".join(lines)
    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    path = tmp_path_factory.mktemp("any") / "config.toml"
    path.write_text(text)
    if table:
        inner = wanted.get("t", {})
        if not isinstance(inner.get("x", {}), dict):
            return
        content = None if value is None else {"k": value}
        change(path, ("t", "x"), content, lambda text: None)
        inner.pop("x", None)
        wanted["t"] = inner | ({} if content is None else {"x": content})
        if not wanted["t"]:
            del wanted["t"]
    else:
        change(path, (key,), value, lambda text: None)
        wanted.pop(key, None)
        wanted |= {} if value is None else {key: value}
    assert tomllib.loads(path.read_text()) == wanted
