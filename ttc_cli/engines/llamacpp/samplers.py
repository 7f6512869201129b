"""What draws one candidate's next token: llama.cpp's sampler chain, and its grammars."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from ttc_cli.engines.llamacpp.bindings import lib
from ttc_cli.engines.llamacpp.native import NativeModel, Row, last_words, recent, start
from ttc_cli.errors import UsageError
from ttc_cli.types import Sampling


class Sampler:
    """One candidate's sampler chain: top-k, top-p, min-p, temperature, then a seeded draw."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        links: list[Any] = []
        if sampling.temperature <= 0:
            links.append(lib.llama_sampler_init_greedy())
        else:
            if sampling.top_k > 0:
                links.append(lib.llama_sampler_init_top_k(sampling.top_k))
            if sampling.top_p < 1:
                links.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
            if sampling.min_p > 0:
                links.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
            links.append(lib.llama_sampler_init_temp(sampling.temperature))
            links.append(lib.llama_sampler_init_dist(seed & 0xFFFFFFFF))
        self._chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in links:
            lib.llama_sampler_chain_add(self._chain, link)

    def draw(self, tokens: npt.NDArray[np.int64], logits: Row) -> int:
        """Draw one of ``tokens`` by their ``logits`` (both of shape (n,))."""
        _memory, view = _lay_out(tokens, logits)
        lib.llama_sampler_apply(self._chain, ctypes.byref(view))
        return int(view.data[view.selected].id)

    def close(self) -> None:
        """Free the chain."""
        if self._chain:
            lib.llama_sampler_free(self._chain)
            self._chain = None


_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def _lay_out(tokens: npt.NDArray[np.int64], logits: Row) -> tuple[npt.NDArray[np.void], Any]:
    """Candidates as the library takes them: the memory, which must be kept, and a view of it."""
    data = np.empty(len(tokens), _TOKEN_DATA)
    data["id"] = tokens
    data["logit"] = logits
    data["p"] = 0.0
    view = lib.llama_token_data_array(
        data=data.ctypes.data_as(lib.llama_token_data_p),
        size=len(tokens),
        selected=-1,
        sorted=False,
    )
    return data, view


class Grammar:
    """One candidate's place in a grammar (GBNF, as the library's own grammars are written)."""

    def __init__(self, model: NativeModel | None, text: str) -> None:
        """Stand at the beginning of the rule ``root``.

        Args:
            model: whose tokens it is to judge; None only reads the grammar.
            text: the rules.

        Raises:
            UsageError: the library cannot read them, or a rule begins with itself.
        """
        start()
        vocab = None if model is None else model.vocabulary
        recent.clear()
        self._sampler: Any = lib.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        if not self._sampler:
            raise UsageError(f"llama.cpp cannot read the grammar.{last_words()}")

    def allow(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of ``tokens`` may come next, shape (n,)."""
        data, view = _lay_out(tokens, np.zeros(len(tokens), np.float32))
        lib.llama_sampler_apply(self._sampler, ctypes.byref(view))
        allowed: npt.NDArray[np.bool_] = np.isfinite(data["logit"])
        return allowed

    def accept(self, token: int) -> None:
        """Go on after ``token``, which ``allow`` must have let pass."""
        lib.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """Free it."""
        if self._sampler:
            lib.llama_sampler_free(self._sampler)
            self._sampler = None
