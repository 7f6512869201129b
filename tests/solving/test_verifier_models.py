from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_gguf import gguf

from ttc_cli.engines.llamacpp import Settings
from ttc_cli.errors import MemoryShort, ModelMissing, UsageError
from ttc_cli.main import main
from ttc_cli.models import hardware
from ttc_cli.models.files import resolve
from ttc_cli.models.registry import load_registry
from ttc_cli.solving import loading
from ttc_cli.solving.choosing import decline, obtain_model
from ttc_cli.solving.verifier_models import choose_verifier_models, warn_of


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def file(home) -> Path:
    path = home / "small.gguf"
    path.write_bytes(gguf())
    return path


def test_the_registry_says_how_a_model_is_asked(home) -> None:
    words, (model,) = choose_verifier_models(["judge", "prm=rlhflow-prm-8b:0.5"], Settings())
    assert words == ("judge", "prm=rlhflow-prm-8b@rlhflow:0.5")
    assert model.asked == "rlhflow-prm-8b"
    assert model.model.path is None


def test_the_shipped_verifier_is_pinned() -> None:
    entry = load_registry().require("rlhflow-prm-8b")
    assert (entry.kind, entry.format) == ("verifier", "rlhflow")
    assert entry.sha256 == "254c7ccc4ea3818fe5f6e3ffd5500c779b02058b98f9ce9a3856e54106d008e3"


def test_a_missing_verifier_is_asked_for_as_a_missing_generator_is(home) -> None:
    _, (model,) = choose_verifier_models(["prm=rlhflow-prm-8b"], Settings())
    with pytest.raises(ModelMissing) as caught:
        obtain_model(model.model, decline)
    assert caught.value.exit_code == 3
    assert "ttc models pull rlhflow-prm-8b" in (caught.value.hint or "")


def test_a_file_must_come_with_its_format(file) -> None:
    with pytest.raises(UsageError, match="does not know the prompt format") as caught:
        choose_verifier_models([f"prm={file}"], Settings())
    assert "@FORMAT" in (caught.value.hint or "")
    words, (model,) = choose_verifier_models([f"prm={file}@versaprm@mean"], Settings())
    assert words == (f"prm={file}@versaprm@mean",)
    assert model.model.path == file


@pytest.mark.parametrize("word", ["prm", "prm=", "prm=nonesuch", "prm=no/such.gguf@versaprm"])
def test_models_that_do_not_exist_are_refused_before_anything_is_loaded(home, word) -> None:
    with pytest.raises((UsageError, ModelMissing)):
        choose_verifier_models([word], Settings())


def test_models_that_were_not_trained_for_it_are_warned_of(file) -> None:
    said: list[str] = []
    _, models = choose_verifier_models(
        [f"prm={file}@versaprm", "prm=rlhflow-prm-8b", "prm=qwen2.5-coder-0.5b@versaprm"],
        Settings(),
    )
    warn_of(models, said.append)
    assert len(said) == 2
    assert all("scores mean nothing" in each for each in said)


def test_an_implicit_process_reward_model_comes_with_its_reference(file) -> None:
    said: list[str] = []
    word = f"implicit={file}@qwen2.5-coder-0.5b:0.5"
    words, models = choose_verifier_models([word], Settings())
    assert words == (word,)
    assert [each.asked for each in models] == [str(file), "qwen2.5-coder-0.5b"]
    warn_of(models, said.append)
    assert [str(file) in each for each in said] == [True]


class Opened:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def load(file, monkeypatch):
    """Loads the file beside another one for a verifier, each by ``open_one``."""

    def load_both(open_one, second: Path, **settings: int) -> loading.Loaded:
        monkeypatch.setattr(loading, "open_engine", open_one)
        _, models = choose_verifier_models([f"prm={second}@versaprm"], Settings(**settings))
        return loading.load_models(resolve(str(file)), Settings(gpu_layers=3), models)

    return load_both


def test_the_same_file_is_loaded_once(file, home, load) -> None:
    link = home / "link.gguf"
    link.symlink_to(file)
    opened: list[Opened] = []

    def open_one(path, settings, name, *planned):
        assert not planned
        opened.append(Opened(path))
        return opened[-1]

    loaded = load(open_one, link)
    assert opened == loaded.engines == [loaded.engine]
    assert loaded.verifying == {str(link): loaded.engine}


@pytest.fixture
def second(home) -> Path:
    path = home / "second.gguf"
    path.write_bytes(gguf())
    return path


def test_two_models_are_loaded_within_one_plan_each_with_its_settings(file, second, load) -> None:
    seen = []

    def open_one(path, settings, name, planned):
        seen.append((path, settings.gpu_layers, planned))
        return Opened(path)

    loaded = load(open_one, second, gpu_layers=7)
    assert [(path, layers) for path, layers, _ in seen] == [(file, 3), (second, 7)]
    assert all(planned.total <= planned.free for _, _, planned in seen)
    assert loaded.verifying[str(second)] is not loaded.engine


def test_two_models_that_do_not_fit_together_are_not_loaded(second, load, monkeypatch) -> None:
    free = hardware.Memory(total=1 << 30, free=1 << 20, limited=False)
    monkeypatch.setattr(hardware, "read_memory", lambda: free)

    def open_one(*given):
        raise AssertionError("nothing may be loaded")

    with pytest.raises(MemoryShort, match=r"small\.gguf .*second\.gguf"):
        load(open_one, second)


def test_the_first_engine_is_closed_where_the_second_fails(second, load) -> None:
    opened: list[Opened] = []

    def open_one(path, settings, name, planned):
        if opened:
            raise MemoryShort("no")
        opened.append(Opened(path))
        return opened[0]

    with pytest.raises(MemoryShort):
        load(open_one, second)
    assert opened[0].closed


OWN = 256 + 4 * 768
"""Tokens of a short question and of four candidates."""


@pytest.mark.parametrize(
    ("flags", "tokens"),
    [
        ("-m {one} --strategy majority", OWN),
        ("-m {one} --strategy majority --max-tokens 100", 256 + 100),
        ("-m {one} --strategy best-of-n --verifier confidence", OWN),
        ("-m {one} --strategy best-of-n", OWN + 4 * 64),
        ("-m {one} --answer-type free", OWN),
        ("-m {one} --answer-type free --verifier judge", OWN + 4 * 64),
        ("-m {one} --strategy best-of-n --verifier generative", OWN + 4 * (256 + 768 + 512)),
        ("-m {one} --strategy best-of-n --verifier prm={two}@rlhflow", OWN + 4 * (256 + 768)),
        ("--cascade {one},{two} --strategy majority", 2 * OWN),
        ("--cascade {one},absent --strategy majority", None),
    ],
)
def test_a_dry_run_counts_the_flops_of_all_that_is_read(file, capsys, flags, tokens) -> None:
    other = file.with_name("other.gguf")
    other.write_bytes(file.read_bytes())
    words = flags.format(one=file, two=other).replace("absent", "qwen2.5-coder-0.5b").split()
    assert main(["solve", "q", "--samples", "4", "--dry-run", "--json", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    weights = 32 * 4
    assert plan["max_flops"] == (None if tokens is None else 2 * weights * tokens)
