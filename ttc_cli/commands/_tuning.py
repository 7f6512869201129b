"""What ``ttc models tune`` prints: its plan, and what came of it."""

from __future__ import annotations

from ttc_cli.models.hardware import read_free_disk
from ttc_cli.models.progress import format_bytes
from ttc_cli.output import Output
from ttc_cli.tuning.tune import TunePlan, TuneResult, summarise
from ttc_cli.tuning.verdict import average


def print_plan(plan: TunePlan, *, as_json: bool) -> None:
    """What would be done, on stdout."""
    if as_json:
        values = {"model": plan.name, "type": plan.kind, "lossy": plan.lossy, "bytes": plan.bytes}
        paths = {"from": str(plan.source), "to": str(plan.target), "written": plan.written}
        Output().document({"v": 1, **values, **paths, "tensors": plan.tensors})
        return
    size = plan.source.stat().st_size
    tensors = ", ".join(f"{name} {count}" for name, count in plan.tensors.items())
    done = "written by an earlier run" if plan.written else "to be written"
    lines = {
        "model": plan.name,
        "from": f"{plan.source} ({format_bytes(size)}; tensors: {tensors})",
        "to": f"{plan.target} (about {format_bytes(plan.bytes)}, {done})",
        "type": plan.kind + (" (lossy: fewer bits than the original)" if plan.lossy else ""),
        "disk": f"{format_bytes(read_free_disk(plan.target.parent))} free",
        "then": "both measured in turn, twice: prompt, 1, 8 and 16 candidates; their answers "
        "compared; the new file is kept only if it is faster",
    }
    for key, value in lines.items():
        Output().answer(f"{key:<6} {value}")


def print_outcome(outcome: TuneResult, out: Output, *, as_json: bool) -> None:
    """The figures on stdout, what follows from them on stderr."""
    plan, agreement = outcome.plan, outcome.agreement
    if as_json:
        names = {"model": plan.name, "type": plan.kind, "lossy": plan.lossy, "state": outcome.state}
        out.document({"v": 1, **names, **summarise(outcome)})
        return
    kind = plan.kind + (" (lossy)" if plan.lossy else "")
    before, after = average(outcome.before), average(outcome.after)
    named = {
        "prompt": "reads a prompt, tokens/s",
        "one": "1 candidate",
        "eight": "8 candidates",
        "sixteen": "16 candidates",
    }
    rows = [("", "original", kind, "ratio")]
    rows += [
        (label, f"{before[key]:.1f}", f"{after[key]:.1f}", f"{after[key] / before[key]:.2f}")
        for key, label in named.items()
    ]
    size = plan.source.stat().st_size
    rows += [
        ("all of it, by time", "", "", f"{outcome.gain:.2f}"),
        ("size", format_bytes(size), format_bytes(outcome.bytes), f"{outcome.bytes / size:.2f}"),
        (
            "perplexity",
            f"{agreement.perplexity_before:.3f}",
            f"{agreement.perplexity_after:.3f}",
            f"{agreement.rise:+.2%} ± {agreement.error:.2%}",
        ),
    ]
    for label, left, right, ratio in rows:
        out.answer(f"{label:<26}{left:>12}{right:>14}  {ratio}".rstrip())
    out.answer(
        f"same likeliest token at {agreement.same:.1%} of {agreement.positions} places "
        f"(the original against itself, computed in another way: {agreement.noise:.1%})"
    )
    if outcome.busy:
        out.say(f"Other programs used {outcome.busy:.1f} cores meanwhile: these rates are rough.")
    if outcome.used:
        out.say(f"{plan.name} runs as {kind} from now on: {outcome.reason}.")
        if plan.lossy:
            out.say(
                "Its answers differ from the original's: policies and verifier tests of the "
                "original do not hold for it (ttc calibrate, ttc verifiers test)."
            )
        out.say(f"To go back: ttc models tune {plan.name} --undo")
    else:
        out.say(f"The original stays in use, the {kind} file is deleted: {outcome.reason}.")
        if outcome.busy and outcome.state == "slower":
            out.say(f"Measure again when nothing else computes: ttc models tune {plan.name}")
