"""The door to llama.cpp where a GPU behind it cannot do what was asked: played, none is here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ttc_cli.engines.llamacpp import native
from ttc_cli.errors import MemoryShort, ModelCorrupt

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = "GGML_CUDA_DISABLE_GRAPHS"

CUDA_SHORT = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 7605.33 MiB on device 0: "
    "cudaMalloc failed: out of memory",
    "alloc_tensor_range: failed to allocate CUDA0 buffer of size 7974764544",
    "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
)


@pytest.fixture
def refuse(monkeypatch):
    """The library logs these lines and loads nothing."""

    def play(*lines):
        def load(path, params):
            for line in lines:
                native._log_callback(4, line.encode(), None)

        monkeypatch.setattr(native.lib, "llama_model_load_from_file", load)
        monkeypatch.setattr(native.lib, "llama_supports_gpu_offload", lambda: True)

    return play


@pytest.mark.parametrize("line", CUDA_SHORT)
def test_a_model_too_large_for_the_gpu_is_no_damaged_file(refuse, line):
    refuse(line)
    with pytest.raises(MemoryShort, match=r"large\.gguf does not fit the GPU") as caught:
        native.NativeModel(Path("large.gguf"))
    assert line in caught.value.message
    assert "--gpu-layers" in str(caught.value.hint)


def test_a_model_too_large_for_memory_is_not_told_to_leave_the_gpu(refuse):
    refuse("unable to allocate CPU buffer")
    with pytest.raises(MemoryShort, match="does not fit memory") as caught:
        native.NativeModel(Path("large.gguf"), gpu_layers=0)
    assert "--gpu-layers" not in str(caught.value.hint)


def test_another_refusal_is_the_files_fault(refuse):
    refuse("llama_model_load: error loading model: tensor 'output.weight' data is not in the file")
    with pytest.raises(ModelCorrupt, match=r"output\.weight"):
        native.NativeModel(Path("large.gguf"))


@pytest.mark.parametrize(
    ("given", "found"), [({}, "1"), ({GRAPHS: ""}, None), ({GRAPHS: "yes"}, "yes")]
)
def test_cuda_graphs_are_off_unless_the_variable_is_empty(given, found):
    kept = {name: value for name, value in os.environ.items() if name != GRAPHS}
    told = subprocess.run(
        [sys.executable, "-c",
         "import os; from ttc_cli.engines.llamacpp import native; native.start();"
         f"print(os.environ.get({GRAPHS!r}))"],
        env={**kept, **given, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert told.stdout.strip() == str(found)
