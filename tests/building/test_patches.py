"""What is mended in llama.cpp: the header, compiled and run, and the lines that call it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ttc_cli.building.patches import quicken_attention, write_fixes


@pytest.fixture
def header(tmp_path: Path) -> Path:
    """The header that every file of llama.cpp is compiled with."""
    write_fixes(tmp_path, without_metal=False)
    return tmp_path / "fixes.h"


def _gcc_major() -> int:
    gcc = shutil.which("g++")
    if gcc is None:
        return 0
    version = subprocess.run([gcc, "-dumpversion"], capture_output=True, text=True).stdout
    return int(version.split(".")[0] or 0)


@pytest.mark.slow
@pytest.mark.skipif(
    not 11 <= _gcc_major() < 13 or os.uname().machine != "x86_64", reason="needs an old gcc"
)
def test_the_amx_cure_keeps_the_whole_tile_configuration(tmp_path: Path, header: Path) -> None:
    source = tmp_path / "tile.cpp"
    source.write_text(
        "#include <immintrin.h>\n"
        "struct Config { unsigned char palette, start, reserved[14];\n"
        "                unsigned short columns[16]; unsigned char rows[16]; };\n"
        "void configure(int rows) { Config config = {}; config.palette = 1;\n"
        "  for (int i = 0; i < 8; i++) { config.columns[i] = 64; config.rows[i] = rows; }\n"
        "  _tile_loadconfig(&config); }\n"
    )

    def stores(*flags: str) -> int:
        done = subprocess.run(
            ["g++", "-O3", "-mamx-tile", *flags, "-S", str(source), "-o", "-"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "ldtilecfg" in done.stdout
        return len(re.findall(r"\(%rsp\)", done.stdout))

    assert stores("-include", str(header)) > stores() + 3


def run_program(source: Path, header: Path) -> int:
    """The exit status of a C++ program that is compiled with the header."""
    program = source.with_suffix("")
    subprocess.run(["g++", "-O2", "-include", header, source, "-o", program], check=True)
    return subprocess.run([program]).returncode


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
def test_masked_cells_are_skipped_to_the_next_unmasked_one(tmp_path: Path, header: Path) -> None:
    source = tmp_path / "masks.cpp"
    source.write_text(
        "#include <cstdlib>\n"
        "int main() {\n"
        "  uint16_t mask[200]; const uint16_t kinds[] = {0, 0xFC00, 0x7C00, 0xFC01, 0x8000};\n"
        "  for (int round = 0; round < 20000; round++) {\n"
        "    int size = rand() % 200, sparse = 1 + rand() % 60;\n"
        "    for (auto &m : mask) m = rand() % sparse ? 0xFC00 : kinds[rand() % 5];\n"
        "    int64_t start = size ? rand() % size : 0, expected = start;\n"
        "    while (expected < size && mask[expected] == 0xFC00) expected++;\n"
        "    if (ttc_next_unmasked(mask, start, size) != expected) return 1;\n"
        "  }\n"
        "}\n"
    )
    assert run_program(source, header) == 0


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
@pytest.mark.parametrize(
    ("branches", "tokens", "sparse"),
    [(1, 96, False), (2, 48, False), (16, 28, True), (32, 5, True)],
)
def test_candidates_read_together_make_a_sparse_mask(
    tmp_path: Path, header: Path, branches: int, tokens: int, sparse: bool
) -> None:
    """Cells of a shared prompt, then of all candidates by turns, as they were grown."""
    source = tmp_path / "masks.cpp"
    source.write_text(
        "#include <vector>\n"
        f"int main() {{ const int branches = {branches}, tokens = {tokens};\n"
        "  const int rows = branches * tokens, cells = 100 + branches * 300;\n"
        "  std::vector<uint16_t> mask(rows * cells, 0xFC00);\n"
        "  for (int row = 0; row < rows; row++)\n"
        "    for (int cell = 0; cell < cells; cell++)\n"
        "      if (cell < 100 || (cell - 100) % branches == row / tokens)\n"
        "        mask[row * cells + cell] = 0;\n"
        "  return ttc_is_sparse(mask.data(), cells * 2, rows, cells) ? 10 : 20; }\n"
    )
    assert run_program(source, header) == (10 if sparse else 20)


ATTENTION = """\
        for (int64_t ic = ic_start; ic < ic_end; ++ic) {
            const float mv = mp ? slope*GGML_CPU_FP16_TO_FP32(mp[ic]) : 0.0f;
            if (mv == -INFINITY) {
        bool use_tiled = !use_ref &&
                                neq1 >= Q_TILE_SZ);
        int current_chunk = ith;
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where attention is computed, in a source tree."""
    file = tmp_path / "vendor/llama.cpp/ggml/src/ggml-cpu/ops.cpp"
    file.parent.mkdir(parents=True)
    file.write_text(ATTENTION)
    return file


def test_attention_learns_to_skip_once(tmp_path: Path, source: Path) -> None:
    assert quicken_attention(tmp_path)
    first = source.read_text()
    added = [line.strip() for line in first.splitlines() if line not in ATTENTION.splitlines()]
    assert added == [
        "if (mp && (ic = ttc_next_unmasked(mp, ic, ic_end)) == ic_end) { break; }",
        "neq1 >= Q_TILE_SZ",
        "&& !(dst->src[3] && dst->src[3]->ne[2] == 1 && dst->src[3]->ne[3] == 1",
        "&& ttc_is_sparse(dst->src[3]->data, dst->src[3]->nb[1], neq1, nek1)));",
    ]
    assert first.index("ttc_next_unmasked") < first.index("const float mv")
    assert quicken_attention(tmp_path)
    assert source.read_text() == first


@pytest.mark.parametrize(
    "other", [ATTENTION.replace("mv", "mask"), ATTENTION.replace(">=", ">"), ATTENTION * 2]
)
def test_a_source_that_looks_otherwise_is_left_alone(
    tmp_path: Path, source: Path, other: str
) -> None:
    source.write_text(other)
    assert not quicken_attention(tmp_path)
    assert source.read_text() == other


def test_a_source_without_attention_is_left_alone(tmp_path: Path) -> None:
    assert not quicken_attention(tmp_path)
