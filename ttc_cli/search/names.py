"""The names of ttc's own strategies, for whoever wants no more: importing them takes a while."""

BUILT_IN = (
    "greedy",
    "majority",
    "best-of-n",
    "weighted",
    "beam",
    "dvts",
    "lookahead",
    "mcts",
    "particle",
    "backtrack",
    "revise",
    "mixed",
)
"""In the order of ``registry``, which holds them; no plugin can take one."""
