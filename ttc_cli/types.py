"""The nouns of ttc: frozen values that every room may hold and none may change.

This module imports nothing of ours. What a value *does* lives elsewhere: extraction and
equivalence of answers in ``answers``, spending in ``ledger``, deciding in ``policy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class AnswerType(StrEnum):
    """How the answers of two candidates are compared.

    ``AUTO`` is resolved from the question before the search starts. ``FREE`` has no comparable
    final answer: a finished candidate is its own answer, and likeness or a verifier chooses. For
    ``CODE``, where only programs that differ in layout and comments alone are the same answer, a
    verifier does.
    """

    AUTO = "auto"
    NUMBER = "number"
    LATEX = "latex"
    CHOICE = "choice"
    BOOLEAN = "boolean"
    TEXT = "text"
    CODE = "code"
    JSON = "json"
    FREE = "free"


CHECK = "check"
"""The verifier that is the user's own command: it knows, where others guess."""

ARITHMETIC = "arithmetic"
"""The verifier that works out the sums that a candidate wrote."""

LIKENESS = "likeness"
"""What chooses among free texts, and its scores: how much one has in common with the others."""


class Finish(StrEnum):
    """Why a branch stopped growing."""

    STOP = "stop"
    """The model ended its turn."""
    STEP = "step"
    """Paused at a step boundary; it can go on from there."""
    LENGTH = "length"
    """Its own token limit was reached."""
    CONTEXT = "context"
    """The model's context window is full."""
    MARK = "mark"
    """It wrote one of the texts it was told to stop at; it can go on from there."""
    UNSURE = "unsure"
    """Its confidence fell below the floor it was given; it can go on from there."""
    CUT = "cut"
    """The server that it grows on ended it, for a reason of its own or for none."""
    LOOP = "loop"
    """It repeated itself and would not have ended."""
    PRUNED = "pruned"
    """The search dropped it at a step boundary, in favour of others."""
    CANCELLED = "cancelled"
    """The search no longer wanted it."""
    BUDGET = "budget"
    """A hard cap of the run was reached."""


WHOLE = (Finish.STOP, Finish.LENGTH, Finish.CONTEXT, Finish.LOOP)
"""Ends that a candidate comes to by itself or at its own limit, and not because of others."""


class Role(StrEnum):
    """On whose account compute is booked."""

    GENERATOR = "generator"
    VERIFIER = "verifier"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. ``role`` is ``system``, ``user``, ``assistant`` or ``tool``.

    ``calls`` are the tools that an assistant's turn called: a JSON array of ``{"id", "name",
    "arguments"}``, the arguments an object.
    """

    role: str
    content: str
    calls: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """How a chat puts a question: the whole of it, not the last turn alone.

    Attributes:
        turns: of user, assistant and tools; the last is what the model replies to. Empty: the
            question's own text is continued as it stands, without the chat template.
        tools: that the model may call: a JSON array as the template takes it, or "".
        stop: texts at which a candidate is complete; its text holds the one that it wrote.
    """

    turns: tuple[Message, ...] = ()
    tools: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """A question as the user put it.

    ``schema`` is a JSON Schema, as JSON text, that an answer of type ``JSON`` must conform to.
    ``conversation`` is what the question, ``text``, stands at the end of; None where it stands
    alone.
    """

    text: str
    answer_type: AnswerType = AnswerType.AUTO
    system: str | None = None
    schema: str | None = None
    conversation: Conversation | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a prompt. ``control``: control tokens written out in it are read as such.

    ``piece``: the text is one piece of the vocabulary, spelt as the vocabulary spells it
    (SentencePiece's ``▁ки``), and is read as that token whatever the tokeniser would make of it.
    """

    text: str
    control: bool = False
    piece: bool = False


