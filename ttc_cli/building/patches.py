"""Fixes made to llama.cpp before it is compiled; ``fixes.h`` says why."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ttc_cli.paths import write_whole

_HEADER = Path(__file__).with_name("fixes.h")

# The common library is the servers' and half of the compile time.
_OVERRIDES = """\
set(LLAMA_BUILD_COMMON OFF)
set(include_fixes " -include \\"${CMAKE_CURRENT_LIST_DIR}/fixes.h\\"")
string(APPEND CMAKE_C_FLAGS "${include_fixes}")
string(APPEND CMAKE_CXX_FLAGS "${include_fixes}")
"""

# Lines of ggml's ``ops.cpp``, and what stands there afterwards.
_ROW = "const float mv = mp ? slope*GGML_CPU_FP16_TO_FP32(mp[ic]) : 0.0f;"
_TILE = "neq1 >= Q_TILE_SZ);"
_ATTENTION = {
    _ROW: f"""\
if (mp && (ic = ttc_next_unmasked(mp, ic, ic_end)) == ic_end) {{ break; }}
            {_ROW}""",
    _TILE: """\
neq1 >= Q_TILE_SZ
            && !(dst->src[3] && dst->src[3]->ne[2] == 1 && dst->src[3]->ne[3] == 1
                && ttc_is_sparse(dst->src[3]->data, dst->src[3]->nb[1], neq1, nek1)));""",
}

FIXES = hashlib.sha256(_HEADER.read_bytes() + f"{_OVERRIDES}{_ATTENTION}".encode()).hexdigest()[:10]
"""Changes whenever what is mended does."""


def write_fixes(folder: Path, *, without_metal: bool) -> Path:
    """Write ``fixes.h`` and the file that makes CMake include it; returns the latter.

    CMake reads it right after ``project()``: plain variables there win over upstream's forced
    cache entries (policy CMP0126).
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "fixes.h", _HEADER.read_bytes())
    overrides = folder / "overrides.cmake"
    write_whole(overrides, _OVERRIDES + ("set(GGML_METAL OFF)\n" if without_metal else ""))
    return overrides


def quicken_attention(source_tree: Path) -> bool:
    """Insert the calls into ggml's ``ops.cpp``, once. Returns whether they are there.

    A file that looks otherwise than the one this was written for stays as it is.
    """
    file = source_tree / "vendor/llama.cpp/ggml/src/ggml-cpu/ops.cpp"
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if "ttc_is_sparse" in source:
        return True
    if any(source.count(line) != 1 for line in _ATTENTION):
        return False
    for line, replacement in _ATTENTION.items():
        source = source.replace(line, replacement)
    write_whole(file, source)
    return True
