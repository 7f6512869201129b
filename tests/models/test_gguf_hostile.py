"""Headers made to hurt: any of them ends in a ``ModelError`` at once, and costs no memory.

Two ways of making them: a header of random fields of random types, and a sound one with bytes
flipped, inserted, deleted and repeated. ``ttc`` reads a header before llama.cpp does; the live
test shows that what ends the process there is refused here.
"""

import resource
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_gguf import FIELDS, encode, gguf, text
from tiny_models import write_model

from ttc_cli.errors import ModelCorrupt, ModelError
from ttc_cli.main import main
from ttc_cli.models.ggml import MAX_EXPERTS, MAX_LAYERS
from ttc_cli.models.gguf import GgufInfo, read_header

ROOT = Path(__file__).resolve().parents[2]
MOST_MEMORY = 8 << 20
"""Bytes that reading any header may take, beside the mapped file."""
MOST_SECONDS = 3.0
"""Of processor time."""
FUZZING = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(folder: Path, content: bytes) -> GgufInfo | ModelError:
    """What reading comes to; fails where it takes much, or raises anything but a ``ModelError``."""
    path = folder / "hostile.gguf"
    path.write_bytes(content)
    del content
    started = time.process_time()
    tracemalloc.start()
    found = read_path(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_MEMORY, f"{peak:,} bytes"
    assert time.process_time() - started < MOST_SECONDS
    if isinstance(found, ModelError):
        assert found.exit_code == 3
        assert len(found.message) < 2000
    return found


def read_path(path: Path) -> GgufInfo | ModelError:
    try:
        return read_header(path)
    except ModelError as error:
        return error


def scalar(layout: str) -> st.SearchStrategy[bytes]:
    size = struct.calcsize(layout)
    extremes = [b"\0" * size, b"\xff" * size, b"\x7f" * size, b"\x01" + b"\0" * (size - 1)]
    return st.sampled_from(extremes) | st.binary(min_size=size, max_size=size)


KINDS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?QQd", strict=True))
COUNTS = st.integers(0, 3) | st.sampled_from([1 << 16, 1 << 23, 1 << 40, (1 << 63), (1 << 64) - 1])
HOSTILE = st.sampled_from(
    ["\x1b]0;owned\x07", "../../x", "a\0b", "[/bold]", "\u202e", "\x9b31m", "x" * 2000, ""]
)
TEXTS = st.text(max_size=12).map(lambda word: word.encode("utf-8", "replace").decode()) | HOSTILE


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> bytes:
    """A typed value: sound, of an unknown type, or a list that lies about its length."""
    kind = draw(st.sampled_from([*KINDS, 8, 9, 13, 1 << 31]))
    head = struct.pack("<I", kind)
    if kind in KINDS:
        return head + draw(scalar(f"<{KINDS[kind]}"))
    if kind == 8:
        said = text(draw(TEXTS))
        return head + (said if draw(st.booleans()) else struct.pack("<Q", draw(COUNTS)) + said)
    if kind == 9 and depth < 3:
        if draw(st.booleans()):
            inner = draw(values(depth + 1))
            return head + inner[:4] + struct.pack("<Q", draw(COUNTS)) + inner[4:]
        items = draw(st.lists(scalar("<I"), max_size=4))
        return head + struct.pack("<IQ", 4, len(items)) + b"".join(items)
    return head + draw(st.binary(max_size=8))


TENSORS = st.tuples(
    TEXTS | st.sampled_from(["token_embd.weight", "output.weight"]),
    st.lists(st.sampled_from([0, 1, 32, 256, 1 << 31, 1 << 62, (1 << 64) - 1]), max_size=5),
    st.sampled_from([0, 1, 2, 12, 31, 99, (1 << 32) - 1]),
    st.sampled_from([0, 32, 128, 512, 1 << 40, (1 << 64) - 1]),
)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A GGUF whose fields have any type, are there twice, or not at all."""
    changed = draw(st.dictionaries(st.sampled_from(list(FIELDS)), values(), max_size=3))
    fields = [(key, changed.get(key, encode(value))) for key, value in FIELDS.items()]
    keys = st.sampled_from(["general.alignment", "split.count", *FIELDS]) | TEXTS
    fields += draw(st.lists(st.tuples(keys, values()), max_size=3))
    tensors = draw(st.lists(TENSORS, max_size=3))
    counts = (len(tensors), len(fields)) if draw(st.booleans()) else draw(st.tuples(COUNTS, COUNTS))
    head = b"GGUF" + struct.pack("<IQQ", 3, *counts)
    head += b"".join(text(key) + value for key, value in fields)
    for name, shape, kind, offset in tensors:
        extents = struct.pack(f"<{len(shape)}Q", *shape)
        head += text(name) + struct.pack("<I", len(shape)) + extents
        head += struct.pack("<IQ", kind, offset)
    return head + b"\0" * draw(st.sampled_from([0, 31, 4096]))


@pytest.mark.slow
@FUZZING
@given(content=headers())
def test_a_header_of_anything_ends_in_words(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content)
    assert isinstance(found, ModelError) or found.parameters > 0


SOUND = gguf(
    {"tokenizer.ggml.merges": ["a b", "b a"], "llama.rope.scaling.type": "linear"},
    tensors=[("token_embd.weight", (32, 4), 0), ("output.weight", (256, 1), 12)],
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """``SOUND`` with one to six places flipped, inserted, deleted, repeated or cut off."""
    content = bytearray(SOUND)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 24))
        match draw(st.sampled_from(["flip", "insert", "delete", "repeat", "end"])):
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                content[at:at] = draw(st.binary(min_size=length, max_size=length))
            case "delete":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[at : at + length]
            case "end":
                del content[at:]
    return bytes(content)


@pytest.mark.slow
@FUZZING
@given(content=mutations())
def test_a_mutated_header_ends_in_words(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content)
    assert isinstance(found, ModelError) or found.parameters > 0


def many(count: int, value: bytes) -> bytes:
    """``SOUND`` with ``count`` further fields that all hold ``value``."""
    total = struct.unpack_from("<Q", SOUND, 16)[0] + count
    extra = b"".join(text(f"x.{number}") + value for number in range(count))
    return SOUND[:16] + struct.pack("<Q", total) + extra + SOUND[24:]


LONG = 20 << 20
WHOLE_LISTS = struct.pack("<IIQ", 9, 0, 4096) + b"\1" * 4096


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        gguf({"tokenizer.chat_template": "x" * LONG}),
        gguf({"general.name": "\U0001f600" * (LONG // 4)}),
        many(4, struct.pack("<I", 8) + text("x" * (LONG // 4))),
        many(4000, WHOLE_LISTS),
        many(30_000, encode(7)),
        many(1, struct.pack("<IIQ", 9, 8, 1 << 18) + b"\0" * 8 * (1 << 18)),
        many(1, struct.pack("<IIQ", 9, 0, LONG) + b"\0" * LONG),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", LONG) + b"k" * LONG,
    ],
    ids=["template", "name", "texts", "lists", "fields", "strings", "bytes", "key"],
)
def test_large_headers_cost_time_but_no_memory(tmp_path: Path, content: bytes) -> None:
    read(tmp_path, content)


FATAL: list[dict[str, object]] = [
    {"llama.block_count": 0},
    {"llama.block_count": MAX_LAYERS + 1},
    {"llama.block_count": (1 << 32) - 1},
    {"llama.nextn_predict_layers": 77},
    {"llama.expert_count": MAX_EXPERTS + 1, "llama.expert_used_count": 2},
    {"llama.expert_count": 4},
    {"llama.expert_used_count": 4},
    {"llama.expert_count": 4, "llama.expert_used_count": 5},
    {"llama.expert_count": 4, "llama.expert_used_count": 2, "llama.expert_group_count": 4},
    {"llama.expert_count": 4, "llama.expert_used_count": 2, "llama.expert_group_count": 3},
    {"llama.rope.scaling.type": "spiral"},
]


@pytest.mark.parametrize("changes", FATAL, ids=lambda changes: "-".join(map(str, changes.values())))
def test_what_llama_cpp_asserts_is_refused_before(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    found = read(tmp_path, gguf(changes))
    assert isinstance(found, ModelCorrupt), found


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("qwen35", {"ssm.time_step_rank": 0}),
        ("qwen35", {"ssm.group_count": 3}),
        ("qwen35", {"ssm.conv_kernel": 1}),
        ("qwen35", {"ssm.inner_size": 96}),
        ("qwen35", {"full_attention_interval": 0}),
        ("granitehybrid", {"ssm.inner_size": 64}),
        ("granitehybrid", {"ssm.group_count": 0}),
        ("mamba2", {"ssm.time_step_rank": 5}),
        ("lfm2", {"shortconv.l_cache": 1}),
        ("gemma4", {"attention.shared_kv_layers": 5}),
        ("gemma4", {"attention.shared_kv_layers": 4}),
        ("gemma4", {"attention.sliding_window_pattern": [False] * 6}),
    ],
    ids=str,
)
def test_a_running_state_or_shared_keys_that_cannot_be_are_refused_before(
    tmp_path: Path, architecture: str, changes: dict[str, object]
) -> None:
    read_header(write_model(architecture, tmp_path / "sound.gguf"))
    with pytest.raises(ModelCorrupt, match=r"it states|convolutions|layers"):
        read_header(write_model(architecture, tmp_path / "broken.gguf", **changes))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_an_epsilon_that_is_no_small_number_is_refused(tmp_path: Path, value: float) -> None:
    field = text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, value)
    total = struct.unpack_from("<Q", SOUND, 16)[0] + 1
    content = SOUND[:16] + struct.pack("<Q", total) + field + SOUND[24:]
    assert isinstance(read(tmp_path, content), ModelCorrupt)


@pytest.mark.parametrize(
    ("key", "value", "sound"),
    [
        *(("freq_base", value, False) for value in (float("nan"), float("inf"), 0.0, -0.0, -1.0)),
        ("freq_base_swa", 0.0, False),
        ("scaling.factor", float("nan"), False),
        ("scaling.factor", -4.0, False),
        ("scaling.factor", 0.0, True),
        ("freq_base", 1e6, True),
    ],
)
def test_rotary_embeddings_are_of_numbers(
    tmp_path: Path, key: str, value: float, sound: bool
) -> None:
    field = text(f"llama.rope.{key}") + struct.pack("<If", 6, value)
    total = struct.unpack_from("<Q", SOUND, 16)[0] + 1
    content = SOUND[:16] + struct.pack("<Q", total) + field + SOUND[24:]
    found = read(tmp_path, content)
    assert isinstance(found, GgufInfo if sound else ModelCorrupt)
    assert sound or f"rope.{key} is" in found.message


def test_a_sound_expert_model_is_read(tmp_path: Path) -> None:
    experts = {"llama.expert_count": 8, "llama.expert_used_count": 2}
    groups = {"llama.expert_group_count": 4, "llama.expert_group_used_count": 2}
    assert isinstance(read(tmp_path, gguf({**experts, **groups})), GgufInfo)


@pytest.mark.parametrize("command", [["models", "show"], ["solve", "--dry-run", "hi", "-m"]])
def test_a_hostile_file_is_exit_3_in_clean_words(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil\x1b]0;owned\x07\u202e.gguf"
    path.write_bytes(gguf({"general.architecture": "mamba\x1b[2J", "llama.block_count": 0}))
    assert main([*command, str(path)]) == 3
    out, err = capsys.readouterr()
    assert "error: " in err
    assert "hint: " in err
    for bad in ("\x1b", "\x07", "\u202e", "Traceback"):
        assert bad not in out + err


@pytest.mark.live
def test_what_passes_here_does_not_end_the_process_there(tmp_path: Path, tiny_model: Path) -> None:
    """A real header with each whole number and each fraction of it at its extremes."""
    header = tiny_model.read_bytes()[: 4 << 20]
    size = tiny_model.stat().st_size
    passing = []
    for key, (at, extremes) in numbers_in(header).items():
        for number, extreme in enumerate(extremes):
            path = tmp_path / f"{key}.{number}.gguf"
            with path.open("wb") as file:  # the weights are a hole: zeros that take no disk
                file.write(header[:at] + extreme + header[at + 4 :])
                file.truncate(size)
            if not isinstance(read_path(path), ModelError):
                passing.append(path)
    assert len(passing) > 15
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, passing)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-500:])
    assert done.stdout.count("read ") == len(passing)


def numbers_in(header: bytes) -> dict[str, tuple[int, list[bytes]]]:
    """Where llama's hyperparameters lie in ``header``, and what to put there."""
    whole = [struct.pack("<I", value) for value in (0, 3, 513, (1 << 32) - 1)]
    broken = [struct.pack("<f", value) for value in (-1.0, float("nan"))]
    found = {}
    at = header.find(b"llama.")
    while 0 <= at < 1 << 16:
        length = struct.unpack_from("<Q", header, at - 8)[0]
        if length < 100:
            end = at + length
            kind = struct.unpack_from("<I", header, end)[0]
            if kind in (4, 6):
                key = header[at:end].decode()
                found[key] = (end + 4, whole if kind == 4 else broken)
        at = header.find(b"llama.", at + 1)
    return found


CHILD = textwrap.dedent(
    """
    import contextlib, sys
    from pathlib import Path
    from ttc_cli.engines.llamacpp import native
    from ttc_cli.errors import TtcError
    for name in sys.argv[1:]:
        print("read", name, flush=True)
        with contextlib.suppress(TtcError):
            model = native.NativeModel(Path(name))
            with contextlib.suppress(TtcError):
                context = native.Context(model, cells=64, sequences=1, batch=8, threads=1)
                context.decode([1, 2, 3], [0, 1, 2], [0, 0, 0], [2])
                context.close()
            model.close()
    """
)
