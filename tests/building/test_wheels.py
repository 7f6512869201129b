"""Wheels that are kept, and the order that speeds measured here put profiles into."""

from __future__ import annotations

from pathlib import Path

from ttc_cli.building.compilers import Compiler
from ttc_cli.building.profiles import Profile
from ttc_cli.building.wheels import keep_speed, mark_crashed, prefer_measured, read_speed

SPEED = "{}: 20 tokens/s alone, {} at 16 candidates, reads 100/s (2 threads)"
BUSY = ", while other programs compute"


def profiles(*names: str, accelerator: str = "cpu") -> list[Profile]:
    return [
        Profile(accelerator, "native", Compiler(name, name), "", name, f"{name} {accelerator}")
        for name in names
    ]


def measure(wheels: Path, profile: Profile, tokens: int, model: str = "m", more: str = "") -> None:
    (wheels / profile.key).mkdir(parents=True, exist_ok=True)
    keep_speed(wheels / profile.key, SPEED.format(model, tokens) + more)


def test_those_that_were_measured_change_places_among_themselves(tmp_path: Path) -> None:
    a, b, c, d = plan = profiles("a", "b", "c", "d")
    assert prefer_measured(plan, tmp_path) == plan
    measure(tmp_path, a, 80)
    assert prefer_measured(plan, tmp_path) == plan  # one says nothing of the others
    measure(tmp_path, d, 90)
    assert prefer_measured(plan, tmp_path) == [d, b, c, a]
    measure(tmp_path, b, 90)
    assert prefer_measured(plan, tmp_path) == [b, d, c, a]  # alike: as planned


def test_only_measurements_alike_are_compared(tmp_path: Path) -> None:
    a, b, c = plan = profiles("a", "b", "c")
    [gpu] = profiles("a", accelerator="cuda")
    measure(tmp_path, a, 80)
    measure(tmp_path, b, 900, model="tiny")
    measure(tmp_path, c, 900, more=BUSY)
    measure(tmp_path, gpu, 900)
    assert prefer_measured([*plan, gpu], tmp_path) == [*plan, gpu]


def test_a_quiet_measurement_is_not_replaced_by_a_busy_one(tmp_path: Path) -> None:
    [a] = profiles("a")
    measure(tmp_path, a, 5, more=BUSY)
    assert read_speed(tmp_path / a.key) is None
    measure(tmp_path, a, 90)
    measure(tmp_path, a, 5, more=BUSY)
    assert read_speed(tmp_path / a.key) == (90, "m")
    measure(tmp_path, a, 91)
    assert read_speed(tmp_path / a.key) == (91, "m")


def test_what_crashed_is_forgotten_but_for_that(tmp_path: Path) -> None:
    [a] = profiles("a")
    measure(tmp_path, a, 90)
    mark_crashed(tmp_path / a.key)
    assert [file.name for file in (tmp_path / a.key).iterdir()] == ["crashed"]
    keep_speed(tmp_path / "nowhere", "nothing")
    assert not (tmp_path / "nowhere").exists()
