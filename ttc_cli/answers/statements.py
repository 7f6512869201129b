r"""Statements of an answer in words: "The final answer is …", "Answer: …", a heading above it.

Every pattern here reads what a model wrote, so that each takes a time that grows with its text
and no faster: what may repeat is bounded, or cannot be split in two ways.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from ttc_cli.answers.normalise import MAX_ANSWER
from ttc_cli.answers.spelling import strip_delimiters
from ttc_cli.types import AnswerType

LATEST = 20
"""The last so many statements of a kind are read: a text may repeat itself ten thousand times."""
_WINDOW = 2 * MAX_ANSWER
_MAX_TEXT = 200
"""Characters of a short text answer; a longer one is prose."""
_MAX_LINE = 60
"""Characters of a text answer that is taken with all that its line holds."""
_CLOSING_LINES = 2

_IS = r"(?:(?:is|equals|(?:would|will|must) be|comes (?:out )?to|turns out to be)\b|[:=：])"
_MARKS = r"(?:[ ]\([a-z ]{1,40}\))?[\s*_\"'`)}\]]{0,8}"
_COMMAND = r"(?:(?<=\\)(?:textbf|textit|emph|underline|(?:sub){0,2}section)\*?\{)?"
"""What the marks at the front of a line end in a backslash for."""
_PHRASE = re.compile(
    # **Final answer:** 64
    rf"(?P<strong>\bfinal\s{{1,3}}answer{_MARKS}(?:{_IS}|[-=]>|[→⇒➡—–])"
    # <answer>64
    r"|<(?:final_?)?answer>"
    # (Answer: 64)
    rf"|^(?:[^\w\n]|_)*{_COMMAND}(?:(?:the|my|our)[ ])?(?:(?:final|correct|right)[ ])?"
    rf"answer{_MARKS}(?:[:=：→⇒➡]|-(?=[ ])))"
    # ## 3. Final answer
    rf"|(?P<heading>^(?:[^\w\n]|_)*{_COMMAND}(?:(?:step[ ])?\d{{1,2}}[.:)]?[ ](?:[-–—][ ])?)?"
    r"(?:(?:the|my|our)[ ])?(?:(?:final|correct|right)[ ])?answer(?:[ ]\([a-z ]{1,40}\))?"
    r"(?:[^\w\n]|_)*$(?:\n[-=]{2,}[ \t]*$)?)"
    # So the answer to the question is 64
    rf"|\b(?:answer|(?:correct|right)[ ](?:option|choice))\b"
    rf"(?:[ ](?:to|of|for|in)[ ][^.\n]{{1,80}}?(?=[ ]is\b|[:=]))?{_MARKS}{_IS}",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE = re.compile(
    r"(?:^|[.!?:;,>]|\b(?:so|hence|thus|therefore|then|and|finally|consequently|accordingly))"
    r"[\s*_(\[\"']*(?:(?:the|my|our|an)[ ])?(?:(?:final|correct|right|short)[ ])?$",
    re.IGNORECASE,
)
_ANOTHER = re.compile(r"(?:\$\$?|\\[(\[])?[ \t]?\\f?boxed|</(?:final_?)?answer>", re.IGNORECASE)
"""Where a statement ends because a box follows, which is read by itself."""
_LEAD = re.compile(
    r"[\s:*_,}]*(?:(?:(?:actually|probably|definitely|certainly|given by|found to be|"
    r"(?:therefore?|thus|hence|then|simply|indeed|exactly|precisely|approximately|"
    r"approx\.|about|around|roughly|nearly|almost|just|only|also|clearly|now|equal to|a total of|"
    r"(?:the )?(?:option|choice|letter|number|value)))\b,?|"
    r"approx\.|\.{3}|…|[=≈→⇒➡>]|~(?!~))[\s:*_]*)*",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"<(b|i|em|strong|mark|u|p|h[1-6]|div|span|center)>([^<>\n]{1,200})</\1>", re.IGNORECASE
)
_STRUCK = re.compile(r"~~[^~\n]{1,80}~~")
_BULLET = re.compile(r"\A[-+•>][ \t]+")
_DISPLAY = re.compile(
    r"\\\[(.+?)\\\]|\$\$(.+?)\$\$|"
    r"\\begin\{(?P<name>equation|align|aligned|gather|displaymath|math|multline|center)\*?\}(.+?)\\end\{(?P=name)|"
    r"`{3,}\w*\n(.+?)\n[ \t]*`{3}",
    re.DOTALL,
)
_ALIGNED = re.compile(r"\\begin\{(aligned|gathered|split)\}(.+)\\end\{\1\}", re.DOTALL)
_FORMULA = re.compile(
    r"(?:\\\[(.+?)\\\]|\\\((.+?)\\\)|\$\$(.+?)\$\$|\$(?!\d+[^$]*$)([^$]+)\$)"
    r"(?!\s*(?:[-+=<>±]|\\[a-z]+\b|(?:,|or|and)\s*(?:\$|\\\()))"
)
_SENTENCE_END = re.compile(r"(?<![A-Z])(?<!\bi\.e)(?<!\be\.g)[.!?](?=[\s\"')*_\]]|$)|\n|。")
_OPENED = re.compile(r"\A(?:\\\[|\$\$|\\begin\{[a-z]{1,20}\*?\}|`{3,}\w*\n)\s*")
_ASIDE = re.compile(
    r"(?<!\s),?\s+(?:because|since|which|so|where)\b.*|,\s+as\b.*|;\s+[a-z]+ [a-z].*|"
    r"(?<!\s)\s*[\u2600-\u27bf\U0001f300-\U0001faff]\ufe0f?\s.*|(?<!\s)\s*—\s*(?=[A-Za-z]{2}|[aI]\b).*|"
    r"(?<!\s)\s+(?:–|--?)\s+(?=[a-z]+ [a-z]).*|"
    r"(?<!\s)\s+\((?:=|≈|i\.e\.|e\.g\.|rounded|approx|about|\d+ ?[x×*] ?\d)[^()]*\)\W*$|"
    r"(?<!\s)\s+\((?=\W*[A-Za-z]{3})[A-Za-z\s,.;:'’-]{4,}\)\W*$",
    re.DOTALL,
)
_AFTERTHOUGHT = re.compile(r"(?<!\s),?\s+(?:as|when|if|for)\b.*|[;,]\s+[a-z]\w*\b.*", re.DOTALL)
_ASIDE_IN_TEXT = re.compile(r"(?<!\s)\s*—\s*(?:an?|the|it|that|as|not) .*", re.S)
_DECORATION = (
    "".join(map(chr, [*range(0x2190, 0x2200), *range(0x2700, 0x27C0), *range(0x2B00, 0x2C00)]))
    + "".join(map(chr, range(0x1F300, 0x1FB00)))
    + "\u220e\u25a0\u25a1\u25aa\u25ab\u25cf\u25c6\u25fc\u25fd\u25fe\u2605\u2606\u2610\u2611\u2612"
    + "\ufe0f\u200b\u200d\u2060\ufeff"
)
"""Ticks, stars, arrows, emoji, and what joins them."""
_FRAMED = re.compile(r"\A(?:\|\s+([^|]*?)\s+\||'([^']*)'|([^'#]*[\d.)])(?:'|\s#+))\Z", re.DOTALL)
_TAG = re.compile(r"(?<=\S)\s*(?:</?[A-Za-z]\w{0,36}/?>|<\|[^<>]{0,36}\|>)\Z")
"""Mark-up, or a control token, after a value."""
_RULE = re.compile(r"(?<!\s)\s+(?:-{2,}|={2,})\Z")
_PAIRS = tuple(zip((r"\)", r"\]", *")]}”»"), (r"\(", r"\[", *"([{“«"), strict=True))
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)

_NUMBER = (
    r"(?:[-−+]\s?)?(?:\\?[$€£]\s?)?(?:\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+|\s\d+/\d+)?|\\[dt]?frac\{\d+\}\{\d+\})"
    r"(?:\s?\\?%|\s(?:hundred|thousand|million|billion|trillion|dozen)\b)?"
)
_WORDED = re.compile(rf"([^\d\\$€£+=^*/<>−-]*)({_NUMBER})([^\d\\+=^*/<>]*)")
_EMPHASIS = re.compile(r"[*_`]+")
_RECKONING = re.compile(
    r"\b(?:times|plus|minus|divided|multiplied|added|than|twice|double|triple|half|or|between|not|"
    r"from|to|base|mod(?:ulo)?|squared|cubed|per|first|each|every|hundred|thousand|million)\b|n't\b",
    re.IGNORECASE,
)


def find_statements(text: str, type: AnswerType) -> Iterator[tuple[str, bool]]:
    """What follows "the answer is", last phrase first: its readings, and whether it has an end.

    The weak forms (a heading, and one that is neither "final" nor a line of its own) must stand
    in the closing lines.
    """
    text = _MARKUP.sub(r"\2", text)
    for match in find_latest(_PHRASE, text):
        announced = _announces(text, match)
        if _stands_in_box(text, match.start()):
            continue
        if type in (AnswerType.TEXT, AnswerType.LATEX) and not announced:
            continue
        rest = _skip_lead(text[match.end() : match.end() + _WINDOW])
        shown = _DISPLAY.match(rest)
        if shown is None:
            rest = _OPENED.sub("", rest)
        line = shown[0] if shown else rest.partition("\n")[0]
        behind = rest[len(line) :]
        lines_after = sum(bool(each.strip()) for each in behind.split("\n"))
        if lines_after > _CLOSING_LINES and not match["strong"]:
            continue
        if shown is not None:
            yield _read_display(shown), True
            continue
        end = _SENTENCE_END.search(rest)
        closed = end is not None and end.start() < len(rest.rstrip())
        yield from ((clause, closed) for clause in read_clauses(line, type))
        if type is AnswerType.NUMBER and not behind.strip() and announced:
            yield find_worded_number(clean(line)) or "", closed


def find_latest(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The last few matches, last first: a text may repeat itself ten thousand times."""
    return reversed(deque(pattern.finditer(text), maxlen=LATEST))


