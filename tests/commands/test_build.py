"""``ttc build``: its flags reach the plan, and what is wrong is said as for every command."""

import pytest

from ttc_cli.main import main


def test_the_plan_is_for_what_the_flags_say(bare_home, capsys):
    assert (
        main(["build", "--dry-run", "--compiler", "zig", "--accelerator", "cpu", "--jobs", "3"])
        == 0
    )
    said = capsys.readouterr().out
    assert "jobs         3" in said
    assert "zig 0.17, native instructions\n" in said
    assert "gcc" not in said
    assert (
        main(["build", "--dry-run", "--compiler", "zig", "--prebuilt", "--accelerator", "cpu"]) == 0
    )
    said = capsys.readouterr().out
    assert said.index("upstream's prebuilt library (cpu)") < said.index("zig 0.17, native")


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--accelerator", "tpu"], 2, "choose auto or cpu, cuda, metal"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--compiler", "no-such-cc", "--dry-run"], 1, "no-such-cc does not compile C++ here"),
    ],
)
def test_what_is_wrong_is_said(bare_home, capsys, flags, code, said):
    assert main(["build", *flags]) == code
    assert said in capsys.readouterr().err
