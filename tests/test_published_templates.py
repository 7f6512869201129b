"""Every chat template that llama.cpp's release carries: what ttc asks with it, thinking on and off.

A few of them are kept in ``data/templates/published``; the rest is looked at where the sources lie
that ``benchmarks/build_peers.sh`` unpacks, or that ``LLAMA_CPP_SOURCE`` names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from ttc_cli import paths
from ttc_cli.engines.base import EngineInfo, Prompt
from ttc_cli.errors import TemplateError
from ttc_cli.forms.program import ask as ask_for_program
from ttc_cli.prompts import (
    JUDGE_QUESTION,
    JUDGE_STEP_QUESTION,
    VOTED,
    Chat,
    Message,
    build_messages,
    request_repair,
    request_revision,
)
from ttc_cli.search.sessions.thinking import begin_answer, find_opened_thought
from ttc_cli.types import AnswerType, Problem

ROOT = Path(__file__).resolve().parent
KEPT = ROOT / "data/templates/published"
# Looked up now: tests point TTC_HOME elsewhere.
PEERS = (ROOT.parent / "build/peers", paths.cache_dir() / "peers")
GIVEN = os.environ.get("LLAMA_CPP_SOURCE")


def find_templates() -> list[Path]:
    sources = [Path(GIVEN)] if GIVEN else []
    sources += [
        each for peers in PEERS for each in peers.glob("llama_cpp_python-*/vendor/llama.cpp")
    ]
    found = {path.stem: path for path in KEPT.glob("*.jinja")}
    for source in sources[:1]:
        found |= {path.stem: path for path in (source / "models/templates").glob("*.jinja")}
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class Thinks:
    """What a template does with thinking.

    ``off``, ``on``: variables that switch it; None where it cannot be. ``opens``: the mark that
    the prompt ends in when it is on; empty where the model writes it, or where it is no mark.
    """

    off: Mapping[str, object] | None = None
    on: Mapping[str, object] | None = None
    opens: str = ""


def switched(value: bool, opens: str = "", name: str = "enable_thinking") -> Thinks:
    """Thinking is as ``value`` says where the variable is not set."""
    return Thinks(off={name: False} if value else {}, on={} if value else {name: True}, opens=opens)


NEVER = Thinks(off={})
ALWAYS = Thinks(on={})
THINK = "<think>"

KNOWN: dict[str, Thinks] = {
    "Apertus-8B-Instruct": switched(False),
    "Apriel-1.6-15b-Thinker-fixed": ALWAYS,  # its mark is a sentence
    "Bielik-11B-v3.0-Instruct": switched(False, THINK),
    "ByteDance-Seed-OSS": Thinks(off={"thinking_budget": 0}, on={}),
    "Cohere2MoE": Thinks(off={"reasoning_effort": "none"}, on={}, opens="<|START_THINKING|>"),
    "CohereForAI-c4ai-command-r-plus-tool_use": NEVER,
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": switched(False),
    "GLM-4.6": switched(True),
    "GLM-4.7-Flash": switched(True, THINK),
    "GigaChat3-10B-A1.8B": NEVER,
    "GigaChat3.1-10B-A1.8B": NEVER,
    "HuggingFaceTB-SmolLM3-3B": switched(True),
    "Kimi-K2-Instruct": NEVER,
    "Kimi-K2-Thinking": ALWAYS,
    "Kimi-K3": switched(True, name="thinking"),
    "LFM2-8B-A1B": NEVER,
    "LFM2.5-8B-A1B": ALWAYS,
    "LFM2.5-Instruct": NEVER,
    "MiMo-VL": NEVER,
    "MiniMax-M1": NEVER,
    "MiniMax-M2": Thinks(on={}, opens=THINK),
    "MiniMax-M3": Thinks(off={"thinking_mode": "disabled"}, on={}),
    "Mistral-Small-3.2-24B-Instruct-2506": NEVER,
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": switched(True, THINK),
    "NVIDIA-Nemotron-Nano-v2": Thinks(on={}, opens=THINK),  # off by a word in the system's text
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": NEVER,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": NEVER,
    "Qwen-QwQ-32B": switched(False, THINK),
    "Qwen-Qwen2.5-7B-Instruct": NEVER,
    "Qwen-Qwen3-0.6B": switched(True),
    "Qwen3-Coder": NEVER,
    "Qwen3.5-4B": switched(True, THINK),
    "Reka-Edge": switched(False, THINK),
    "Spark2.5": switched(True, THINK),
    "StepFun3.5-Flash": Thinks(on={}, opens=THINK),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": Thinks(on={}, opens=THINK),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": switched(False, THINK),
    "deepseek-ai-DeepSeek-V3.1": switched(False, THINK, "thinking"),
    "deepseek-ai-DeepSeek-V3.2": switched(False, THINK, "thinking"),
    "deepseek-ai-DeepSeek-V4": switched(False, THINK, "thinking"),
    "deepseek-ai-DeepSeek-V4-Flash-0731": switched(False, THINK, "thinking"),
    "google-gemma-2-2b-it": NEVER,
    "google-gemma-4-31B-it": switched(False),
    "google-gemma-4-31B-it-interleaved": switched(False),
    "ibm-granite-granite-3.3-2B-Instruct": NEVER,  # where it is given instructions
    "ibm-granite-granite-4.0": NEVER,
    "ibm-granite-granite-4.1": NEVER,
    "inclusionai-ling-3.0-flash": switched(True, THINK),
    "llama-cpp-deepseek-r1": Thinks(on={}, opens=THINK),
    "llama-cpp-rwkv-world": Thinks(
        off={"enable_thinking": False}, on={"enable_thinking": True}, opens=THINK
    ),
    "meetkai-functionary-medium-v3.1": NEVER,
    "meetkai-functionary-medium-v3.2": NEVER,
    "meta-llama-Llama-3.1-8B-Instruct": NEVER,
    "meta-llama-Llama-3.2-3B-Instruct": NEVER,
    "meta-llama-Llama-3.3-70B-Instruct": NEVER,
    "microsoft-Phi-3.5-mini-instruct": NEVER,
    "mistralai-Ministral-3-14B-Reasoning-2512": ALWAYS,
    "mistralai-Mistral-Nemo-Instruct-2407": NEVER,
    "moonshotai-Kimi-K2": NEVER,
    "muse-glimmer": ALWAYS,
    "openai-gpt-oss-120b": ALWAYS,
    "openbmb-MiniCPM5-1B": Thinks(
        off={"enable_thinking": False}, on={"enable_thinking": True}, opens=THINK
    ),
    "poolside-Laguna-S-2.1": switched(True, THINK),
    "poolside-Laguna-XS-2.1": switched(False, THINK),
    "poolside-Laguna-XS.2": switched(False, THINK),
    "tencent-Hy3": Thinks(off={}, on={"reasoning_effort": "low"}, opens="<think:opensource>"),
    "unsloth-Apriel-1.5": ALWAYS,
    "unsloth-mistral-Devstral-Small-2507": NEVER,
    "upstage-Solar-Open-100B": Thinks(off={"reasoning_effort": "low"}, on={}),
}
REFUSED = {"fireworks-ai-llama-3-firefunction-v2": "'functions' is undefined"}
"""Templates that need what ttc does not have, and the words in which it says so."""

TEMPLATES = find_templates()
pytestmark = pytest.mark.parametrize(
    "template", [pytest.param(path, id=path.stem) for path in TEMPLATES]
)

SYSTEM, QUESTION = "Say it in Latin. 3a7f", "How much is 2 + 2? 9c1e"
REMARK = "The second step is wrong. 51bd"


def read_chat(template: Path, arguments: Mapping[str, object] | None = None) -> Chat:
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    source = template.read_text(encoding="utf-8")
    info = EngineInfo("fake", template.stem, 1, 100, 1, source, tokens)
    return Chat(info, arguments, lambda: datetime(2026, 11, 30, 12))


def is_refused(template: Path, chat: Chat) -> bool:
    words = REFUSED.get(template.stem)
    if words is not None:
        with pytest.raises(TemplateError, match=words):
            chat.render([Message("user", QUESTION)])
    return words is not None


def count(prompt: Prompt, text: str) -> int:
    """How often ``text`` stands in what is read as text, not as a template's own."""
    return sum(span.text.count(text) for span in prompt if not span.control)


