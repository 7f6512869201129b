"""Values in a header at which llama.cpp ends the process, or computes no numbers.

The library checks some hyperparameters with an assertion, and a failed assertion is an abort that
no caller can catch. What is asserted while a model is loaded and while it decodes
(``load_hparams`` in ``src/llama-model.cpp``, the norms in ``ggml-cpu/ops.cpp``; llama-cpp-python
0.3.36) is asked here first. So is what makes every number NaN from the first layer on: the base and
the factors of the rotary embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

MAX_LAYERS, MAX_EXPERTS = 512, 1024
"""``LLAMA_MAX_LAYERS`` and ``LLAMA_MAX_EXPERTS``."""
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_ROTARY = ("freq_base", "freq_base_swa", "scale_linear", "scaling.factor", "scaling.attn_factor")
"""Below ``rope.``: the bases are above 0, a factor of 0 is none."""
_EPSILONS = ("layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon")


def find_fatal(
    fields: Mapping[str, object], architecture: str, number: Callable[[str, int | None], int]
) -> str | None:
    """What would end the process, in words; None where nothing would.

    Args:
        fields: of the header, by key.
        architecture: the prefix of its hyperparameters.
        number: a hyperparameter as a whole number (the greatest of a list), or a default; raises
            where it is missing and there is none.
    """
    layers = number("block_count", None)
    if not 0 < layers <= MAX_LAYERS:
        return f"it states {layers:,} layers, where 1 to {MAX_LAYERS} can be"
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
    return None
