"""The names of ttc's own verifiers, for whoever wants no more: importing them takes a while."""

BUILT_IN = ("judge", "confidence", "prm", "probe", "generative", "check", "arithmetic")
"""In the order of ``registry``, which holds them; no plugin can take one."""
