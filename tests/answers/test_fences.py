"""Fenced blocks: paired as Markdown pairs them, and as models leave them open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers.fences import find_blocks


def read(text: str) -> list[tuple[str, str, bool]]:
    return [(each.language, each.content, each.closed) for each in find_blocks(text)]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\nx\n```", [("python", "x\n", True)]),
        ("~~~ PY\nx\n~~~~", [("py", "x\n", True)]),
        ("````md\n```\nx\n```\n````", [("md", "```\nx\n```\n", True)]),
        ("```\n~~~\nx\n~~~\n```", [("", "~~~\nx\n~~~\n", True)]),
        ("```{.python}\nx\n```", [("python", "x\n", True)]),
        ("```c++ title=x\nx\n```", [("c++", "x\n", True)]),
        ("   ```\n   a\n     b\n  c\n   ```", [("", "a\n  b\nc\n", True)]),
        ("      ```\n      a\n\n        b\n      ```", [("", "a\n\n  b\n", True)]),
        ("\t```\n\ta\n\t\tb\n\t```", [("", "a\n\tb\n", True)]),
        ("- ```\n  a\n  ```", [("", "a\n", True)]),
        ("10. ```js\n    a\n    ```", [("js", "a\n", True)]),
        ("```\n    ```\n```", [("", "    ```\n", True)]),
        ("```\r\nx\r\n```\r\ny", [("", "x\r\n", True)]),
        ("```x``` y", []),
        ("``\nx\n``", []),
        ("```", [("", "", False)]),
        ("a\n```python\nx\n", [("python", "x\n", False)]),
        ("```\na\n```python\nb\n```", [("", "a\n", False), ("python", "b\n", True)]),
        ("````\na\n```python\nb\n````", [("", "a\n```python\nb\n", True)]),
    ],
)
def test_blocks_of_a_text(text: str, blocks: list[tuple[str, str, bool]]) -> None:
    assert read(text) == blocks


def test_a_block_knows_where_it_begins() -> None:
    text = "a\n```\nb\n```\n  ~~~c\nd"
    assert [text[each.start :][:6] for each in find_blocks(text)] == ["```\nb\n", "  ~~~c"]


@given(st.lists(st.sampled_from(["a", "", "  b", "```", "~~~", "```py", "````", "  ```"])))
def test_every_line_is_in_a_block_or_a_fence_or_outside(lines: list[str]) -> None:
    for block in find_blocks("\n".join(lines)):
        for line in block.content.splitlines():
            assert any(each.endswith(line) for each in lines)
