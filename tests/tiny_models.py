"""Writes tiny models of the architectures people run, with random weights: no one can be fetched.

Each is a whole GGUF of a few hundred kB that llama.cpp loads and decodes as it does the real ones:
its layers, its memory, a vocabulary of single characters and some words, the ChatML template.
What they say has no sense, but is theirs: it hangs on every token before it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tiny_gguf import encode, split_fields, text
from tiny_vocabulary import SAID, SIZE, TOKENS, VOCABULARY

Weights = npt.NDArray[np.float32]
Tensors = dict[str, Weights]

WIDTH, HIDDEN, HEADS, HEAD = 64, 96, 2, 32
LAYERS = 4
CONTEXT = 4096


class _Dice:
    """Random weights. What writes to the stream of hidden states leaves its first number alone.

    That number is the same in every embedding, so a column of the output matrix decides by
    itself which tokens are never drawn: no answer ends, unless it is told to.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def matrix(self, out: int, wide: int, gain: float = 1.0) -> Weights:
        drawn = self._random.normal(0, gain / np.sqrt(wide), (out, wide))
        return drawn.astype(np.float32)

    def writing(self, wide: int, gain: float = 1.0) -> Weights:
        drawn = self.matrix(WIDTH, wide, gain)
        drawn[0] = 0
        return drawn

    def vector(self, size: int, mean: float = 0.0, spread: float = 0.1) -> Weights:
        return self._random.normal(mean, spread, size).astype(np.float32)

    def norm(self, size: int) -> Weights:
        return self.vector(size, 1.0)

    def embedding(self) -> Weights:
        drawn = self.matrix(SIZE, WIDTH, np.sqrt(WIDTH))
        drawn[:, 0] = 1
        return drawn

    def output(self) -> Weights:
        drawn = self.matrix(SIZE, WIDTH, 3.0)
        drawn[TOKENS.index("ĊĊ")] *= 1.7  # steps end sooner or later
        drawn[:, 0] = 0
        drawn[[token not in SAID for token in TOKENS], 0] = -1000
        return drawn


def _feed_forward(dice: _Dice, layer: int) -> Tensors:
    blk = f"blk.{layer}"
    return {
        f"{blk}.ffn_gate.weight": dice.matrix(HIDDEN, WIDTH, 1.5),
        f"{blk}.ffn_up.weight": dice.matrix(HIDDEN, WIDTH, 1.5),
        f"{blk}.ffn_down.weight": dice.writing(HIDDEN, 1.5),
    }


EXPERTS, SHARED = 4, 32
"""Experts of a layer, of which each token meets two; what the one that all meet has hidden."""


def _experts(dice: _Dice, layer: int, *, gated: bool = True, biased: bool = False) -> Tensors:
    blk = f"blk.{layer}"

    def each(make: Callable[[], Weights]) -> Weights:
        return np.stack([make() for _ in range(EXPERTS)])

    tensors = {
        f"{blk}.ffn_gate_inp.weight": dice.matrix(EXPERTS, WIDTH),
        f"{blk}.ffn_up_exps.weight": each(lambda: dice.matrix(HIDDEN, WIDTH, 1.5)),
        f"{blk}.ffn_down_exps.weight": each(lambda: dice.writing(HIDDEN, 1.5)),
    }
    if gated:
        tensors[f"{blk}.ffn_gate_exps.weight"] = each(lambda: dice.matrix(HIDDEN, WIDTH, 1.5))
    if biased:
        tensors[f"{blk}.exp_probs_b.bias"] = dice.vector(EXPERTS)
    return tensors


def _shared_expert(dice: _Dice, layer: int, *, gated: bool = True) -> Tensors:
    blk = f"blk.{layer}"
    tensors = {
        f"{blk}.ffn_up_shexp.weight": dice.matrix(SHARED, WIDTH, 1.5),
        f"{blk}.ffn_down_shexp.weight": dice.writing(SHARED, 1.5),
    }
    if gated:
        tensors[f"{blk}.ffn_gate_shexp.weight"] = dice.matrix(SHARED, WIDTH, 1.5)
        tensors[f"{blk}.ffn_gate_inp_shexp.weight"] = dice.vector(WIDTH)
    return tensors


_EXPERTS: dict[str, Any] = {
    "expert_count": EXPERTS,
    "expert_used_count": 2,
    "expert_feed_forward_length": HIDDEN,
    "expert_shared_feed_forward_length": SHARED,
    "expert_gating_func": 2,
}


