"""Spans of text to token ids, and single tokens by how the vocabulary spells them."""

from __future__ import annotations

from ttc_cli.engines.base import Prompt, Span
from ttc_cli.engines.llamacpp.native import NativeModel
from ttc_cli.errors import UsageError


class Tokeniser:
    """The vocabulary of ``model``; ``name`` is what errors call it."""

    def __init__(self, model: NativeModel, name: str) -> None:
        self.model = model
        self._name = name
        self._labels: dict[tuple[str, ...], list[int]] = {}

    def tokenise(self, prompt: Prompt, after: int | None = None) -> list[int]:
        """Token ids of a prompt's spans, control tokens read in control spans alone.

        Plain text after text (``after`` is the token before the prompt) goes on with it, as if
        both were read at once.

        Raises:
            UsageError: a span that should be one token is not.
        """
        tokens: list[int] = []
        for span in prompt:
            last = tokens[-1] if tokens else after
            if span.piece:
                tokens.append(self._find_piece(span.text))
            elif not span.control and last is not None and self.model.spells(last):
                tokens += self.model.tokenise_on(span.text)
            else:
                tokens += self.model.tokenise(span.text, control=span.control)
        return tokens

    def cut(self, tokens: list[int], mark: str, start: int) -> list[int]:
        """``tokens`` up to where ``mark`` last begins, after the first ``start`` of them.

        What the token that holds the mark's first byte spells before it is read again as text.

        Raises:
            UsageError: nothing after ``start`` spells ``mark``.
        """
        wanted, tail = mark.encode(), b""
        for place in range(len(tokens) - 1, start - 1, -1):
            tail = self.model.piece(tokens[place]) + tail
            found = tail.rfind(wanted)
            if found >= 0:
                kept = tokens[:place]
                head = tail[:found].decode("utf-8", "ignore")
                rest = self.tokenise((Span(head),), kept[-1] if kept else None) if head else []
                return [*kept, *rest]
        raise UsageError(f"The branch does not hold {mark!r}.")

    def find_labels(self, pieces: tuple[str, ...]) -> list[int]:
        """Ids of those ``pieces`` that are one token each.

        Raises:
            UsageError: none is.
        """
        known = self._labels.get(pieces)
        if known is None:
            ids = [self.model.tokenise(piece, control=False) for piece in pieces]
            singles = {found[0] for found in ids if len(found) == 1}
            if not singles:
                spelt = (self.model.find_piece(piece) for piece in pieces)
                singles = {token for token in spelt if token is not None}
            known = sorted(singles)
            if not known:
                raise UsageError(
                    f"none of {', '.join(map(repr, pieces))} is a single token of "
                    f"{self._name}: it cannot be used with this verifier.",
                    hint="ttc solve --verifier confidence …",
                )
            self._labels[pieces] = known
        return known

    def _find_piece(self, spelt: str) -> int:
        token = self.model.find_piece(spelt)
        if token is None:
            found = self.model.tokenise(spelt, control=False)
            if len(found) != 1:
                raise UsageError(
                    f"{spelt!r} is not a single token of {self._name}: it cannot be used with "
                    "this verifier.",
                    hint="ttc verifiers list",
                )
            token = found[0]
        return token
