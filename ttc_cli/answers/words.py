"""Keys of answers that are words: short texts, the letter of a choice, yes or no."""

from __future__ import annotations

import re
import unicodedata

from ttc_cli.answers.numerals import DOLLARS, FOREIGN, Reading, read_number
from ttc_cli.answers.spelling import (
    TABLES,
    drop_layout,
    spell,
    strip_delimiters,
    tidy,
    unwrap_text,
)

_MARKS = re.compile("[✅✔✓☑🎉]\ufe0f?")
_EMPHASIS = re.compile(r"(?<![\w)\]}*] )(?<![\w)\]}*])\*\*(?=[^\s*])([^*\n]+)(?<=\S)\*\*(?![\w(*])")
"""``= **17**``, but not a power"""
_CODES = TABLES["currencies"]["signs"]
_CURRENCY = re.compile(rf"[{''.join(_CODES)}]|\b(?:{FOREIGN})|\b{DOLLARS}|(?<=\d)(?:kr\b|zł)")
_INITIALS = re.compile(r"(?<![^\W\d_])(?:[^\W\d_]\.[ \t]?)+(?:[^\W\d_](?![^\W\d_]))?")
_GROUPED = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_FRACTION = re.compile(r"\\frac\{([^{}]*)\}\{([^{}]*)\}")
_PUNCTUATION = re.compile(
    r"""(?<!\d)[,:]|[,:](?!\d)|[;"()\[\]{}¿¡…`«»]|'|(?<![^\W_])[?!](?![\w=])|(?<=[^\W\d]{2})[?!]+|"""
    r"""(?<!\w)\.(?!\d)|\.(?!\w)|(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})|(?<!\S)-(?!\w)|"""
    r"""_(?!\d)|(?<!\d)_|\*{2,}|(?<!\S)\*(?=\S)|(?<=\S)(?<!\b[A-Z])\*(?!\w)|\\"""
)
_THE = re.compile(r"(?<!\S)[Tt]he\s+(?=\w)")
_ARTICLE = re.compile(
    r"(?:[Aa]n|a|A(?!\s+(?i:minor|major|flat|sharp|natural|positive|negative)\b))\s+(?=[^\W\d_]{2})"
)

_CHOICE_LEAD = re.compile(
    r"(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\b\s*:?\s*(?:is\s+)?", re.IGNORECASE
)
_CHOICE = re.compile(
    r"\(([A-Za-z])\)(?!\w)|\[([A-Za-z])\](?!\w)|"
    r"([A-Za-z])(?:\)(?!\w)|[.:](?=[\s\\$]|$)|,(?=\s)|\W*$|\s+[-–—]\s)|"
    r"([A-Z])\s*(?=\()|([B-HJ-Z])\s+(?=[A-Z\d])"
)
_ANOTHER = re.compile(
    r"[\s.)]*(?:[,;/&+]|\b(?:and|or)\b)+\s*(?:and\s+|or\s+)?\(?[A-Za-z](?:\)|\s*$|\s*[,;/&+]|\s+(?:and|or)\b)|"
    r"[\s.)]*\([A-Za-z]\)"
)

_YES = {"yes", "true", "correct"}
_NO = {"no", "false", "incorrect", "impossible"}
_ALONE = {"y": "yes", "n": "no", "valid": "yes", "possible": "yes", "invalid": "no", "never": "no"}
"""These are answers on their own; with words after them they may mean anything."""
_DENIED = {"possible", "true", "correct", "valid", "always", "necessarily"}
_SAID = re.compile(
    r"(?:(?:it|this|that|(?:the|this) (?:statement|claim|assertion|conjecture|answer))[ ]is[ ]|"
    r"(?:definitely|certainly|probably|likely|indeed)[ ,])+",
    re.IGNORECASE,
)
_THEN = r"[^.]{0,80}?[,;]\s+(?:(?:and|but)\s+)?"
_ONLY = r"(?:,|\s+(?:for|if|when|in|otherwise)\b)"
_UNDECIDED = re.compile(
    r"\W*(?:(?:or|and|vs)\b|[/|])|"  # yes or no
    r",?\s+(?:but\s+)?(?:if|unless|only|depending|depends|sometimes|for\s+some|in\s+some|when)\b|"
    r"\W+(?:yes|no|true|false)\W*$|"
    rf"(?<=yes){_THEN}no{_ONLY}|(?<=no){_THEN}yes{_ONLY}|"
    rf"(?<=true){_THEN}false{_ONLY}|(?<=false){_THEN}true{_ONLY}|"
    r"\s+(?:one|body|idea|answer|clue|information|way\s+to\s+(?:know|tell))\b",
    re.IGNORECASE,
)