def test_everything_ttc_says_is_in_the_prompt_once_and_as_text(template: Path) -> None:
    chat = read_chat(template)
    if is_refused(template, chat):
        return
    for kind in VOTED:
        problem = Problem(QUESTION, kind, system=SYSTEM)
        for ask in (build_messages, ask_for_program):
            if ask is ask_for_program and kind is AnswerType.FREE:
                continue
            prompt = chat.render(ask(problem))
            assert [count(prompt, text) for text in (SYSTEM, QUESTION)] == [1, 1]
            assert prompt[-1].control
    bare = chat.render([Message("user", QUESTION)])
    assert count(bare, QUESTION) == 1
    revision = request_revision(AnswerType.NUMBER, rating=0.4, cut_off=False, remarks=(REMARK,))
    repair = request_repair(AnswerType.NUMBER, (REMARK,))
    for text in (JUDGE_QUESTION, JUDGE_STEP_QUESTION, revision, repair):
        question = chat.follow_up(text)
        assert count(question, text) == 1
        assert question[0].control
        assert question[-1].control
        assert question[-1] == bare[-1]  # it opens the model's turn as the first prompt does


def test_thinking_is_switched_off_and_on(template: Path) -> None:
    if is_refused(template, read_chat(template)):
        return
    thinks, asked = KNOWN[template.stem], [Message("system", SYSTEM), Message("user", QUESTION)]
    if thinks.off is not None:
        chat = read_chat(template, thinks.off)
        for prompt in (chat.render(asked), chat.follow_up(JUDGE_QUESTION)):
            assert find_opened_thought(prompt) is None
    if thinks.on is not None:
        chat = read_chat(template, thinks.on)
        for prompt in (chat.render(asked), chat.follow_up(JUDGE_QUESTION)):
            marks = find_opened_thought(prompt)
            assert (marks[0] if marks else "") == thinks.opens
            if marks is not None:  # where the turn is begun in the model's stead, its thought ends
                program = written(begin_answer(prompt, "```python\n", marks))
                assert program.endswith(f"{marks[1]}\n\n```python\n")
    if thinks.off is not None and thinks.on is not None:
        off, on = (written(read_chat(template, each).render(asked)) for each in
                   (thinks.off, thinks.on))  # fmt: skip
        assert off != on


def written(prompt: Prompt) -> str:
    return "".join(span.text for span in prompt)
