"""A folder in which nothing may be touched: whatever is imported or run there leaves its name."""

from pathlib import Path

MODULES = (
    "__future__", "_ssl", "asyncio", "ctypes", "dataclasses", "encodings", "hashlib",
    "json", "llama_cpp", "logging", "math_verify", "matplotlib", "numpy", "pathlib", "pip",
    "psutil", "resource", "signal", "sitecustomize", "sympy", "ttc_cli", "typer", "typing",
    "usercustomize", "venv",
)  # fmt: skip
PROGRAMS = (
    "bwrap", "env", "git", "llama-server", "nano", "nvidia-smi", "pip", "pip3", "python",
    "python3", "sh", "sysctl", "true", "uv", "vi",
)  # fmt: skip


def set_traps(folder: Path) -> Path:
    """Modules and programs in ``folder`` that leave their name in ``sprung`` beside it."""
    sprung = folder.with_name("sprung")
    sprung.mkdir()
    for name in MODULES:
        package = folder / name
        package.mkdir()
        trap = f"open({str(sprung / name)!r}, 'w').close()\n"
        package.joinpath("__init__.py").write_text(trap)
        package.joinpath("__main__.py").write_text(trap)
    for name in PROGRAMS:
        program = folder / name if name not in MODULES else folder / f"{name}.sh"
        program.write_text(f"#!/bin/sh\n: > {sprung / name}\n")
        program.chmod(0o755)
    return sprung
