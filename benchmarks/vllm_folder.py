#!/usr/bin/env python3
"""Unpacks a GGUF file into a folder of weights and a tokenizer, as vLLM loads a model.

    build/vllm/bin/python benchmarks/vllm_folder.py M.gguf FOLDER --dtype bfloat16

It runs in the environment of ``build_vllm.sh``. The weights are those of the GGUF, rounded as it
rounds them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast


def main() -> None:
    """Unpack what the command line names."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", type=Path, help="a GGUF file")
    options.add_argument("folder", type=Path, help="where the folder is made")
    options.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    given = options.parse_args()
    # Of any model's class for tokenizers, which would split the text by rules of its own.
    source = {"gguf_file": given.model.name, "local_files_only": True}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(given.model.parent), **source)
    tokenizer.save_pretrained(given.folder)
    model = AutoModelForCausalLM.from_pretrained(
        str(given.model.parent),
        **source,
        dtype=getattr(torch, given.dtype),
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(given.folder)


if __name__ == "__main__":
    main()