def _skip_lead(rest: str) -> str:
    """What stands after a phrase without fillers, bullets and emphasis, up to the next box."""
    rest = _ANOTHER.split(rest, maxsplit=1)[0]
    skipped = lead[0] if (lead := _LEAD.match(rest)) else ""
    rest = rest[len(skipped) :]
    if "\n" in skipped:
        rest = _BULLET.sub("", rest)
    emphasis = skipped[len(skipped.rstrip("*_")) :]
    return rest.replace(emphasis, "", 1) if emphasis else rest


def find_worded_number(text: str) -> str | None:
    """The one number in a few words that do not reckon with it, "Mary has 64 apples", else None."""
    found = _WORDED.fullmatch(_EMPHASIS.sub("", text).strip())
    if found is None or _RECKONING.search(found[1]) or _RECKONING.search(found[3]):
        return None
    return found[2]


def clean(text: str) -> str:
    """``text`` without the debris of Markdown around a value: ticks, brackets without a partner.

    What is too long to be an answer is left as it is: each round takes time that grows with it.
    """
    while len(text) <= MAX_ANSWER:
        before = text
        text = strip_delimiters(text).rstrip(_DECORATION).rstrip() or text
        text = _RULE.sub("", _TAG.sub("", text))
        for close, open in _PAIRS:
            if text.endswith(close) and text.count(close) > text.count(open):
                text = text[: -len(close)]
        last = text[-1:]
        if last in ("*", "_", "`", "~", '"', "$", "|") and _is_odd(text, last):
            text = text.rstrip(last)
        text = _FRAMED.sub(lambda frame: frame[frame.lastindex or 0], text)
        text = text.rstrip(" \t\n,;:") or before
        if text == before:
            break
    return text


