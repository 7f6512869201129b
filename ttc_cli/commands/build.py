"""``ttc build``: what ``install.sh`` does to llama.cpp, for a ttc installed as a package."""

from __future__ import annotations

from typing import Annotated

import typer

from ttc_cli.building.installing import Installation, Options
from ttc_cli.building.profiles import ACCELERATORS
from ttc_cli.commands._help import show_examples
from ttc_cli.errors import UsageError

app = typer.Typer()

EPILOG = show_examples(
    "ttc build --dry-run",
    "ttc build --compiler zig --dry-run",
    "ttc build --prebuilt --dry-run",
    more="Compiles for exactly this processor or GPU, tests the build with a real decode, and "
    "falls back to a safer one if it crashes. CMAKE_ARGS, CFLAGS and CXXFLAGS are honoured. "
    "Building again takes "
    "seconds.",
)


@app.command(epilog=EPILOG)
def build(
    accelerator: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, cuda, metal, vulkan, rocm, sycl or auto.")
    ] = "auto",
    compiler: Annotated[
        str, typer.Option(metavar="NAME", help="clang, zig, gcc, a C compiler's path, or auto.")
    ] = "auto",
    prebuilt: Annotated[
        bool, typer.Option("--prebuilt", help="Install upstream's generic binary.")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Forget earlier builds and their crashes, and build again."),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Compile N files at once.")
    ] = None,
    no_models: Annotated[
        bool, typer.Option("--no-models", help="Fetch no model; the build is then not tested.")
    ] = False,
    no_tune: Annotated[
        bool, typer.Option("--no-tune", help="Keep the model's published file, faster or not.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
) -> None:
    """Compile llama.cpp for this machine, test it, and install it."""
    if accelerator not in ("auto", *ACCELERATORS):
        raise UsageError(
            f"There is no accelerator {accelerator}.", f"choose auto or {', '.join(ACCELERATORS)}"
        )
    options = Options(
        accelerator,
        compiler,
        prebuilt,
        rebuild,
        jobs,
        models=not no_models,
        tune=not no_tune,
        dry_run=dry_run,
    )
    Installation(options).run()