Prompt = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and can do.

    ``parameters`` counts the weights that a token is multiplied with (FLOPs = 2 × parameters ×
    tokens). ``parallel`` is how many branches grow at once. ``control_tokens`` spells out the
    template's ``bos_token`` and ``eos_token``. ``scores``: ``score`` works; ``steps``:
    ``Until.STEP``, ``append``, ``marks`` and growing on work; ``grammars``: ``Grow.grammar`` works;
    ``states``: the length of the vectors that ``read_states`` gives, 0 where it does not work.
    ``marks``: ``Grow.marks`` works. ``offloaded``: it does not compute on this machine's processor.
    ``elsewhere``: nor on this machine at all, so that whatever it is asked leaves it.
    """

    name: str
    model: str
    parameters: int
    context: int
    parallel: int
    chat_template: str | None
    control_tokens: Mapping[str, str] = field(default_factory=dict)
    scores: bool = True
    steps: bool = True
    grammars: bool = False
    states: int = 0
    marks: bool = True
    offloaded: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn: ``temperature`` 0 is greedy, ``top_k`` 0 and ``top_p`` 1 off."""

    temperature: float = 0.5
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.0


@dataclass(frozen=True, slots=True)
class Confidence:
    """Statistics of the distributions a candidate was sampled from, in nats.

    ``group`` values are DeepConf's token confidence, −(mean log-probability of the 20 likeliest
    tokens), averaged over a window (arXiv 2508.15260): ≥ 0, greater means more peaked.
    """

    mean_logprob: float
    """Mean log-probability of the drawn tokens."""
    tail_logprob: float
    """The same over the last 32 tokens."""
    lowest_group: float
    """The least confident window of 32 tokens."""
    tail_group: float
    """Token confidence over the last 32 tokens."""
    mean_group: float | None = None
    """Token confidence over all tokens."""
    bottom_group: float | None = None
    """The mean of the least confident tenth of the windows of 32 tokens."""
    certainty: float | None = None
    """Self-certainty, −(1/nV) Σ log(V·p) (arXiv 2502.18581); None unless it was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer as a candidate stated it.

    ``text`` is what a person reads; ``key`` the normalised form that plain comparison uses.
    """

    text: str
    key: str
    type: AnswerType

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Score:
    """What a verifier said: ``value`` in [0, 1], of one step, or of the whole (``step`` None).

    ``weight`` is how much it counts beside the scores of other verifiers; 0 is shown only.
    ``remark`` says why in words that the model can revise its solution by; "" where the verifier
    gives none.
    """

    verifier: str
    value: float
    step: int | None = None
    weight: float = 1.0
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a solution: what was written up to a step boundary, and its own tokens."""

    text: str
    tokens: int
    confidence: Confidence | None = None


PROSE, PROGRAM = "prose", "program"
"""The forms of ttc's own that a candidate may have; see ``forms``."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of running a candidate's program: hostile text, as the model's own.

    ``output`` is what it printed, cut to a bound; ``error`` the last line of what went wrong, ""
    where it ended well; ``interpreter`` what ran it.
    """

    output: str
    error: str = ""
    interpreter: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled solution, or a part of one while a step-wise search grows it.

    ``answer`` is None where it stated none: that one never wins. ``text`` is the whole path;
    ``tokens`` are those drawn for this candidate itself: what it took over from ``parent`` is
    counted there. ``steps`` is the whole path too, and empty where it was grown in one go.
    The first ``thought`` characters of ``text`` are thinking: no answer is read from them.
    ``form`` is how it was asked to answer; ``ran`` what its program did, None where it has none
    or was not run.
    """

    id: int
    text: str
    tokens: int
    finish: Finish
    answer: Answer | None = None
    confidence: Confidence | None = None
    scores: tuple[Score, ...] = ()
    wave: int = 0
    parent: int | None = None
    steps: tuple[Step, ...] = ()
    thought: int = 0
    form: str = PROSE
    ran: Execution | None = None

    @property
    def finished(self) -> bool:
        """Whether the model ended its turn by itself."""
        return self.finish is Finish.STOP

    @property
    def passed(self) -> bool | None:
        """Whether it passed the user's own check; None where that was not asked."""
        found = [each.value for each in self.scores if each.verifier == CHECK and each.weight > 0]
        return min(found) >= 1.0 if found else None

    @property
    def slipped(self) -> bool:
        """Whether a sum that it wrote out is known to be wrong."""
        return any(each.verifier == ARITHMETIC and each.value < 0.5 for each in self.scores)

    def with_scores(self, *scores: Score) -> Candidate:
        """This candidate with further scores."""
        return replace(self, scores=self.scores + scores)


