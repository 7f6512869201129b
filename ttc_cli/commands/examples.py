"""The examples below a command's help. A test runs every one of them."""

from __future__ import annotations


def show_examples(*lines: str, more: str = "") -> str:
    """An epilog with ``lines`` as they are typed, and ``more`` in paragraphs below."""
    examples = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
    return f"{examples}\n\n{more}" if more else examples
