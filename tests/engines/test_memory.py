from dataclasses import replace
from pathlib import Path

import pytest

from ttc_cli.engines.llamacpp.memory import Settings, plan, plan_all
from ttc_cli.errors import MemoryShort
from ttc_cli.models.gguf import GgufInfo
from ttc_cli.models.layers import Memory

GIB = 2**30

INFO = GgufInfo(
    path=Path("some.gguf"),
    file_bytes=GIB,
    architecture="qwen2",
    parameters=1_500_000_000,
    active_parameters=1_500_000_000,
    context_length=32_768,
    layers=28,
    memory=Memory(cell=28 * 2 * (128 + 128)),
    embedding_length=1536,
    vocab_size=151_936,
    chat_template=None,
    tensor_types={},
    bos_token=None,
    eos_token=None,
)


USUAL = Settings(parallel=16, context=4096)
FIXED = replace(USUAL, kv_type="f16")
BOTH = [(INFO, USUAL), (replace(INFO, path=Path("judge.gguf")), USUAL)]


def plan_alone(free: float, settings: Settings = USUAL, info: GgufInfo = INFO):
    return plan(info, settings, int(free * GIB))


def test_the_kv_cache_is_counted_in_layers_heads_and_bytes():
    made = plan_alone(8)
    assert made.cells >= 16 * 768 + 4096 - 768
    assert made.kv == made.cells * 28 * 2 * (128 + 128) * 2
    assert made.total == made.weights + made.kv + made.compute


def test_a_short_machine_gets_fewer_branches_then_a_smaller_cache():
    roomy, short = plan_alone(8), plan_alone(1.5)
    assert (roomy.parallel, roomy.kv_type) == (16, "f16")
    assert short.parallel < 16
    assert short.total <= 1.5 * GIB
    long = replace(INFO, memory=Memory(cell=200 * 2 * (128 + 128)))
    tight = plan_alone(2.15, info=long)
    assert tight.kv_type == "q8_0"
    assert tight.total <= 2.15 * GIB


def test_what_cannot_fit_says_so_with_sizes_and_a_way_out():
    with pytest.raises(MemoryShort, match=r"1\.0 GiB of weights") as caught:
        plan_alone(0.5)
    assert caught.value.exit_code == 5
    assert "ttc models list" in (caught.value.hint or "")


def test_what_the_user_fixed_is_not_changed_behind_their_back():
    with pytest.raises(MemoryShort, match="64 branches"):
        plan_alone(1.8, replace(FIXED, parallel=64))


def test_the_split_layout_gives_every_sequence_a_whole_path():
    made = plan_alone(16, replace(USUAL, kv_unified=False, parallel=8))
    assert made.cells == 4096 * made.sequences


def test_models_that_are_used_together_are_planned_together():
    alone = plan_alone(4)
    roomy = plan_all(BOTH, 2 * alone.total)
    assert [made.parallel for made in roomy] == [16, 16]
    assert [made.free for made in roomy] == [alone.total, alone.total]
    tight = plan_all(BOTH, 2 * alone.total - 1)
    assert max(made.parallel for made in tight) < 16
    assert sum(made.total for made in tight) < 2 * alone.total


def test_models_that_cannot_be_together_are_all_named_before_any_is_loaded():
    plan_alone(1.8)
    with pytest.raises(MemoryShort, match=r"some\.gguf .*judge\.gguf .*together .* free") as caught:
        plan_all(BOTH, int(1.8 * GIB))
    assert "--verifier judge" in (caught.value.hint or "")


def test_what_is_fixed_of_one_model_stays_while_the_other_shrinks():
    alone = plan_alone(4, FIXED).total
    held, shrunk = plan_all([(INFO, FIXED), (INFO, USUAL)], 2 * alone - GIB // 8)
    assert (held.parallel, held.kv_type) == (16, "f16")
    assert shrunk.parallel < 16