def _is_odd(text: str, mark: str) -> bool:
    """Whether the marks at the end of ``text`` have no partner in it."""
    head = text.rstrip(mark)
    return bool(head) and mark not in head and not head.endswith(("^", "\\", "{"))


def _stands_in_box(text: str, place: int) -> bool:
    """Whether ``place`` is inside a box: what it holds is read as a box, or not at all."""
    start = text.rfind("boxed{", max(0, place - MAX_ANSWER), place)
    if start < 0:
        return False
    end = find_brace(text, start + len("boxed{"))
    return end > place if end is not None else "\n" not in text[start:place]


def find_brace(text: str, start: int) -> int | None:
    """Where the brace closes that was opened before ``start``; None where it does not, or far."""
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_ANSWER):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None


def _announces(text: str, match: re.Match[str]) -> bool:
    """Whether words that follow are an answer: after "To find the answer:" they are not."""
    if match["strong"] or match["heading"] or match[0][-1] not in ":=：":
        return True
    return _BEFORE.search(text[max(0, match.start() - 80) : match.start()]) is not None


def _read_display(shown: re.Match[str]) -> str:
    """What a displayed formula holds; of several lines one after another, all as one."""
    inside = shown[shown.lastindex or 0]
    inner = _ALIGNED.fullmatch(inside.strip())
    if inner or (shown["name"] or "").startswith(("align", "gather")):
        inside = (inner[2] if inner else inside).replace("&", "").replace(r"\\", " ")
    return clean(" ".join(inside.split()).rstrip(".,"))


def read_clauses(line: str, type: AnswerType) -> Iterator[str]:
    r"""The readings of a statement: a formula, the sentence, the sentence without its tail."""
    line = _STRUCK.sub("", line[:MAX_ANSWER]).strip()
    formula = _FORMULA.match(line)
    if formula and type is not AnswerType.TEXT:
        yield formula[formula.lastindex or 0]
    if type is AnswerType.TEXT and len(line) <= _MAX_LINE:
        yield clean(clean(_ASIDE_IN_TEXT.sub("", line)).rstrip(".!"))
        return
    end = _SENTENCE_END.search(line)
    sentence = clean(line[: end.start()].rstrip(".") if end else line)
    if type in (AnswerType.TEXT, AnswerType.LATEX) and len(sentence) > _MAX_TEXT:
        return
    plain = clean(_ASIDE.sub("", sentence))
    yield from (sentence, plain) if type is AnswerType.TEXT else (plain, sentence)
    if type is not AnswerType.LATEX:
        yield clean(_AFTERTHOUGHT.sub("", plain))
