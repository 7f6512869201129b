"""The engine protocol over one server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ttc_cli.engines.base import EngineInfo, Meter, Prompt
from ttc_cli.engines.openai.address import CONTEXT, PARALLEL, Address, Settings
from ttc_cli.engines.openai.dispatcher import Dispatcher
from ttc_cli.engines.openai.probe import Abilities
from ttc_cli.engines.openai.session import OpenAISession
from ttc_cli.engines.openai.work import Account
from ttc_cli.events import Grew
from ttc_cli.types import Role


class OpenAIEngine:
    """A model on a server. Made by ``openai.connect``."""

    def __init__(self, address: Address, settings: Settings, abilities: Abilities) -> None:
        served = abilities.served
        self.address = address
        self.abilities = abilities
        tokens = {"bos_token": served.begin, "eos_token": served.end, **settings.tokens}
        self._begin = tokens["bos_token"] if abilities.added else ""
        self.info = EngineInfo(
            name="server",
            model=served.model,
            parameters=settings.parameters or served.parameters,
            context=settings.context or served.context or CONTEXT,
            parallel=1 if abilities.alone else settings.parallel or served.slots or PARALLEL,
            chat_template=settings.template or served.template or None,
            control_tokens=tokens,
            scores=bool(abilities.logprobs),
            steps=bool(abilities.logprobs) and abilities.streams,
            grammars=bool(abilities.grammar),
            marks=bool(abilities.logprobs) and abilities.streams,
            offloaded=True,
            elsewhere=not address.local,
        )
        self._dispatcher = Dispatcher(address, settings, abilities, self.info)

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> OpenAISession:
        """Open a session on ``prompt``. Nothing is sent before a branch grows or is scored.

        A prompt beyond the server's context is therefore refused (``PromptTooLong``) by the first
        ``grow`` or ``score``.
        """
        account = Account(meter, observe, role)
        self._dispatcher.enter(account)
        return OpenAISession(self._dispatcher, account, prompt, self._begin)

    def tell_trouble(self) -> list[str]:
        """What the user should know of what the server did since this was last asked."""
        cut, self._dispatcher.cut = self._dispatcher.cut, Counter[str]()
        if not cut:
            return []
        reasons = ", ".join(repr(word) if word else "none told" for word in cut)
        return [
            f"It cut off {cut.total()} texts before they had ended (finish reason: {reasons}): "
            "they state no answer."
        ]

    def interrupt(self) -> None:
        """Close every request; everything ends as cancelled until every session is closed."""
        dispatcher = self._dispatcher
        dispatcher.interrupted = True
        if dispatcher.loop is not None and not dispatcher.loop.is_closed():
            dispatcher.loop.call_soon_threadsafe(dispatcher.cancel_everything)

    def close(self) -> None:
        """Nothing to free: the connections went with the last session."""
