"""``--template``: a file that words the question, and may begin with settings of its own.

A template is a text with ``{{ question }}``, ``{{ input }}`` and, in a batch, the columns of a row.
TOML between two lines of ``+++`` at its head sets what a configuration file may set, and ``system``
and ``answer_type``; one that does not lie in the user's folder sets what a project's file may
(``trust``). It is rendered in the sandbox that chat templates are rendered in: what it is
filled with is never read as a template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import TtcError, UsageError, suggest
from ttc_cli.paths import templates_dir
from ttc_cli.settings.config import Setting, read_settings
from ttc_cli.settings.keys import show_value
from ttc_cli.solving.question import Parts, read_answer_type, read_file, read_parts
from ttc_cli.texts import decode, split_lines
from ttc_cli.toml_files import parse_toml
from ttc_cli.types import AnswerType

if TYPE_CHECKING:
    from jinja2 import Template

FENCE = "+++"
PLACES = {"question", "input"}
ENDINGS = (".txt", ".md")
"""Of files in the folder of templates, which are called by their bare name."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A template that has been read.

    ``names`` are the variables it asks for; ``settings``, ``system`` and ``answer_type`` are what
    its front matter sets; ``source`` is all of the file.
    """

    path: Path
    source: str
    body: Template
    names: frozenset[str]
    settings: Mapping[str, Setting]
    system: str | None = None
    answer_type: AnswerType | None = None

    def fill(self, variables: Mapping[str, Any]) -> str:
        """The question for ``variables``.

        Raises:
            UsageError: it asks for a name that is not among them, fails, or comes out empty.
        """
        from jinja2 import UndefinedError

        from ttc_cli.templates import Sandbox

        sandbox = self.body.environment
        assert isinstance(sandbox, Sandbox)
        sandbox.open_account(sum(len(str(each)) for each in variables.values()))
        try:
            text = self.body.render(variables)
        except UndefinedError as error:
            known = ", ".join(sorted(variables)) or "none, as nothing was given"
            raise UsageError(
                f"The template {self.path}: {error}.", f"names known here: {known}"
            ) from error
        except Exception as error:  # a program of the user's: whatever breaks, it is the template
            raise _explain(self.path, "cannot be filled in", error) from error
        text = text.strip("\r\n")
        if not text.strip():
            raise UsageError(f"The template {self.path} comes out empty.")
        return text

    def word(self, parts: Parts) -> str:
        """The question that is made of ``parts``.

        What it has a place for goes there; with one place alone, all goes there joined.

        Raises:
            UsageError: as ``fill``, or there is no place for what was given.
        """
        wanted = self.names & PLACES
        given = {"question": parts.prompt, "input": parts.input}
        if len(wanted) == 1:
            given = dict.fromkeys(wanted, parts.join())
        elif not wanted and any(given.values()):
            raise UsageError(
                f"The template {self.path} has no place for a question.",
                "write {{ question }} or {{ input }} where it belongs, or give none",
            )
        return self.fill({name: text for name, text in given.items() if text.strip()})


def read_question(
    words: Sequence[str],
    file: Path | None,
    template: PromptTemplate | None,
    *,
    stdin: int | None,
    warn: Callable[[str], None],
) -> str | None:
    """The whole question, worded by ``template`` where there is one.

    Returns:
        None where a terminal is all there is to read from.

    Raises:
        TtcError: as ``read_parts``, ``Parts.join`` and ``PromptTemplate.word``.
    """
    if template is not None and not words and file is None and not template.names & PLACES:
        return template.fill({})
    parts = read_parts(words, file, stdin=stdin, warn=warn)
    if parts is None:
        return None
    return parts.join() if template is None else template.word(parts)


def list_names() -> list[str]:
    """What the templates in ``paths.templates_dir()`` are called."""
    return sorted({path.stem for path in templates_dir().glob("*") if path.suffix in ENDINGS})


def list_all() -> list[str]:
    """The names, and files in this folder that may be templates."""
    files = (path for ending in ENDINGS for path in Path().glob(f"*{ending}"))
    return [*list_names(), *sorted(map(str, files))]


def read_template(reference: str) -> PromptTemplate:
    """The template that ``reference`` names: one in ``paths.templates_dir()``, or a file.

    A name means the user's own, also where the working folder holds a file that is called so.

    Raises:
        UsageError: there is none, it does not compile, or its front matter is wrong.
    """
    path = _find(reference)
    source = decode(read_file(path), f"The template {path}", str(path))
    head, text = _split(path, source)
    settings, system, answer_type = _read_front_matter(path, head)
    body, names = _compile(path, text)
    return PromptTemplate(path, source, body, names, settings, system, answer_type)


def _find(reference: str) -> Path:
    path = Path(reference).expanduser()
    bare = path.name == reference
    if bare:
        for ending in ENDINGS:
            if (named := templates_dir() / f"{reference}{ending}").is_file():
                return named
    if path.is_file() and not (bare and not path.suffix):
        return path
    if bare and (named := templates_dir() / reference).is_file():
        return named
    if path.is_file():
        raise UsageError(
            f"There is no template of yours called {reference!r}.", f"for the file: ./{reference}"
        )
    known = list_names()
    rest = (
        f"known: {', '.join(known)}"
        if known
        else f"a file, or NAME for {templates_dir() / 'NAME.txt'}"
    )
    hint = suggest(reference, known, rest, quoted=True)
    raise UsageError(f"There is no template {reference!r}.", hint)


def _split(path: Path, source: str) -> tuple[str, str]:
    """Front matter and text."""
    lines = split_lines(source)
    if not lines or lines[0].strip() != FENCE:
        return "", source
    for place, line in enumerate(lines[1:], 1):
        if line.strip() == FENCE:
            return "".join(lines[1:place]), "".join(lines[place + 1 :])
    raise UsageError(f"The template {path}: its front matter has no end.", f"add a line {FENCE}")


def _read_front_matter(
    path: Path, head: str
) -> tuple[dict[str, Setting], str | None, AnswerType | None]:
    content = parse_toml(head.encode(), f"The front matter of {path}")
    system, kind = content.pop("system", None), content.pop("answer_type", None)
    if not isinstance(system, str | None):
        raise UsageError(f"{path}: system must be text, not {show_value(system)}.")
    if kind is not None:
        kind = read_answer_type(kind, f"{path}: ")
    own = path.absolute().parent == templates_dir().absolute()
    return read_settings(content, path, own=own), system, kind


def _compile(path: Path, text: str) -> tuple[Template, frozenset[str]]:
    from jinja2 import StrictUndefined, meta

    from ttc_cli.templates import MAX_SOURCE, Sandbox

    if len(text) > MAX_SOURCE:
        raise UsageError(f"The template {path} is longer than {MAX_SOURCE:,} characters.")
    sandbox = Sandbox(StrictUndefined)
    try:
        names = meta.find_undeclared_variables(sandbox.parse(text)) - sandbox.globals.keys()
        body = sandbox.from_string(text)
    except Exception as error:  # jinja2 raises its own errors, and Python's for what is too deep
        raise _explain(path, "does not compile", error) from error
    if names >= {"messages", "add_generation_prompt"}:
        raise UsageError(
            f"{path} is a chat template, which lays out a model's turns.",
            "with --server, give it as --chat-template",
        )
    return body, frozenset(names)


def _explain(path: Path, what: str, error: Exception) -> TtcError:
    reason = str(error)[:200] or type(error).__name__
    return UsageError(f"The template {path} {what}: {reason}.")
