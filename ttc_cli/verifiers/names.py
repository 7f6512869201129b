"""The names of ttc's own verifiers, for whoever wants no more: importing them takes a while."""

BUILT_IN = ("judge", "confidence", "prm", "probe", "generative", "check", "arithmetic")
"""In the order of ``registry``, which holds them; no plugin can take one."""


def split_words(text: str) -> list[str]:
    """The verifiers in ``text``, which have commas between them; all behind ``check=`` is one."""
    words = []
    while text := text.lstrip(" \t\r\n,"):
        word, _, text = (text, "", "") if text.startswith("check=") else text.partition(",")
        words.append(word.strip())
    return words
