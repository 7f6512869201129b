"""What ``ttc bench`` and ``ttc calibrate`` share: a pool of samples, drawn once, and its model."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from ttc_cli import crash
from ttc_cli.bench import drawing
from ttc_cli.bench.datasets import LabelledQuestion, find
from ttc_cli.bench.pool import SamplePool
from ttc_cli.commands import _flags as flags
from ttc_cli.engines.base import Engine
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.errors import UsageError
from ttc_cli.models import files
from ttc_cli.output import Output, Ticker
from ttc_cli.paths import data_dir
from ttc_cli.prompts import Chat
from ttc_cli.settings.config import load_config
from ttc_cli.signals import run_aside, run_tasks
from ttc_cli.solving import choosing
from ttc_cli.solving.loading import load_models
from ttc_cli.solving.request import label_model
from ttc_cli.types import Budget
from ttc_cli.views import words


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """The samples that are wanted of any model, which is loaded under ``settings``.

    ``data`` is what the questions are called.
    """

    data: str
    questions: Sequence[LabelledQuestion]
    asked: flags.Pool
    settings: Settings


def read_request(data: str, asked: flags.Pool, machine: flags.Machine) -> PoolRequest:
    """What the flags, and the configuration behind them, ask for.

    Raises:
        UsageError: flags contradict each other, or the data cannot be understood.
        NetworkError: a named set is not here and the hub does not give it.
    """
    if asked.limit is not None and asked.part is not None:
        raise UsageError("--limit and --part contradict each other.", "leave one out")
    config = load_config()
    questions = find(data, f":{asked.limit}" if asked.limit is not None else asked.part)
    longest = max((each.problem.text for each in questions), key=len)
    settings = Settings(
        threads=config.get("threads", machine.threads),
        gpu_layers=config.get("gpu_layers", machine.gpu_layers),
        parallel=config.get("parallel", asked.parallel),
        answer=asked.max_tokens,
        context=choosing.estimate_context(longest, Budget(tokens_per_candidate=asked.max_tokens)),
    )
    return PoolRequest(Path(data).stem, questions, asked, settings)


class PoolModel(contextlib.AbstractContextManager["PoolModel"]):
    """The model of a pool: on this machine from the start, loaded when it is first needed."""

    def __init__(
        self,
        request: PoolRequest,
        name: str | None,
        out: Output,
        *,
        yes: bool,
        certainty: bool = False,
    ) -> None:
        """Find the model called ``name`` and, with ``yes``, download it if it is missing.

        Raises:
            TtcError: as ``choose_model`` and ``obtain_model``.
        """
        model = choosing.choose_model(name)
        self._model = choosing.obtain_model(model, None if yes else choosing.decline)
        self._request, self._out = request, out
        self._settings = replace(request.settings, certainty=certainty)
        self._engine: Engine | None = None
        self._watch = contextlib.ExitStack()
        self.label = label_model(model)
        self.sampling = choosing.choose_sampling(model, request.asked.temperature)

    @property
    def file(self) -> Path:
        """The pool's: another way of drawing has another name."""
        asked = self._request.asked
        drawn = asdict(self.sampling) | {"max_tokens": asked.max_tokens, "seed": asked.seed}
        text = f"{files.read_hash(self._model)} {json.dumps(drawn, sort_keys=True)}"
        key = hashlib.sha256(text.encode()).hexdigest()[:8]
        label = "".join(c if c.isalnum() or c in "._-" else "_" for c in self.label)
        folder = asked.folder or data_dir() / "pools"
        return folder / f"{label}-{self._request.data}-{key}.jsonl"

    def load(self) -> tuple[Engine, Chat]:
        """The engine, with room for the longest question, and its chat template."""
        if self._engine is None:
            self._out.status(f"loading {self.label} …")
            self._watch.enter_context(crash.watched())
            self._engine = run_aside(lambda: load_models(self._model, self._settings)).engine
            self._out.status("")
        return self._engine, Chat(self._engine.info, self._model.entry.template_arguments)

    def obtain_pool(self) -> tuple[SamplePool, Path]:
        """The pool with all that is wanted in it, and its file; what is missing is drawn.

        Raises:
            UsageError: the pool was drawn in another way, or another process writes it.
            TtcError: the model cannot be loaded, or fails; what was drawn is kept.
        """
        request, file, ticker = self._request, self.file, Ticker(self._out)
        whole = drawing.read_whole(file, request.questions, request.asked.samples)
        if whole is not None:
            return whole

        def tell(done: int, total: int, tokens: int, seconds: float) -> None:
            if total:
                text = f"drawing: {words.progress(done, total, tokens, seconds)}"
                ticker.tell(text, last=done == total)

        engine, chat = self.load()
        header = drawing.describe(
            engine,
            chat,
            sha256=files.read_hash(self._model),
            sampling=self.sampling,
            max_tokens=request.asked.max_tokens,
            seed=request.asked.seed,
            build=f"llama-cpp-python {version('llama-cpp-python')}",
            template_arguments=dict(self._model.entry.template_arguments),
            settings={"threads": request.settings.threads},
        )
        filling = drawing.fill(
            file, header, engine, chat, request.questions, request.asked.samples, progress=tell
        )
        return run_tasks(filling), file

    def close(self) -> None:
        """Free the model."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._watch.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
