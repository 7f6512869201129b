"""What ``ttc bench`` and ``ttc calibrate`` share: a pool of samples, drawn once, and progress."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttc_cli import crash
from ttc_cli.errors import UsageError
from ttc_cli.output import Output, Ticker
from ttc_cli.paths import write_whole
from ttc_cli.signals import run_aside, run_tasks

if TYPE_CHECKING:
    from ttc_cli.bench.datasets import Question
    from ttc_cli.bench.pool import Pool
    from ttc_cli.engines.base import Engine
    from ttc_cli.models.files import Model
    from ttc_cli.types import Sampling

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A JSONL, CSV or Parquet file of labelled questions, or one of gsm8k, gsm8k-train, "
        "math500, aime, arc, mmlu from the hub.",
    ),
]
Limit = Annotated[int | None, typer.Option(help="Only the first N questions.", min=1, metavar="N")]
Part = Annotated[
    str | None, typer.Option(help="Questions of the data, as 0:50.", metavar="START:STOP")
]
Samples = Annotated[int, typer.Option(help="Candidates drawn for a question.", min=2, metavar="N")]
Temperature = Annotated[
    float | None,
    typer.Option(help="Of the samples.  [default: the model's own]", min=0.0, metavar="T"),
]
MaxTokens = Annotated[int, typer.Option(help="Limit of a candidate.", min=1)]
Seed = Annotated[int, typer.Option(help="Of the samples.", min=0)]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--pools", help="Folder of the pools.  [default: pools in ttc's data folder]", metavar="DIR"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]


@dataclass(frozen=True, slots=True)
class Wish:
    """The samples that are wanted, the same for every model; ``data`` is what they are called.

    ``folder`` is where pools lie.
    """

    data: str
    questions: Sequence[Question]
    samples: int
    temperature: float | None
    max_tokens: int
    seed: int
    folder: Path
    threads: int | None = None
    gpu_layers: int | None = None
    parallel: int | None = None

    def place(self, model: Model, sampling: Sampling) -> Path:
        """The pool's file: another way of drawing has another name."""
        from ttc_cli.models.files import read_hash
        from ttc_cli.solving.choosing import label_model

        drawn = {**asdict(sampling), "max_tokens": self.max_tokens, "seed": self.seed}
        key = hashlib.sha256(f"{read_hash(model)} {json.dumps(drawn, sort_keys=True)}".encode())
        label = "".join(c if c.isalnum() or c in "._-" else "_" for c in label_model(model))
        return self.folder / f"{label}-{self.data}-{key.hexdigest()[:8]}.jsonl"


def make_wish(
    data: str,
    limit: int | None,
    part: str | None,
    *,
    samples: int,
    temperature: float | None,
    max_tokens: int,
    seed: int,
    folder: Path | None,
    threads: int | None,
    gpu_layers: int | None,
    parallel: int | None,
) -> Wish:
    """The wish that the flags, and the configuration behind them, speak of.

    Raises:
        UsageError: flags contradict each other, or the data cannot be understood.
        NetworkError: a named set is not here and the hub does not give it.
    """
    from ttc_cli import paths
    from ttc_cli.bench import datasets
    from ttc_cli.settings.config import load_config

    if limit is not None and part is not None:
        raise UsageError("--limit and --part contradict each other.", "leave one out")
    config = load_config()
    return Wish(
        data=Path(data).stem,
        questions=datasets.find(data, f":{limit}" if limit is not None else part),
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        folder=folder or paths.data_dir() / "pools",
        threads=config.get("threads", threads),
        gpu_layers=config.get("gpu_layers", gpu_layers),
        parallel=config.get("parallel", parallel),
    )


