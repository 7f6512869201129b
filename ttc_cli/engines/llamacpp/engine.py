"""The engine protocol for a model loaded with llama.cpp."""

from __future__ import annotations

from collections.abc import Callable

from ttc_cli.engines.base import EngineInfo, Meter, Prompt
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.decoder import Decoder
from ttc_cli.engines.llamacpp.jobs import Account
from ttc_cli.engines.llamacpp.native import Context, NativeModel
from ttc_cli.engines.llamacpp.runner import DecodeRunner
from ttc_cli.engines.llamacpp.session import LlamaCppSession
from ttc_cli.engines.llamacpp.tokeniser import Tokeniser
from ttc_cli.errors import PromptTooLong
from ttc_cli.events import Grew
from ttc_cli.types import Role

ROOM_TO_ANSWER = 16
"""A prompt must leave at least this many tokens of the context window."""


class LlamaCppEngine:
    """One model, one KV cache, one decode thread. Made by ``llamacpp.load``.

    ``certainty``: note the self-certainty of every draw. ``patience``: as ``DecodeRunner`` has it.
    ``remembers``: as ``KvCache`` has it.
    """

    def __init__(
        self,
        model: NativeModel,
        context: Context,
        info: EngineInfo,
        *,
        certainty: bool,
        patience: float | None = None,
        remembers: int = 0,
    ) -> None:
        self.info = info
        self._model = model
        self._context = context
        decoder = Decoder(model, context, info, certainty=certainty, remembers=remembers)
        self._runner = DecodeRunner(decoder, patience)
        self._tokeniser = Tokeniser(model, info.model)

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> LlamaCppSession:
        """Read ``prompt`` and open a session on it, as ``Engine.open`` says."""
        runner, root = self._runner, self._spell(prompt)
        account = Account(meter, observe, role)
        session = LlamaCppSession(runner, self._tokeniser, account, root, self._spell)
        runner.join(account)
        runner.apply(lambda: runner.decoder.accounts.append(account))
        try:
            await session.read(root)
        except BaseException:
            await session.close()
            raise
        return session

    def _spell(self, prompt: Prompt) -> Node:
        """The tokens of ``prompt``.

        Raises:
            PromptTooLong: they leave no room to answer.
        """
        tokens = self._tokeniser.tokenise(prompt)
        begin = self._model.begin_token()
        if begin is not None and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        if len(tokens) + ROOM_TO_ANSWER > self.info.context:
            raise PromptTooLong(
                f"the prompt has {len(tokens):,} tokens; {self.info.model} has room for "
                f"{self.info.context:,} with its answer.",
                hint="shorten it, or raise --context if the model allows more",
            )
        return Node(tokens, keep=True)

    def tokenise(self, prompt: Prompt, after: int | None = None) -> list[int]:
        """Token ids of ``prompt``, as ``Tokeniser`` says."""
        return self._tokeniser.tokenise(prompt, after)

    def find_labels(self, pieces: tuple[str, ...]) -> list[int]:
        """Ids of those ``pieces`` that are one token each, as ``Tokeniser`` says."""
        return self._tokeniser.find_labels(pieces)

    def interrupt(self) -> None:
        """End everything at the next token, as ``Engine.interrupt`` says."""
        self._runner.decoder.interrupted = True

    def close(self) -> None:
        """Free the model. Waits for a decode under way to stop."""
        if self._runner.close():
            self._context.close()
            self._model.close()