def _attention(dice: _Dice, layer: int, kv_heads: int = 1, head: int = HEAD, q: int = 1) -> Tensors:
    blk = f"blk.{layer}"
    return {
        f"{blk}.attn_q.weight": dice.matrix(q * HEADS * head, WIDTH, 2.0),
        f"{blk}.attn_k.weight": dice.matrix(kv_heads * head, WIDTH, 2.0),
        f"{blk}.attn_v.weight": dice.matrix(kv_heads * head, WIDTH, 2.0),
        f"{blk}.attn_output.weight": dice.writing(HEADS * head, 2.0),
    }


def _query_norms(dice: _Dice, layer: int, head: int = HEAD) -> Tensors:
    return {
        f"blk.{layer}.attn_q_norm.weight": dice.norm(head),
        f"blk.{layer}.attn_k_norm.weight": dice.norm(head),
    }


def _common(**more: Any) -> dict[str, Any]:
    return {
        "block_count": LAYERS,
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": 1,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": HEAD,
        "rope.freq_base": 10000.0,
    } | more


def _qwen3(dice: _Dice) -> tuple[dict[str, Any], Tensors]:
    """Attention alone."""
    tensors: Tensors = {}
    for layer in range(LAYERS):
        tensors |= _attention(dice, layer) | _query_norms(dice, layer) | _feed_forward(dice, layer)
        tensors[f"blk.{layer}.attn_norm.weight"] = dice.norm(WIDTH)
        tensors[f"blk.{layer}.ffn_norm.weight"] = dice.norm(WIDTH)
    return _common(), tensors


def _qwen35(
    dice: _Dice, *, experts: bool = False, joined: bool = False
) -> tuple[dict[str, Any], Tensors]:
    """Gated delta nets, and every fourth layer attention with a gate."""
    groups, heads, state, kernel = 1, 2, 32, 4
    inner, keys = heads * state, groups * state
    tensors: Tensors = {}
    for layer in range(LAYERS):
        blk = f"blk.{layer}"
        if experts:
            tensors |= _experts(dice, layer) | _shared_expert(dice, layer)
        else:
            tensors |= _feed_forward(dice, layer)
        tensors[f"{blk}.attn_norm.weight"] = dice.norm(WIDTH)
        tensors[f"{blk}.post_attention_norm.weight"] = dice.norm(WIDTH)
        if layer % 4 == 3:
            tensors |= _attention(dice, layer, q=2) | _query_norms(dice, layer)
            continue
        tensors |= {
            f"{blk}.attn_qkv.weight": dice.matrix(2 * keys + inner, WIDTH, 2.0),
            f"{blk}.attn_gate.weight": dice.matrix(inner, WIDTH, 2.0),
            f"{blk}.ssm_conv1d.weight": dice.matrix(2 * keys + inner, kernel),
            f"{blk}.ssm_dt.bias": dice.vector(heads, -2.0),
            f"{blk}.ssm_a": -np.abs(dice.vector(heads, 0.5)),
            f"{blk}.ssm_norm.weight": dice.norm(state),
            f"{blk}.ssm_out.weight": dice.writing(inner, 2.0),
        }
        if joined:
            tensors[f"{blk}.ssm_ba.weight"] = dice.matrix(2 * heads, WIDTH)
        else:
            tensors[f"{blk}.ssm_beta.weight"] = dice.matrix(heads, WIDTH)
            tensors[f"{blk}.ssm_alpha.weight"] = dice.matrix(heads, WIDTH)
    fields = {
        "rope.dimension_sections": [6, 5, 5, 0],
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": heads,
        "ssm.group_count": groups,
        "full_attention_interval": 4,
    }
    return _common(**fields, **(_EXPERTS if experts else {})), tensors


def _lfm2(dice: _Dice, *, experts: bool = False) -> tuple[dict[str, Any], Tensors]:
    """Short convolutions, and every other layer attention."""
    kernel = 3
    tensors: Tensors = {}
    for layer in range(LAYERS):
        blk = f"blk.{layer}"
        if experts and layer:
            tensors |= _experts(dice, layer, biased=True)
        else:
            tensors |= _feed_forward(dice, layer)
        tensors[f"{blk}.attn_norm.weight"] = dice.norm(WIDTH)
        tensors[f"{blk}.ffn_norm.weight"] = dice.norm(WIDTH)
        if layer % 2:
            tensors |= _attention(dice, layer) | _query_norms(dice, layer)
        else:
            tensors |= {
                f"{blk}.shortconv.conv.weight": dice.matrix(WIDTH, kernel, 1.5),
                f"{blk}.shortconv.in_proj.weight": dice.matrix(3 * WIDTH, WIDTH, 2.0),
                f"{blk}.shortconv.out_proj.weight": dice.writing(WIDTH, 2.0),
            }
    tensors["token_embd_norm.weight"] = dice.norm(WIDTH)
    fields = {"attention.head_count_kv": [0, 1, 0, 1], "shortconv.l_cache": kernel}
    if experts:
        fields |= {"leading_dense_block_count": 1, **_EXPERTS}
    return _common(**fields), tensors


