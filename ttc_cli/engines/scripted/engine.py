"""The engine that says what its script says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ttc_cli.engines.base import EngineInfo, Meter, Prompt
from ttc_cli.engines.scripted.cells import ScriptedCache
from ttc_cli.engines.scripted.script import (
    CHATML,
    Reply,
    Script,
    babble,
    imagine_state,
    recite,
)
from ttc_cli.engines.scripted.session import ScriptedSession
from ttc_cli.engines.scripted.slots import Account, Slots
from ttc_cli.events import Grew
from ttc_cli.types import Role


class ScriptedEngine:
    """Implements ``engines.base.Engine`` over a script."""

    def __init__(
        self,
        script: Script | Sequence[Reply | str] = babble,
        *,
        yes: Callable[[str], float] = lambda text: 0.5,
        state: Callable[[str], tuple[float, ...]] | None = None,
        parallel: int = 4,
        context: int = 4096,
        kv_cells: int | None = None,
        parameters: int = 1_000_000,
        pause: float = 0.0,
    ) -> None:
        """Make an engine that says what ``script`` says.

        Args:
            script: a function, or texts that candidates say in turn.
            yes: from everything before the scored token to the probability of the first label
                group, in [0, 1]; the other groups share the rest.
            state: from everything a branch holds to its hidden state; None gives a few numbers
                that depend on that text alone.
            parallel: branches that grow at once.
            context: tokens of prompt and completion that fit one branch.
            kv_cells: cells that all branches share; None is room for all.
            parameters: what FLOPs are reckoned with.
            pause: seconds a decode step takes.
        """
        self._yes = yes
        self._state = state or imagine_state
        self.info = EngineInfo(
            name="scripted",
            model="script",
            parameters=parameters,
            context=context,
            parallel=parallel,
            chat_template=CHATML,
            control_tokens={"bos_token": "", "eos_token": "<|im_end|>"},
            grammars=True,
            states=len(self._state("")),
        )
        self._slots = Slots(
            self.info,
            script if callable(script) else recite(script),
            ScriptedCache(context * 1024 if kv_cells is None else kv_cells),
            pause,
        )

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> ScriptedSession:
        """Read ``prompt`` once."""
        account = Account(meter, observe, role)
        root = self._slots.enter(account, "".join(span.text for span in prompt))
        return ScriptedSession(self._slots, account, root, self._yes, self._state)

    def interrupt(self) -> None:
        """End all growing at the next token, until every session is closed."""
        self._slots.interrupted = True

    def close(self) -> None:
        """Nothing to free."""
