"""The engine protocol over an OpenAI-compatible server: vLLM, SGLang, llama-server, Ollama.

``address`` is where the server is and who may ask, ``wire`` what a reply says, ``transport`` asks
and asks again, ``probe`` finds out what the server can do, ``work`` is what is asked,
``dispatcher`` asks it for every ``session``. ``connect`` puts them together.

Prompts are rendered here and sent to ``/v1/completions`` as text, because a chat endpoint cannot
portably continue half a turn. A branch is its text: forking, appending and dropping cost nothing
and share nothing. What that means:

* Every request sends its whole text. Whether the server reads it again or finds it in its prefix
  cache is known only where it reports ``cached_tokens``; elsewhere all of it is charged as read.
* A branch that goes on is tokenised again, and not always as it was written.
* The batch is the server's. So is determinism: the engine sends seeds, ``probe`` looks whether
  they are kept, and nothing waits for other sessions. Growths are yielded as they end.
* A branch is cut off by closing its request. What the server computed until it noticed is neither
  reported nor charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ttc_cli.engines.openai.address import Settings, read_address

if TYPE_CHECKING:
    from ttc_cli.engines.openai.engine import OpenAIEngine

__all__ = ["Settings", "connect"]


def connect(settings: Settings, environ: Mapping[str, str] | None = None) -> OpenAIEngine:
    """Ask the server what it is and can do, and return the engine that grows on it.

    Args:
        settings: where and how.
        environ: where the key is looked for (``TTC_API_KEY``, ``OPENAI_API_KEY``).

    Raises:
        UsageError: no usable address, no such model there, or a server that cannot complete.
        Unreachable: nobody answers there.
        AccessDenied: the server wants a key, or another one.
        NetworkError: it failed.
        NoAnswer: ``settings.seconds`` are over before it is known.
    """
    from ttc_cli.engines.openai.engine import OpenAIEngine
    from ttc_cli.engines.openai.probe import probe

    address = read_address(settings.url, environ)
    return OpenAIEngine(address, settings, probe(address, settings))
