"""Asking the model back: a branch on which it is about to answer a request behind its own text."""

from __future__ import annotations

from collections.abc import Sequence

from ttc_cli.engines.base import Branch, Prompt, Span
from ttc_cli.search.context import SearchContext
from ttc_cli.verifiers.base import Leaf


def ask_back(
    context: SearchContext, seen: Sequence[Leaf], requests: Sequence[Prompt], *, whole: bool = True
) -> Branch:
    """A branch behind the last of ``seen`` and the last of ``requests``.

    Each of ``seen`` is followed by the request at its place. Where they are the ``whole``
    conversation and its KV is there, only the last request is read; else all are read again from
    the prompt on. Thoughts are left out then, as templates leave out those of earlier turns, and
    where there are any it is always so.
    """
    last = seen[-1].branch
    if whole and last is not None and not any(each.candidate.thought for each in seen):
        return context.session.append(last, requests[-1])
    text: list[Span] = []
    for leaf, request in zip(seen, requests, strict=True):
        attempt = leaf.candidate
        text += [Span(attempt.text[attempt.thought :].strip()), *request]
    return context.session.append(context.session.root, tuple(text))