@dataclass(frozen=True, slots=True)
class AnswerClass:
    """Candidates whose answers mean the same. ``weight`` is the sum of their votes."""

    answer: Answer
    members: tuple[int, ...]
    weight: float

    @property
    def votes(self) -> int:
        """How many candidates gave this answer."""
        return len(self.members)


@dataclass(frozen=True, slots=True)
class RoleUsage:
    """Compute booked on one role. FLOPs = 2 × parameters × tokens processed."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    reused_tokens: int = 0
    decode_calls: int = 0
    flops: float = 0.0

    def __add__(self, other: RoleUsage) -> RoleUsage:
        return RoleUsage(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.reused_tokens + other.reused_tokens,
            self.decode_calls + other.decode_calls,
            self.flops + other.flops,
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything a run spent. Tokens served again from the KV cache are reported, not charged."""

    generator: RoleUsage = field(default_factory=RoleUsage)
    verifier: RoleUsage = field(default_factory=RoleUsage)
    seconds: float = 0.0

    @property
    def generated_tokens(self) -> int:
        """Tokens sampled by all models."""
        return self.generator.generated_tokens + self.verifier.generated_tokens

    @property
    def tokens(self) -> int:
        """Tokens processed by all models: read and sampled, re-used ones left out."""
        return self.generated_tokens + self.generator.prompt_tokens + self.verifier.prompt_tokens

    @property
    def flops(self) -> float:
        """Floating-point operations of all models."""
        return self.generator.flops + self.verifier.flops


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may cost. None means no cap.

    ``level`` names the row of the policy's table; the caps are hard: no local run exceeds one by
    more than one decode step (tokens, FLOPs, samples) or one second.
    ``max_tokens`` counts sampled tokens, over all candidates and models.
    """

    level: str = "normal"
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_flops: float | None = None
    max_samples: int | None = None
    tokens_per_candidate: int = 768


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the policy believes after looking at the candidates so far.

    ``settled`` is the posterior that the leader stays ahead of the runner-up (0 without one; below
    one half where a surer leader has fewer votes). ``pass_rate`` is the estimated
    chance that one more sample gives the leader's answer; ``difficulty`` is the fifth, 1 (easy) to
    5, that 1 − pass_rate falls in. ``calibrated`` says whether ``settled`` may be called a
    probability of being right.
    """

    settled: float
    pass_rate: float
    difficulty: int
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one solve, as ``--json`` prints it.

    ``solution`` is what the winner wrote after its thought; where that is a program, the code that
    was run and what it printed, each in a fenced block.
    ``answer`` is None only when no candidate stated one. ``decided_by`` is ``vote``, ``verifier``
    (code, best-of-n), ``likeness`` (free-form questions) or ``single`` (one candidate).
    ``heard`` candidates speak for or against the answer, and ``agreeing`` of them for it:
    unfinished ones speak against it; those dropped before they answered, and those that were
    mended and speak again, do not speak. ``model`` is what the engine calls the one whose result it
    is, ``samples`` the most candidates that it might have grown (None: kept by an older ttc).
    """

    answer: Answer | None
    solution: str | None
    winner: int | None
    decided_by: str
    agreeing: int
    heard: int
    score: float | None
    estimate: Estimate | None
    stop_reason: str
    strategy: str
    candidates: tuple[Candidate, ...]
    classes: tuple[AnswerClass, ...]
    usage: Usage
    interrupted: bool = False
    model: str = ""
    samples: int | None = None

    @property
    def agreement(self) -> float:
        """The share of those heard that agree; 0 where nobody answered."""
        return self.agreeing / self.heard if self.heard else 0.0
