"""The options of a request, as the command line and Python name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from ttc_cli.builtin import split_names
from ttc_cli.errors import UsageError
from ttc_cli.settings.config import Config
from ttc_cli.settings.keys import KEYS, PRESET_KEYS, parse_value
from ttc_cli.types import AnswerType


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted: flags of ``ttc solve`` by their parameters' names, then the settings."""

    given: Mapping[str, Any]
    config: Config

    def get(self, key: str, default: Any = None) -> Any:
        """The flag, else the setting, else ``default``.

        Raises:
            UsageError: as ``Config.get``.
        """
        return self.config.get(key, self.given.get(key), default)

    @property
    def knobs(self) -> dict[str, str]:
        """The strategy's own settings.

        Raises:
            UsageError: as ``read_knobs``.
        """
        return read_knobs(self.given.get("knobs") or ())

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The verifiers, the check last."""
        given, check = self.given.get("verifier"), self.given.get("check")
        texts = given or [self.config.get("verifier", default="")]
        words = tuple(word for text in texts for word in split_names(text))
        return words + ((f"check={check}",) if check else ())

    def validate(self) -> None:
        """Make sure that every value is allowed and every name known, before anything else.

        Raises:
            UsageError: a number is out of range, a file says what only the user may, or there is
                no such strategy, option, form or verifier.
        """
        for key in KEYS:
            self.get(key)
        for key in ("samples", "check_seconds"):
            if self.given.get(key) is not None:
                parse_value(key, self.given[key], f"--{key.replace('_', '-')}", PRESET_KEYS)
        strategy, form = self.get("strategy", "auto"), self.get("form", "auto")
        check_names(strategy, self.knobs, self.verifiers, form)


def read_knobs(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping.

    Raises:
        UsageError: one is not of that form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in given:
        name, sign, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name or name in found:
            wrong = "comes twice" if name in found else "is not of the form NAME=VALUE"
            raise UsageError(f"--option {word!r} {wrong}.", "Write it as: --option width=4")
        found[name] = value.strip()
    return found


def check_names(
    strategy: str, knobs: Mapping[str, str], verifiers: Sequence[str], form: str = "auto"
) -> None:
    """Make sure that all exist, before anything is downloaded or loaded.

    Raises:
        UsageError: one does not; the hint lists those that do.
    """
    from ttc_cli.forms import registry as forms
    from ttc_cli.search import registry as strategies
    from ttc_cli.verifiers import registry as judges

    if form != "auto":
        forms.find(form)
    for each in verifiers:
        judges.parse(each)
    if strategy != "auto":
        strategies.prepare(strategies.find(strategy), knobs)
    elif knobs:
        raise UsageError(
            "The strategy auto takes no options of its own.",
            "Name one with --strategy, or leave --option out.",
        )


class Asking(TypedDict, total=False):
    """How to answer one question: the flags of ``ttc solve`` as arguments.

    Attributes:
        budget: how much a little more certainty may cost: ``quick``, ``normal``, ``deep``, ``max``.
        max_tokens: hard cap on sampled tokens, over all candidates.
        max_seconds: hard cap on seconds.
        max_flops: hard cap on floating-point operations.
        max_samples: hard cap on candidates.
        samples: the N of a fixed strategy, or the most candidates of ``auto``.
        strategy: ``auto``, or a fixed one as ``majority`` or ``beam``.
        options: settings of a fixed strategy, as ``{"width": 4}``.
        form: what candidates are: ``prose``, ``program``, or ``auto``, which mixes them.
        temperature: of sampling; 0 always takes the likeliest token.
        seed: the same seed, machine and options give the same text.
        answer_type: how answers are read and compared; ``auto`` goes by the question.
        system: instructions for the model.
        schema: a JSON Schema, as JSON text, that the answer conforms to.
    """

    budget: Literal["quick", "normal", "deep", "max"]
    max_tokens: int
    max_seconds: float
    max_flops: float
    max_samples: int
    samples: int
    strategy: str
    options: Mapping[str, Any]
    form: str
    temperature: float
    seed: int
    answer_type: AnswerType | str
    system: str
    schema: str


class Loading(TypedDict, total=False):
    """Which models to load, and how: the flags of ``ttc solve`` as arguments.

    Attributes:
        server: the address of an OpenAI-compatible server that grows the candidates; the model's
            name is then its name there.
        chat_template: with ``server``: a chat template's file, or a model's name.
        parameters: with ``server``: the model's size, as ``7e9``, to count FLOPs by.
        cascade: in place of one model: several, smallest first; the next is asked where one is
            not sure.
        verifiers: what scores the candidates, as ``["judge", "prm=rlhflow-prm-8b"]``; the
            strategy's own where there are none.
        check: a command whose exit status scores a candidate; ``{file}`` is its code or answer.
        check_seconds: the time limit of one check.
        think_tokens: of a model that thinks: the longest thought before it must answer.
        wait: how often a thought that ended is made to go on.
        think_keep: the share of the surest thoughts that may go on to their end.
        threads: to compute with; all cores that may be used by default.
        gpu_layers: on the GPU; -1, the default, is all.
        verifier_gpu_layers: the same for the models of verifiers.
        parallel: candidates that grow at once.
        context: tokens of question and answer together.
        kv_type: how the KV cache is stored.
        download: fetch a model that is not on this machine (the default), or raise
            ``ModelMissing``.
    """

    server: str
    chat_template: str
    parameters: float
    cascade: Sequence[str]
    verifiers: Sequence[str]
    check: str
    check_seconds: float
    think_tokens: int
    wait: int
    think_keep: float
    threads: int
    gpu_layers: int
    verifier_gpu_layers: int
    parallel: int
    context: int
    kv_type: Literal["f16", "q8_0", "q4_0"]
    download: bool
