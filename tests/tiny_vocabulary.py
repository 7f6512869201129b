"""The vocabulary of the tiny models: every byte, some words, and the ChatML template."""

from __future__ import annotations

from typing import Any

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = (
    "Yes", "No", "yes", "no", "the", "and", "light", "turns", "over", "water", "house", "story",
    "apples", "three", "four", "seven", "is", "are", "was", "of", "to", "in", "one", "two",
    "answer", "step", "so", "more", "then", "mile", "on", "it", "that", "each", "sun", "ship",
)  # fmt: skip


def _spell_bytes() -> dict[int, str]:
    """How byte-level BPE (GPT-2) writes each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + place) for place, byte in enumerate(others)
    }


def _write_vocabulary() -> dict[str, Any]:
    """Byte-level BPE: all bytes, an empty line, the words with and without a blank before."""
    tokens, merges = [*_spell_bytes().values(), "ĊĊ"], ["Ċ Ċ"]
    for spelling in [f"Ġ{word}" for word in WORDS] + [*WORDS]:
        for end in range(1, len(spelling)):
            merge = f"{spelling[:end]} {spelling[end]}"
            if merge not in merges:
                merges.append(merge)
                tokens.append(merge.replace(" ", ""))
    types = [1] * len(tokens) + [3] * len(CONTROL)
    tokens += CONTROL
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.padding_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }


VOCABULARY = _write_vocabulary()
TOKENS: list[str] = VOCABULARY["tokenizer.ggml.tokens"]
SIZE = len(TOKENS)
SAID = [f"Ġ{word}" for word in WORDS] + ["ĊĊ", *".,:;!?+-*/=()%0123456789"]
"""What a model writes of its own accord: read again as text these are the same tokens."""
