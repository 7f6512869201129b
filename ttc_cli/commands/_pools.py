"""What ``ttc bench`` and ``ttc calibrate`` share: a pool of samples, drawn once, and its model."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from ttc_cli import crash
from ttc_cli.answers import resolve
from ttc_cli.bench import drawing
from ttc_cli.bench.contenders import PROGRAMS
from ttc_cli.bench.datasets import LabelledQuestion, find
from ttc_cli.bench.pool import SamplePool
from ttc_cli.commands import _flags as flags
from ttc_cli.engines.base import Engine
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.errors import UsageError
from ttc_cli.forms import registry as forms
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.models import files
from ttc_cli.output import Output, Ticker
from ttc_cli.paths import data_dir
from ttc_cli.prompts import Chat
from ttc_cli.settings.config import load_config
from ttc_cli.signals import run_aside, run_tasks
from ttc_cli.solving import choosing
from ttc_cli.solving.loading import load_models
from ttc_cli.solving.request import label_model
from ttc_cli.types import PROGRAM, PROSE, AnswerType, Budget, Sampling
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
        states: bool = False,
    ) -> None:
        """Find the model called ``name`` and, with ``yes``, download it if it is missing.

        ``states``: its pools must hold hidden states, of all forms.

        Raises:
            TtcError: as ``choose_model`` and ``obtain_model``.
        """
        model = choosing.choose_model(name)
        self._model = choosing.obtain_model(model, None if yes else choosing.decline)
        self._request, self._out = request, out
        self._states = frozenset((PROSE, PROGRAM) if states else ())
        self._settings = replace(request.settings, certainty=certainty)
        self._engine: Engine | None = None
        self._watch = contextlib.ExitStack()
        self.label = label_model(model)

    def want_states(self, forms: Iterable[str]) -> None:
        """From now on the pools of ``forms`` must hold hidden states."""
        self._states = frozenset(forms)

    def choose_sampling(self, form: str = PROSE) -> Sampling:
        """How candidates of ``form`` are drawn."""
        asked, own = self._request.asked.temperature, forms.find(form).temperature
        return choosing.choose_sampling(self._model, own if asked is None else asked)

    def find_file(self, form: str = PROSE) -> Path:
        """That of the pool of ``form``: another way of drawing has another name."""
        asked = self._request.asked
        drawn = asdict(self.choose_sampling(form))
        drawn |= {"max_tokens": asked.max_tokens, "seed": asked.seed}
        if form != PROSE:
            drawn["form"] = form
        text = f"{files.read_hash(self._model)} {json.dumps(drawn, sort_keys=True)}"
        key = hashlib.sha256(text.encode()).hexdigest()[:8]
        label = "".join(c if c.isalnum() or c in "._-" else "_" for c in self.label)
        folder = asked.folder or data_dir() / "pools"
        last = key if form == PROSE else f"{key}-{form}"
        return folder / f"{label}-{self._request.data}-{last}.jsonl"

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
        return self._obtain(PROSE, self._request.questions, self._request.asked.samples)

    def obtain_programs(
        self, wanted: Callable[[AnswerType], bool]
    ) -> tuple[SamplePool, Path] | None:
        """The pool of programs and its file; None where there are to be none.

        Where nobody said how many, ``wanted`` says for which answers they are drawn.

        Raises:
            UsageError: some were asked for, and the engine cannot draw programs; or as
                ``obtain_pool``.
            TtcError: as ``obtain_pool``.
        """
        asked, form = self._request.asked.programs, forms.find(PROGRAM)
        types = {each.id: resolve(each.problem).answer_type for each in self._request.questions}
        questions = [
            each
            for each in self._request.questions
            if form.states(types[each.id]) and (asked is not None or wanted(types[each.id]))
        ]
        if asked == 0 or not questions:
            return None
        samples = PROGRAMS if asked is None else asked
        whole = self._read_whole(PROGRAM, questions, samples)
        if whole is not None:
            return whole
        if not self.load()[0].info.marks:
            if asked is None:
                return None
            raise UsageError("This engine cannot stop where a program ends.", "--programs 0")
        return self._obtain(PROGRAM, questions, samples)

    def _obtain(
        self, form: str, questions: Sequence[LabelledQuestion], samples: int
    ) -> tuple[SamplePool, Path]:
        request, file, ticker = self._request, self.find_file(form), Ticker(self._out)
        whole = self._read_whole(form, questions, samples)
        if whole is not None:
            return whole
        what = "drawing" if form == PROSE else f"drawing {form}s"

        def tell(done: int, total: int, tokens: int, seconds: float) -> None:
            if total:
                text = f"{what}: {words.progress(done, total, tokens, seconds)}"
                ticker.tell(text, last=done == total)

        engine, chat = self.load()
        header = drawing.describe(
            engine,
            chat,
            sha256=files.read_hash(self._model),
            sampling=self.choose_sampling(form),
            max_tokens=request.asked.max_tokens,
            seed=request.asked.seed,
            build=f"llama-cpp-python {version('llama-cpp-python')}",
            template_arguments=dict(self._model.entry.template_arguments),
            settings={"threads": request.settings.threads},
            form=form,
        )

        async def fill() -> SamplePool:
            async with Interpreters(warn=self._out.warn) as interpreter:
                return await drawing.fill(
                    file,
                    header,
                    engine,
                    chat,
                    questions,
                    samples,
                    interpreter,
                    tell,
                    states=form in self._states,
                )

        return run_tasks(fill()), file

    def _read_whole(
        self, form: str, questions: Sequence[LabelledQuestion], samples: int
    ) -> tuple[SamplePool, Path] | None:
        file, states = self.find_file(form), form in self._states
        return drawing.read_whole(file, questions, samples, states=states)

    def close(self) -> None:
        """Free the model."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._watch.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
