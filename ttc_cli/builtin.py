"""The one list of ttc's own strategies, verifiers and forms, by name, and where each is found.

Reading it imports none of them, so that completion and checks of settings stay fast.
"""

from collections.abc import Mapping

STRATEGIES: Mapping[str, str] = {
    "greedy": "ttc_cli.search.strategies.plain:GREEDY",
    "majority": "ttc_cli.search.strategies.plain:MAJORITY",
    "best-of-n": "ttc_cli.search.strategies.plain:BEST_OF_N",
    "weighted": "ttc_cli.search.strategies.plain:WEIGHTED",
    "beam": "ttc_cli.search.strategies.beam:BEAM",
    "dvts": "ttc_cli.search.strategies.dvts:DVTS",
    "lookahead": "ttc_cli.search.strategies.lookahead:LOOKAHEAD",
    "mcts": "ttc_cli.search.strategies.mcts:MCTS",
    "particle": "ttc_cli.search.strategies.particle:PARTICLE",
    "backtrack": "ttc_cli.search.strategies.backtrack:BACKTRACK",
    "revise": "ttc_cli.search.strategies.revise:REVISE",
    "mixed": "ttc_cli.search.strategies.revise:MIXED",
}
"""``search.context.StrategyEntry`` objects. No plugin can take one of these names."""

VERIFIERS: Mapping[str, str] = {
    "judge": "ttc_cli.verifiers.judge:JUDGE",
    "confidence": "ttc_cli.verifiers.confidence:CONFIDENCE",
    "prm": "ttc_cli.verifiers.prm.verifier:PRM",
    "implicit": "ttc_cli.verifiers.prm.implicit:IMPLICIT",
    "probe": "ttc_cli.verifiers.probe:PROBE",
    "generative": "ttc_cli.verifiers.generative:GENERATIVE",
    "check": "ttc_cli.verifiers.checking.command:CHECK_COMMAND",
    "arithmetic": "ttc_cli.verifiers.arithmetic.verifier:ARITHMETIC_CHECK",
}
"""``verifiers.base.VerifierEntry`` objects. No plugin can take one of these names."""

FORMS: Mapping[str, str] = {
    "prose": "ttc_cli.forms.prose:PROSE_FORM",
    "program": "ttc_cli.forms.program:PROGRAM_FORM",
}
"""``forms.base.FormEntry`` objects. No plugin can take one of these names."""


def split_names(text: str) -> list[str]:
    """The verifiers in ``text``, which have commas between them; all after ``check=`` is one."""
    words = []
    while text := text.lstrip(" \t\r\n,"):
        word, _, text = (text, "", "") if text.startswith("check=") else text.partition(",")
        words.append(word.strip())
    return words
