"""Serves samples that were drawn before, through the ordinary protocol.

A policy that runs here is the one that runs live: it grows, limits, cancels and scores as ever,
and is charged the tokens that the recorded samples really had. Live branches advance in lockstep,
one token a decode step, over ``parallel`` slots, so that a cancellation costs what it would have
cost. Each request draws, without replacement, one of the question's recorded samples.

What is not covered: only whole candidates from the root were recorded, and how those with a wrong
sum went on from there when it was corrected; so there are no steps and no other growing on, and
sampling other than the recorded one is refused. No time passes: wall seconds in the ledger are
those of the simulation and mean nothing.
"""

from ttc_cli.bench.recorded.engine import RecordedEngine
from ttc_cli.bench.recorded.recording import (
    RecordedMend,
    RecordedQuestion,
    RecordedSample,
    RecordedScore,
    Recording,
    row_key,
)
from ttc_cli.bench.recorded.session import RecordedSession
from ttc_cli.prompts import prompt_key

__all__ = [
    "RecordedEngine",
    "RecordedMend",
    "RecordedQuestion",
    "RecordedSample",
    "RecordedScore",
    "RecordedSession",
    "Recording",
    "prompt_key",
    "row_key",
]