INNER, STATE, STATES, KERNEL = 2 * WIDTH, 16, 4, 4
_MAMBA2: dict[str, Any] = {
    "ssm.conv_kernel": KERNEL,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": STATES,
    "ssm.group_count": 1,
}


def _mamba2(dice: _Dice, layer: int) -> Tensors:
    blk, mixed = f"blk.{layer}", INNER + 2 * STATE
    return {
        f"{blk}.ssm_in.weight": dice.matrix(INNER + mixed + STATES, WIDTH, 2.0),
        f"{blk}.ssm_conv1d.weight": dice.matrix(mixed, KERNEL),
        f"{blk}.ssm_conv1d.bias": dice.vector(mixed),
        f"{blk}.ssm_dt.bias": dice.vector(STATES, -1.0),
        f"{blk}.ssm_a": -np.abs(dice.vector(STATES, 0.5)).reshape(STATES, 1),
        f"{blk}.ssm_d": dice.vector(STATES, 1.0).reshape(STATES, 1),
        f"{blk}.ssm_norm.weight": dice.norm(INNER).reshape(1, INNER),
        f"{blk}.ssm_out.weight": dice.writing(INNER, 2.0),
    }


def _granitehybrid(dice: _Dice) -> tuple[dict[str, Any], Tensors]:
    """Mamba 2, and one layer attention."""
    tensors: Tensors = {}
    for layer in range(LAYERS):
        tensors |= _feed_forward(dice, layer)
        tensors[f"blk.{layer}.attn_norm.weight"] = dice.norm(WIDTH)
        tensors[f"blk.{layer}.ffn_norm.weight"] = dice.norm(WIDTH)
        tensors |= _attention(dice, layer) if layer == 2 else _mamba2(dice, layer)
    return _common(**_MAMBA2, **{"attention.head_count_kv": [0, 0, 1, 0]}), tensors


def _falcon_h1(dice: _Dice) -> tuple[dict[str, Any], Tensors]:
    """Mamba 2 and attention, both in every layer."""
    tensors: Tensors = {}
    for layer in range(LAYERS):
        tensors |= _attention(dice, layer) | _mamba2(dice, layer) | _feed_forward(dice, layer)
        tensors[f"blk.{layer}.attn_norm.weight"] = dice.norm(WIDTH)
        tensors[f"blk.{layer}.ffn_norm"] = dice.norm(WIDTH)
    return _common(**_MAMBA2), tensors


def _nemotron_h(dice: _Dice, *, experts: bool = False) -> tuple[dict[str, Any], Tensors]:
    """Mamba 2, attention or feed-forward: one of them a layer."""
    tensors: Tensors = {}
    for layer in range(LAYERS):
        tensors[f"blk.{layer}.attn_norm.weight"] = dice.norm(WIDTH)
        if layer == 1:
            tensors |= _attention(dice, layer)
        elif layer == 3 and experts:
            tensors |= _experts(dice, layer, gated=False, biased=True)
            tensors |= _shared_expert(dice, layer, gated=False)
        elif layer == 3:
            tensors |= _feed_forward(dice, layer)
            del tensors[f"blk.{layer}.ffn_gate.weight"]
        else:
            tensors |= _mamba2(dice, layer)
    fields = {
        "attention.head_count_kv": [0, 1, 0, 0],
        "feed_forward_length": [0, 0, 0, HIDDEN],
        "attention.layer_norm_epsilon": 1e-6,
    }
    return _common(**_MAMBA2, **fields, **(_EXPERTS if experts else {})), tensors


def _mamba2_alone(dice: _Dice) -> tuple[dict[str, Any], Tensors]:
    """Mamba 2 and nothing else: no attention, no cells."""
    tensors: Tensors = {}
    for layer in range(LAYERS):
        tensors[f"blk.{layer}.attn_norm.weight"] = dice.norm(WIDTH)
        tensors |= _mamba2(dice, layer)
    fields = {
        "block_count": LAYERS,
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-6,
    }
    return fields | _MAMBA2, tensors


