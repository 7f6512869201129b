"""Where thinking ends: told by marks that stand as marks, of models known and unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers import find_opened, find_thought

NAMES = ["think", "thinking", "thought", "thoughts", "reasoning", "reason", "Thought", "seed:think"]


@pytest.mark.parametrize("name", [*NAMES, "scratchpad", "reflection", "analysis"])
@pytest.mark.parametrize("before", ["", "\n ", "<think>\n</think>\n"])
def test_a_thought_of_any_usual_name_is_found(name: str, before: str) -> None:
    thought = f"{before}<{name}>Perhaps \\boxed{{5}}.</{name}>"
    assert find_thought(f"{thought} I am not sure.") == len(thought)
    endless = f"{before}<{name}>Perhaps \\boxed{{5}}."
    assert find_thought(endless) == len(endless)


@pytest.mark.parametrize(
    "thought",
    [
        "[THINK]a[/THINK]",
        "[thinking]a[/thinking]",
        "◁think▷a◁/think▷",
        "<|begin_of_thought|>a<|end_of_thought|>",
        "<|START_THINKING|>a<|END_THINKING|>",
        "<think:open>a</think:open>",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel>thought\na<channel|>",
        "<unused94>thought\na<unused95>",
        "<longcat_think>a</longcat_think>",
        "<|thinking|>a<|/thinking|>",
        "<chain_of_thought>a</chain_of_thought>",
        "<scratch_pad>a</scratch_pad>",
        "<CoT>a</CoT>",
    ],
)
def test_marks_of_other_shapes_are_known(thought: str) -> None:
    assert find_thought(f"{thought}\n\n4") == len(thought)
    assert find_thought(thought[:-1]) == len(thought) - 1


@pytest.mark.parametrize(
    "closing", ["[/THINK]", "◁/think▷", "<|END_THINKING|>", "<|end_of_thought|>"]
)
def test_marks_of_other_shapes_close_what_the_prompt_opened(closing: str) -> None:
    assert find_thought(f"So 4.{closing}\n\n4") == len(f"So 4.{closing}")


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("Okay.\n<think>a</think> 4", "Okay.\n<think>a</think>"),
        ("Sure! <think>a", "Sure! <think>a"),
        ("The answer is Paris.\n<think>a</think> 4", ""),
        ("It is 5.\n<think>a</think>", ""),
        ("<think>\n<think>a</think>\nb</think> 4", "<think>\n<think>a</think>\nb</think>"),
        ("<think>a</think>\n\n</think>\n\n4", "<think>a</think>\n\n</think>"),
        ("<think>a</think> It is 4.</think>\n", "<think>a</think>"),
        ("<think>a</think> It is 4. The mark </think> ends it.", "<think>a</think>"),
    ],
)
def test_a_thought_behind_a_few_words_and_one_within_another(text: str, thought: str) -> None:
    assert text[: find_thought(text)] == thought


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("so 4\n</think>\n\nThe answer is 4.", "so 4\n</think>"),
        ("so 4.</think> The answer is 4.", "so 4.</think>"),
        ("so 4.</thought>The answer is 4.", "so 4.</thought>"),
        ("</think>\n4", "</think>"),
        ("It is 5. The mark </think> ends a thought.", ""),
        ("It is 5. `</think>` ends a thought.", ""),
        ('It is 5, and "</think>" a mark.', ""),
        ("It is 5 (not </think>).", ""),
        ("It is 5.\n</think> is the mark.", ""),
        ("It is 5.\n\n```\n<think>\na\n</think>\n```", ""),
        ("Marks: <think> opens, </think> closes.", ""),
        ("<b>bold</b> and <thinker>", ""),
        ("`</think>` is a mark, so\n</think>\n\n4", "`</think>` is a mark, so\n</think>"),
    ],
)
def test_a_mark_that_nothing_opened_counts_where_it_is_no_mention(text: str, thought: str) -> None:
    assert text[: find_thought(text)] == thought


def test_what_the_prompt_opened_ends_at_the_first_closing_mark() -> None:
    assert find_thought("a </think> b </think>", inside=True) == len("a </think>")
    assert find_thought("a", inside=True) == 1
    assert find_thought("a {/} b", ("{", "{/}"), inside=True) == len("a {/}")
    assert find_thought("{ a {/} b", ("{", "{/}")) == len("{ a {/}")


@pytest.mark.parametrize(
    ("prompt", "marks"),
    [
        ("<|im_start|>assistant\n<think>\n", ("<think>", "</think>")),
        ("Assistant: [THINK]", ("[THINK]", "[/THINK]")),
        ("<|BOT|><|START_THINKING|>", ("<|START_THINKING|>", "<|END_THINKING|>")),
        ("<|BOT|><|START_THINKING|><|END_THINKING|>", None),
        ("<Assistant><think:open>", ("<think:open>", "</think:open>")),
        ("assistant\n<think>\n\n</think>\n\n", None),
        ("assistant\n", None),
        ("", None),
    ],
)
def test_what_a_template_opens_is_seen(prompt: str, marks: tuple[str, str] | None) -> None:
    assert find_opened(prompt) == marks


@given(st.lists(st.sampled_from(["<think>", "</think>", "<thought>", " ", "\n", "a", "`", "</"])))
def test_any_text_has_a_place_where_its_thought_ends(parts: list[str]) -> None:
    text = "".join(parts)
    end = find_thought(text)
    assert 0 <= end <= len(text)
    assert end in (0, len(text)) or text[:end].endswith(">")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "mark", ["</think>, ", "`</think>` ", "(</think>)\n", "`</a{:05}:think>` "]
)
def test_any_number_of_marks_is_read(mark: str) -> None:
    """In time that grows with them; what grows with their square would take minutes."""
    text = "".join(mark.format(number) for number in range(90_000))
    assert find_thought(f"a {text}") == 0
    if "{" not in mark:  # behind a thought
        assert find_thought(f"<think>a</think>b, {text}") == len("<think>a</think>")
