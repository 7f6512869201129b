"""What each layer of a model remembers: cells of a KV cache for every token, or a running state.

Attention layers keep keys and values of each token; recurrent ones (Mamba, gated delta nets, short
convolutions) keep one state a sequence, however long that is; hybrids have both. The rules are
those of llama.cpp 0.5.0: ``is_recr``, ``n_embd_r`` and ``n_embd_s`` of ``src/llama-hparams.cpp``,
``load_arch_hparams`` of each architecture, the filters in ``create_memory``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DELTA_NETS = frozenset({"qwen35", "qwen35moe", "qwen3next"})
"""Every fourth layer attends, unless the header says otherwise."""
_NEMOTRONS = frozenset({"nemotron_h", "nemotron_h_moe"})
_BOTH = "falcon-h1"
_CONVOLUTIONS = frozenset({"lfm2", "lfm2moe"})
_SHARED_KEYS = frozenset({"gemma3n", "gemma4"})

RECURRENT = DELTA_NETS | _NEMOTRONS | _CONVOLUTIONS | {_BOTH, "granitehybrid", "mamba2"}
"""Recurrent and hybrid architectures that trees grow on."""

Number = Callable[[str, int | None], int]
"""A hyperparameter as a whole number, the greatest of a list, or a default."""
Numbers = Callable[[str], list[int]]
"""A hyperparameter of each layer; one that is given once is that of all, none at all is empty."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Elements that a model's memory takes.

    ``cell`` for each token of each sequence, ``state`` for each sequence, ``widest`` of which is
    the state of one layer.
    """

    cell: int
    state: int = 0
    widest: int = 0


def measure_memory(architecture: str, number: Number, numbers: Numbers) -> Memory:
    """What the layers of a model remember.

    Args:
        architecture: which rules hold.
        number: reads a hyperparameter; ``block_count`` and ``attention.head_count`` are there.
        numbers: reads one for each layer.
    """
    layers = number("block_count", None)
    trunk = layers - number("nextn_predict_layers", 0)
    states = _find_states(architecture, layers, number, numbers)
    heads = numbers("attention.head_count_kv") or numbers("attention.head_count")
    size = number("embedding_length", None) // max(1, number("attention.head_count", None))
    key = number("attention.key_length", size)
    value = number("attention.value_length", size)
    near = number("attention.key_length_swa", key) + number("attention.value_length_swa", value)
    windows = numbers("attention.sliding_window_pattern")
    if len(windows) != layers or architecture not in _SHARED_KEYS:
        windows, near = [0] * layers, max(near, key + value)
    owners = trunk
    if architecture in _SHARED_KEYS:
        owners -= min(trunk, number("attention.shared_kv_layers", 0))
    if architecture in _NEMOTRONS:  # the rest of their layers is feed-forward alone
        rest = [i for i, wide in enumerate(numbers("feed_forward_length")) if wide]
    else:
        rest = []
    cell = sum(
        heads[layer] * (near if windows[layer] else key + value)
        for layer in range(owners)
        if layer < len(heads)
        and layer not in rest
        and (layer not in states or architecture == _BOTH)
    )
    widest = _measure_state(number) if states else 0
    return Memory(cell, widest * sum(layer < trunk for layer in states), widest)


def find_fatal_state(architecture: str, number: Number) -> str | None:
    """What would end the process in a recurrent layer, in words; None where nothing would."""
    if architecture not in RECURRENT:
        return None
    if architecture in _CONVOLUTIONS:
        length = number("shortconv.l_cache", 0)
        return None if length > 1 else f"its convolutions are {length} tokens long"
    kernel, inner = number("ssm.conv_kernel", 0), number("ssm.inner_size", 0)
    state, heads = number("ssm.state_size", 0), number("ssm.time_step_rank", 0)
    groups = number("ssm.group_count", 0)
    stated = f"it states a running state of {heads:,} heads in {groups:,} groups, {state:,} wide"
    if kernel < 2 or not (inner and state and heads and groups):
        return stated
    if inner % heads or inner % groups or heads % groups:
        return stated
    if architecture in DELTA_NETS and inner != state * heads:
        return stated
    if architecture == "granitehybrid" and inner != 2 * number("embedding_length", None):
        return stated
    if number("full_attention_interval", 4) < 1:
        return "it states that every 0th layer attends"
    return None


def find_fatal_sharing(architecture: str, number: Number, numbers: Numbers) -> str | None:
    """What would end the process where layers share keys and values, in words; None if nothing."""
    if architecture not in _SHARED_KEYS:
        return None
    layers, shared = number("block_count", None), number("attention.shared_kv_layers", 0)
    owners = layers - shared
    if owners < 2:
        return f"it states that {shared:,} of its {layers:,} layers have no keys of their own"
    windows = numbers("attention.sliding_window_pattern")
    if architecture == "gemma4" and (len(windows) != layers or not any(windows)):
        return "it does not say which of its layers see a window alone"
    if shared and len(windows) == layers:
        for layer in range(owners, layers):  # shares with the last of its kind but one, or the last
            if bool(windows[owners - 2 if windows[layer] else owners - 1]) != bool(windows[layer]):
                return "its layers share keys with layers of another kind"
    return None


def _find_states(
    architecture: str, layers: int, number: Number, numbers: Numbers
) -> frozenset[int]:
    """Which layers keep a running state."""
    if architecture not in RECURRENT:
        return frozenset()
    if architecture in ("mamba2", _BOTH):
        return frozenset(range(layers))
    if architecture in DELTA_NETS:
        said = numbers("attention.recurrent_layers")
        if said:
            return frozenset(layer for layer, kind in enumerate(said) if kind)
        interval = max(1, number("full_attention_interval", 4))
        return frozenset(layer for layer in range(layers) if (layer + 1) % interval)
    heads = numbers("attention.head_count_kv")
    wide = numbers("feed_forward_length") if architecture in _NEMOTRONS else []
    return frozenset(
        layer
        for layer, count in enumerate(heads)
        if not count and not (layer < len(wide) and wide[layer])
    )


def _measure_state(number: Number) -> int:
    """Elements of one layer's state: what its convolution still needs, and what it sums up."""
    convolved = number("shortconv.l_cache", 0)
    if convolved:
        return number("embedding_length", None) * (convolved - 1)
    inner, state = number("ssm.inner_size", 0), number("ssm.state_size", 0)
    mixed = inner + 2 * number("ssm.group_count", 0) * state
    return max(0, number("ssm.conv_kernel", 0) - 1) * mixed + state * inner