def _gemma4(dice: _Dice) -> tuple[dict[str, Any], Tensors]:
    """Sliding windows, every third layer attends to all; the last two layers share keys."""
    layers, per_layer, full = 6, 16, 2 * HEAD
    tensors: Tensors = {
        "per_layer_token_embd.weight": dice.matrix(SIZE, layers * per_layer, 1.0),
        "per_layer_model_proj.weight": dice.matrix(layers * per_layer, WIDTH),
        "per_layer_proj_norm.weight": dice.norm(per_layer),
        "rope_freqs.weight": np.ones(full // 2, np.float32),
    }
    for layer in range(layers):
        blk, head = f"blk.{layer}", full if layer % 3 == 2 else HEAD
        tensors |= _attention(dice, layer, head=head) | _query_norms(dice, layer, head)
        tensors |= _feed_forward(dice, layer)
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm"):
            tensors[f"{blk}.{name}.weight"] = dice.norm(WIDTH)
        tensors[f"{blk}.inp_gate.weight"] = dice.matrix(per_layer, WIDTH)
        tensors[f"{blk}.proj.weight"] = dice.writing(per_layer)
    return (
        _common(
            **{
                "block_count": layers,
                "embedding_length_per_layer_input": per_layer,
                "attention.sliding_window": 32,
                "attention.sliding_window_pattern": [layer % 3 != 2 for layer in range(layers)],
                "attention.shared_kv_layers": 3,
                "attention.key_length": full,
                "attention.value_length": full,
                "attention.key_length_swa": HEAD,
                "attention.value_length_swa": HEAD,
                "rope.dimension_count": full,
                "rope.dimension_count_swa": HEAD,
                "rope.freq_base_swa": 10000.0,
            }
        ),
        tensors,
    )


_MAKERS: dict[str, Callable[[_Dice], tuple[dict[str, Any], Tensors]]] = {
    "qwen3": _qwen3,
    "qwen35": _qwen35,
    "qwen35moe": partial(_qwen35, experts=True),
    "qwen3next": partial(_qwen35, experts=True, joined=True),
    "lfm2": _lfm2,
    "lfm2moe": partial(_lfm2, experts=True),
    "granitehybrid": _granitehybrid,
    "nemotron_h": _nemotron_h,
    "nemotron_h_moe": partial(_nemotron_h, experts=True),
    "falcon-h1": _falcon_h1,
    "mamba2": _mamba2_alone,
    "gemma4": _gemma4,
}
ARCHITECTURES = tuple(_MAKERS)


_SEEDS = {"gemma4": 8}
"""10 for the others: of some weights a greedy answer is one word over and over."""


def write_model(architecture: str, path: Path, **changes: Any) -> Path:
    """Write the tiny model of ``architecture``, one of ``ARCHITECTURES``, to ``path``.

    ``changes`` to its hyperparameters make it a broken one.
    """
    path.write_bytes(b"".join(_spell(*_make(architecture, changes))))
    return path


def write_parts(architecture: str, folder: Path, count: int) -> Path:
    """Write the same model as ``count`` files, as llama.cpp splits one; returns the first."""
    fields, tensors = _make(architecture, {})
    names = list(tensors)
    for number in range(count):
        share = {name: tensors[name] for name in names[number::count]}
        said = (fields if number == 0 else {}) | split_fields(number, count, len(names))
        path = folder / f"tiny-{number + 1:05}-of-{count:05}.gguf"
        path.write_bytes(b"".join(_spell(said, share)))
    return folder / f"tiny-00001-of-{count:05}.gguf"


def _make(architecture: str, changes: dict[str, Any]) -> tuple[dict[str, Any], Tensors]:
    """The fields and the weights of a tiny model."""
    dice = _Dice(_SEEDS.get(architecture, 10))
    hyperparameters, tensors = _MAKERS[architecture](dice)
    tensors["token_embd.weight"] = dice.embedding()
    tensors["output.weight"] = dice.output()
    if "token_embd_norm.weight" not in tensors:
        tensors["output_norm.weight"] = dice.norm(WIDTH)
    fields = {"general.architecture": architecture, "general.name": f"Tiny {architecture}"}
    hyperparameters |= changes
    fields |= {f"{architecture}.{key}": value for key, value in hyperparameters.items()}
    return fields | VOCABULARY, tensors


def _spell(fields: dict[str, Any], tensors: Tensors) -> Iterator[bytes]:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    head += b"".join(text(key) + encode(value) for key, value in fields.items())
    offset = 0
    for name, weights in tensors.items():
        shape = weights.shape[::-1]
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", 0, offset)
        offset += weights.nbytes + -weights.nbytes % 32
    yield head + b"\0" * (-len(head) % 32)
    for weights in tensors.values():
        yield weights.tobytes() + b"\0" * (-weights.nbytes % 32)
