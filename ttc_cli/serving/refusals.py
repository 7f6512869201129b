"""What a client is told that cannot be served: the protocol's own error form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ttc_cli.errors import PromptTooLong, TtcError, UsageError


class Refusal(Exception):
    """A request that ends with an error; ``status`` is HTTP's.

    ``param`` names the field that is at fault, ``code`` the fault for programs.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """As OpenAI's API words errors."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


def refuse_because(error: TtcError) -> Refusal:
    """``error`` of a search, for the client that asked for it."""
    hint = f" {error.hint}" if error.hint and isinstance(error, PromptTooLong) else ""
    if isinstance(error, PromptTooLong):
        return Refusal(error.message + hint, code="context_length_exceeded", param="messages")
    if isinstance(error, UsageError):
        return Refusal(error.message)
    return Refusal(error.message, status=500, code="engine_failed")
