"""The pages that describe the command line agree with it."""

import re
from pathlib import Path

from cli_page import PAGE, make_page

from ttc_cli.main import EXIT_CODES

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_help_prints():
    assert PAGE.read_text(encoding="utf-8") == make_page(), "python tests/commands/cli_page.py"


def test_every_command_has_its_section():
    page = make_page()
    for command in ("ttc", "ttc solve", "ttc models", "ttc models pull", "ttc doctor"):
        assert f"\n## {command}\n" in page


def test_the_readme_names_every_exit_code():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for code in re.findall(r"^  (\d)\b", EXIT_CODES, re.MULTILINE):
        assert re.search(rf"^\| {code} \|", readme, re.MULTILINE), code


def test_the_files_that_the_readme_links_to_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (ROOT / target).exists(), target


def test_the_flags_that_the_readme_names_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"`(ttc [^`]*)`|^ttc (.+)$", readme, re.MULTILINE):
        for flag in re.findall(r"(?<=\s)--[a-z-]+", " ".join(block)):
            assert flag in make_page(), flag


def test_the_tests_that_the_reliability_page_names_exist():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line.rsplit("|", 2)[1] for line in page.splitlines() if line.startswith("| ")][1:]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert len(named) > 5
    for name in named:
        assert (ROOT / "tests" / name).exists(), name
