"""What the compiled llama.cpp (0.5.0) knows, and what would make it end the process.

It knows architectures and tensor types; these are plain tables. Some hyperparameters it checks
with an assertion, and a failed assertion is an abort that no caller can catch. ``find_fatal``
checks first what is asserted while a model is loaded and while it decodes (``load_hparams`` in
``src/llama-model.cpp``, the norms in ``ggml-cpu/ops.cpp``; llama-cpp-python 0.3.36), and what makes
every number NaN from the first layer on: the base and the factors of the rotary embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ttc_cli.models.layers import find_fatal_sharing, find_fatal_state

UNTRIED = frozenset({
    # llm_arch_is_recurrent and llm_arch_is_hybrid in src/llama-arch.cpp, without layers.RECURRENT
    "mamba", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7", "jamba", "plamo2", "kimi-linear", "kimi-k3",
    "bailingmoe3", "glm5-next", "qwen4exp", "deepseek4", "minimax-01",
})  # fmt: skip
"""Recurrent and hybrid architectures of which nobody has seen here that trees grow on them."""

RECURRENT_KEYS = (".ssm.", ".wkv.", ".shortconv.")
"""Parts of header keys that only such models have: catches those too new for the list."""

NO_GENERATOR = frozenset({
    "clip", "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2",
    "jina-bert-v3", "eurobert", "gemma-embedding", "llama-embed", "t5", "t5encoder",
    "wavtokenizer-dec", "dream", "llada", "llada-moe", "rnd1",
})  # fmt: skip
"""Encoders, embedders and diffusion models: they do not write token after token."""

TENSOR_TYPES = {
    # number: name, elements of a block, bytes of a block (ggml.h, ggml-common.h)
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip

MAX_LAYERS, MAX_EXPERTS = 512, 1024
"""``LLAMA_MAX_LAYERS`` and ``LLAMA_MAX_EXPERTS``."""
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_ROTARY = ("freq_base", "freq_base_swa", "scale_linear", "scaling.factor", "scaling.attn_factor")
"""Below ``rope.``: the bases are above 0, a factor of 0 is none."""
_EPSILONS = ("layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon")


def find_fatal(
    fields: Mapping[str, object],
    architecture: str,
    number: Callable[[str, int | None], int],
    numbers: Callable[[str], list[int]],
) -> str | None:
    """What would end the process, in words; None where nothing would.

    Args:
        fields: of the header, by key.
        architecture: the prefix of its hyperparameters.
        number: a hyperparameter as a whole number (the greatest of a list), or a default; raises
            where it is missing and there is none.
        numbers: one of each layer; empty where it is missing.
    """
    layers = number("block_count", None)
    if not 0 < layers <= MAX_LAYERS:
        return f"it states {layers:,} layers; 1 to {MAX_LAYERS} are possible"
    if number("nextn_predict_layers", 0) > layers:
        return "it states more layers that predict ahead than it has"
    experts, used = number("expert_count", 0), number("expert_used_count", 0)
    if experts > MAX_EXPERTS or used > experts or bool(used) is not bool(experts):
        return f"it states {used:,} of {experts:,} experts"
    groups, chosen = number("expert_group_count", 0), number("expert_group_used_count", 0)
    if groups and groups >= experts:
        return f"it states {groups:,} groups of {experts:,} experts"
    if groups > 1 and (experts % groups or not 0 < chosen < groups):
        return f"it states {chosen:,} of {groups:,} groups of {experts:,} experts"
    scaling = fields.get(f"{architecture}.rope.scaling.type", "linear")
    if scaling not in _ROPE_SCALINGS:
        return "it names an unknown kind of rope scaling"
    for name in _ROTARY:
        value = fields.get(f"{architecture}.rope.{name}", 1.0)
        if isinstance(value, float | int) and not (
            math.isfinite(value) and (value > 0 if "base" in name else value >= 0)
        ):
            return f"its field rope.{name} is {value}"
    for name in _EPSILONS:
        epsilon = fields.get(f"{architecture}.attention.{name}", 0.0)
        if isinstance(epsilon, float) and not (math.isfinite(epsilon) and epsilon >= 0):
            return f"its field {name} is {epsilon}"
    return find_fatal_state(architecture, number) or find_fatal_sharing(
        architecture, number, numbers
    )