def obtain_pool(
    wish: Wish, model: Model, sampling: Sampling, loader: Loader, out: Output
) -> tuple[Pool, Path]:
    """The pool with all that is wanted in it, and its file; what is missing is drawn.

    Raises:
        UsageError: the pool was drawn in another way, or another process writes it.
        TtcError: the model cannot be loaded, or fails; what was drawn is kept.
    """
    from ttc_cli.bench import drawing
    from ttc_cli.bench import pool as pools
    from ttc_cli.bench.drawing import describe
    from ttc_cli.errors import TemplateError
    from ttc_cli.models.files import read_hash
    from ttc_cli.prompts import Chat
    from ttc_cli.verifiers.judge import JudgeVerifier
    from ttc_cli.views import words

    file = wish.place(model, sampling)
    packed = file.with_name(f"{file.name}.gz")  # as pools are published
    there = file if file.is_file() else packed
    if there.is_file() and (known := _read_current(there)) is not None:
        have = known.questions
        if all(
            question.id in have and len(have[question.id].samples) >= wish.samples
            for question in wish.questions
        ):
            return known, there
        if there is packed:
            write_whole(file, gzip.decompress(packed.read_bytes()))
    engine = loader.load()
    chat = Chat(engine.info, model.entry.template_arguments)
    header = describe(
        engine,
        chat,
        sha256=read_hash(model),
        sampling=sampling,
        max_tokens=wish.max_tokens,
        seed=wish.seed,
        build=loader.build(),
        template_arguments=dict(model.entry.template_arguments),
        settings={"threads": wish.threads},
    )
    try:
        judge = JudgeVerifier(chat)
    except TemplateError:  # it can be asked once, but not asked back
        judge = None
    ticker = Ticker(out)

    def tell(done: int, total: int, tokens: int, seconds: float) -> None:
        if not total:
            return
        rate = f", {tokens / seconds:.0f} tokens/s" if seconds else ""
        left = f", {words.seconds(seconds / done * (total - done))} to go" if done else ""
        ticker.tell(f"drawing: {done} of {total} questions{rate}{left}", last=done == total)

    with pools.write(file, header) as writer:
        run_tasks(
            drawing.draw(
                engine,
                chat,
                wish.questions,
                writer,
                samples=wish.samples,
                judge=judge,
                states=bool(engine.info.states),
                told=tell,
            )
        )
        return writer.pool, file


def _read_current(file: Path) -> Pool | None:
    """The pool in ``file``, unless what the model is asked has changed since."""
    from ttc_cli.bench import pool as pools
    from ttc_cli.prompts import Chat, hash_prompts

    known = pools.read(file)
    header = known.header
    asked = hash_prompts(Chat(known.recording().info, header.template_arguments))
    return known if asked == header.prompt_format else None


class Loader(contextlib.AbstractContextManager["Loader"]):
    """Loads the model when it is first needed, and frees it once."""

    def __init__(self, wish: Wish, model: Model, out: Output, *, certainty: bool = False) -> None:
        self._wish, self._model, self._out = wish, model, out
        self._certainty = certainty
        self._engine: Engine | None = None
        self._watch = contextlib.ExitStack()

    def load(self) -> Engine:
        """The engine, with room for the longest question."""
        if self._engine is None:
            from ttc_cli.engines.llamacpp import Settings
            from ttc_cli.solving import choosing as planning
            from ttc_cli.solving import solver as thinking
            from ttc_cli.types import Budget

            assert self._model.path is not None
            self._out.status(f"loading {planning.label_model(self._model)} …")
            wish = self._wish
            limits = Budget(tokens_per_candidate=wish.max_tokens)
            longest = max((each.problem.text for each in wish.questions), key=len)
            settings = Settings(
                threads=wish.threads,
                gpu_layers=wish.gpu_layers,
                parallel=wish.parallel,
                answer=wish.max_tokens,
                context=planning.estimate_context(longest, limits),
                certainty=self._certainty,
            )
            label = planning.label_model(self._model)
            self._watch.enter_context(crash.watched())
            path = self._model.path
            self._engine = run_aside(lambda: thinking.open_engine(path, settings, label))
            self._out.status("")
        return self._engine

    @staticmethod
    def build() -> str:
        """Which library draws."""
        from importlib.metadata import version

        return f"llama-cpp-python {version('llama-cpp-python')}"

    def close(self) -> None:
        """Free the model."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._watch.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
