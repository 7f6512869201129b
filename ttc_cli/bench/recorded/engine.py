"""A model whose samples were drawn before."""

from __future__ import annotations

from collections.abc import Callable

from ttc_cli.bench.recorded.recording import Recording
from ttc_cli.bench.recorded.session import RecordedSession
from ttc_cli.engines.base import EngineInfo, Meter, Prompt
from ttc_cli.errors import UsageError
from ttc_cli.events import Grew
from ttc_cli.prompts import prompt_key
from ttc_cli.types import Role


class RecordedEngine:
    """An ``Engine`` over a ``Recording``.

    Args:
        recording: what was drawn.
        trajectory: another number serves the samples in another order.
        parallel: how many branches grow at once; None is what the live engine had.
        jump: go from one end of a candidate to the next at once where no cap asks for single
            steps. ``Grew`` events then come once a jump, not once a step: for thousands of runs.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        trajectory: int = 0,
        parallel: int | None = None,
        jump: bool = False,
    ) -> None:
        known, self._recording = recording.info, recording
        self._jump = jump
        self._trajectory = trajectory
        self._interrupted = False
        self._open: set[RecordedSession] = set()
        self._info = EngineInfo(
            name="recorded",
            model=known.model,
            parameters=known.parameters,
            context=known.context,
            parallel=parallel or known.parallel,
            chat_template=known.chat_template,
            control_tokens=known.control_tokens,
            forks=True,
            scores=any(s.scores for q in recording.questions.values() for s in q.samples),
            steps=False,
            states=_find_width(recording),
        )

    @property
    def info(self) -> EngineInfo:
        """The recorded model under the name ``recorded``."""
        return self._info

    @property
    def recording(self) -> Recording:
        """What is served."""
        return self._recording

    @property
    def trajectory(self) -> int:
        """The number that the order of the samples follows from."""
        return self._trajectory

    @property
    def jump(self) -> bool:
        """Whether steps between two ends are taken at once."""
        return self._jump

    @property
    def interrupted(self) -> bool:
        """Whether ``interrupt`` was called since a session was last open."""
        return self._interrupted

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> RecordedSession:
        """Find the recorded samples of ``prompt``.

        Raises:
            UsageError: nothing was recorded for this prompt.
        """
        question = self._recording.questions.get(prompt_key(prompt))
        if question is None:
            raise UsageError(
                "The pool holds no samples for this prompt: the question, the chat template or "
                "the wording around it changed since it was recorded.",
                hint="ttc bench DATA draws a new one.",
            )
        session = RecordedSession(self, question, meter, observe)
        self._open.add(session)
        return session

    def forget(self, session: RecordedSession) -> None:
        """Called by a session that closes."""
        self._open.discard(session)
        if not self._open:
            self._interrupted = False

    def interrupt(self) -> None:
        """End all growing, as ``Finish.CANCELLED``, until every session is closed."""
        self._interrupted = bool(self._open)

    def close(self) -> None:
        """Nothing is held."""


def _find_width(recording: Recording) -> int:
    """The length of the recorded hidden states; 0 where there are none."""
    states = (s.state for q in recording.questions.values() for s in q.samples)
    return next((len(state) for state in states if state), 0)