def key_text(text: str) -> str | None:
    """A number alone as that number; else the words, without what does not change their meaning.

    Case, articles in front of a word, punctuation, and the points and blanks of initials do not
    count. Signs do (``a > b``, ``C++``, ``-5``), and so does what a number counts.
    """
    number = read_number(tidy(text), Reading.TEXT)
    if number is not None:
        currency = _CURRENCY.search(text)
        return number if currency is None else f"{number} {_CODES.get(currency[0], currency[0])}"
    plain = unwrap_text(strip_delimiters(drop_layout(spell(text, latex=False))))
    return key_words(plain) or _key_symbols(plain)


def key_words(text: str) -> str:
    """The words of ``text`` in one spelling; empty if there are none."""
    text = _GROUPED.sub(lambda m: m[0].replace(",", ""), _FRACTION.sub(r"\1/\2", text))
    text = re.sub(r"(?<=[A-Za-z])_\{?(\d+)\}?", r"\1", text)  # H_2O
    text = _INITIALS.sub(_join_initials, text)
    text = " ".join(re.sub(r"(?<=\w)\s*&\s*(?=\w)", " and ", text).split())
    article = _ARTICLE.match(text)
    bare = _THE.sub("", text[article.end() :] if article else text)
    words = _PUNCTUATION.sub(" ", bare.replace("'", "")) if bare else text
    words = re.sub(r"(?<=\d) ?[AP]M\b", lambda hour: hour[0].lower(), words)
    words = re.sub(r"(?<=\d)\s*(?=°|[^\W\d_])", " ", _fold_case(words))
    words = unicodedata.normalize("NFC", " ".join(words.split()))
    return words if re.search(r"\w", words) else ""


def _fold_case(words: str) -> str:
    """``words`` without case, which matters only in formulas and units."""
    if len(words.strip()) < 2 or re.search(r"[^\W\d_]{3}", words):
        return words.casefold()
    pair = r"(?<![^\W_])[^\W\d_][^\W\d_](?![^\W_])"
    return re.sub(pair, lambda m: m[0] if m[0][1].isupper() else m[0].casefold(), words)


def drop_marks(text: str) -> str:
    """Without the ticks that models put beside an answer, and the emphasis inside it."""
    text = _EMPHASIS.sub(r"\1", text)
    return _MARKS.sub("", text) if not text.isascii() and _MARKS.sub("", text).strip() else text


def _join_initials(match: re.Match[str]) -> str:
    letters = re.sub(r"[.\s]", "", match[0])
    return letters + " " if match[0][-1:] in ". \t" else letters


def _key_symbols(text: str) -> str | None:
    """An answer that consists of symbols; None for punctuation alone."""
    text = "".join(text.split())
    symbols = (char for char in text if unicodedata.category(char)[0] == "S" or char in "%&@§/")
    return text if any(symbols) else None


def key_choice(text: str) -> str | None:
    """The letter of one option, and None for several."""
    text = drop_layout(unwrap_text(strip_delimiters(text))).strip("*_ {}<>")
    text = strip_delimiters(_CHOICE_LEAD.sub("", text, count=1))
    letter = _CHOICE.match(text)
    if letter is None:
        return None
    group = letter.lastindex or 0
    return None if _ANOTHER.match(text, letter.end(group)) else letter[group].upper()


def bare_boolean(text: str) -> str:
    """``text`` from its yes or no on: "It is true" as "true"."""
    text = unwrap_text(strip_delimiters(drop_marks(text))).strip("*_ ")
    return text[said.end() :] if (said := _SAID.match(text)) else text


def key_boolean(text: str) -> str | None:
    """``yes`` or ``no`` by the first word; None if the answer is both, or depends."""
    text = bare_boolean(text)
    match = re.match(r"(not\s+)?([A-Za-z]+)", text, re.IGNORECASE)
    if match is None or _UNDECIDED.match(text, match.end()):
        return None
    word = match[2].lower()
    if match[1]:
        return "no" if word in _DENIED else None
    if word in _ALONE:
        return _ALONE[word] if re.fullmatch(r"\W*", text[match.end() :]) else None
    return "yes" if word in _YES else "no" if word in _NO else None
