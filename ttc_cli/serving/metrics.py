"""What a server did, in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ttc_cli.types import Result

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Metrics:
    """Counts since the start; ``taken`` and ``began`` are seconds, of requests and first tokens."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    running: int = 0
    taken: list[float] = field(default_factory=lambda: [0, 0.0])
    began: list[float] = field(default_factory=lambda: [0, 0.0])
    cells_used: int = 0
    cells: int = 0

    def count(self, path: str, status: int) -> None:
        """A request on ``path`` was answered."""
        self.requests[path, str(status)] += 1

    def book(self, result: Result) -> None:
        """One choice was found."""
        usage = result.usage
        self.tokens["generated"] += usage.generated_tokens
        self.tokens["read"] += usage.tokens - usage.generated_tokens

    def time(self, seconds: float, first: float | None) -> None:
        """A request took ``seconds``, and its first token came after ``first``."""
        for total, value in ((self.taken, seconds), (self.began, first)):
            if value is not None:
                total[0] += 1
                total[1] += value

    @property
    def average(self) -> float:
        """Seconds that a request takes; 1 as long as nobody knows."""
        count, seconds = self.taken
        return seconds / count if count else 1.0

    def write(self, now: Mapping[str, float]) -> str:
        """All of it, and the gauges of ``now``."""
        lines: list[str] = []

        def tell(name: str, kind: str, what: str, rows: Iterable[tuple[str, float]]) -> None:
            lines.append(f"# HELP ttc_{name} {what}")
            lines.append(f"# TYPE ttc_{name} {kind}")
            lines.extend(f"ttc_{name}{part} {value:.15g}" for part, value in rows)

        answered = [
            (f'{{path="{path}",status="{status}"}}', count)
            for (path, status), count in sorted(self.requests.items())
        ]
        gone = "Requests whose client went away before the end."
        drawn = [(f'{{kind="{kind}"}}', self.tokens[kind]) for kind in ("generated", "read")]
        told = "Tokens that were computed for requests that came to their end."
        tell("requests_total", "counter", "Requests that were answered.", answered)
        tell("requests_abandoned_total", "counter", gone, [("", self.abandoned)])
        tell("tokens_total", "counter", told, drawn)
        for name, (count, seconds), what in (
            ("request_seconds", self.taken, "Seconds from a request to the end of its answer."),
            ("first_token_seconds", self.began, "Seconds from a request to its first token."),
        ):
            tell(name, "summary", what, [("_count", count), ("_sum", seconds)])
        for name, value in now.items():
            tell(name, "gauge", f"{name.replace('_', ' ').capitalize()} now.", [("", value)])
        return "\n".join(lines) + "\n"
