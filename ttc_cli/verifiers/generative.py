"""Generative verifiers: a model writes a critique of the solution, then its verdict is read.

``--verifier generative`` lets the generator criticise its own candidates,
``generative=MODEL[@FORMAT]`` another model; any instruct model can be the critic. The critique is
grown in a session of its own, booked as ``Role.VERIFIER`` token by token: some hundreds a
candidate, as much as solving again. ``critiques`` holds the formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ttc_cli.engines.base import Branch, Engine, Grow, Growth, Prompt, ScoreRow, Session, Span
from ttc_cli.errors import UsageError
from ttc_cli.prompts import Chat
from ttc_cli.types import Finish, Message, Problem, Score
from ttc_cli.verifiers.base import (
    Leaf,
    OpeningVerifier,
    VerifierContext,
    VerifierEntry,
    share_of_first,
    split_steps,
    to_scores,
    to_step_scores,
)
from ttc_cli.verifiers.critiques import (
    ASKED,
    GENPRM_END,
    GENPRM_SYSTEM,
    GENPRM_VERDICT,
    CritiqueFormat,
    guess_format,
    read_critic,
    read_labels,
    read_remark,
    start_step,
    word_question,
    word_solution,
    word_step,
)
from ttc_cli.verifiers.judge import NO, YES

Path = tuple[str, ...]


@dataclass(slots=True)
class _Conversation:
    """What was opened for one question: judged paths, and branches that stand behind them.

    ``remarks`` are the critiques, without their verdicts.
    """

    session: Session
    values: dict[Path, float | None] = field(default_factory=dict)
    remarks: dict[Path, str] = field(default_factory=dict)
    branches: dict[Path, Branch] = field(default_factory=dict)
    grown: int = 0


class GenerativeVerifier(OpeningVerifier[_Conversation]):
    """Scores candidates by the verdict of a critique that ``engine``, the critic, writes."""

    def __init__(
        self,
        engine: Engine,
        chat: Chat,
        format: CritiqueFormat,
        *,
        name: str = "generative",
    ) -> None:
        if not (engine.info.scores and engine.info.steps):
            raise UsageError(
                f"The engine {engine.info.name} cannot read the verdict of a critique.",
                "Use --verifier confidence, or a critic on this machine.",
            )
        super().__init__(engine, name)
        self._chat = chat
        self._format = format

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The verdict on each whole solution; with ``genprm`` the least of its steps'.

        None where the critique came to no verdict, or where a cap came first.
        """
        paths = [split_steps(leaf.candidate) for leaf in leaves]
        conversation = await self._judge(session, problem, paths)
        whole = [self._find_decisive(conversation, path) for path in paths]
        values = [None if path is None else conversation.values[path] for path in whole]
        remarks = ["" if path is None else conversation.remarks.get(path, "") for path in whole]
        return to_scores(self.name, values, remarks)

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The verdict on the last step (``genprm``), or on all up to it."""
        paths = [split_steps(leaf.candidate) if leaf.candidate.steps else () for leaf in leaves]
        conversation = await self._judge(session, problem, paths)
        values = [conversation.values.get(path) if path else None for path in paths]
        remarks = [conversation.remarks.get(path, "") for path in paths]
        return to_step_scores(self.name, values, leaves, remarks)

    def _find_decisive(self, conversation: _Conversation, path: Path) -> Path | None:
        """The path whose verdict is that of all of ``path``; None where there is none."""
        turns = range(len(path)) if self._format.turns else [len(path) - 1]
        heads = [path[: i + 1] for i in turns]
        values = {head: conversation.values.get(head) for head in heads if head}
        known = {head: value for head, value in values.items() if value is not None}
        return min(known, key=known.__getitem__) if known and len(known) == len(heads) else None

    async def _judge(
        self, session: Session, problem: Problem, paths: Sequence[Path]
    ) -> _Conversation:
        """Judge what is new of ``paths``: all of a level in one batch."""
        conversation = self.opened.get(session)
        if conversation is None:
            shared, _ = self._halves(problem)
            conversation = _Conversation(await self.open_own(session, shared))
            self.opened[session] = conversation
        if not self._format.turns:
            new = [path for path in dict.fromkeys(paths) if path]
            await self._criticise(
                conversation,
                [
                    (path, conversation.session.append(conversation.session.root, text))
                    for path in new
                    if path not in conversation.values
                    for text in (self._word(problem, path),)
                ],
            )
            return conversation
        for level in range(max((len(path) for path in paths), default=0)):
            heads = dict.fromkeys(path[: level + 1] for path in paths if len(path) > level)
            asked = []
            for head in heads:
                behind = conversation.branches.get(head[:-1]) if level else None
                if head in conversation.values or (level and behind is None):
                    continue
                text = self._word_turn(problem, head)
                origin = behind or conversation.session.root
                asked.append((head, conversation.session.append(origin, text)))
            await self._criticise(conversation, asked)
        return conversation

    async def _criticise(
        self, conversation: _Conversation, asked: Sequence[tuple[Path, Branch]]
    ) -> None:
        """Let a critique grow on each branch, and read its verdict."""
        if not asked:
            return
        session, format = conversation.session, self._format
        requests = []
        for i, (path, branch) in enumerate(asked):
            seed = conversation.grown + i
            marks: tuple[str, ...] = (GENPRM_END,)
            if not format.turns:  # a critic may also invent a further step
                marks = (ASKED, f"Step {len(path) + 1}:", "</think>")
            requests.append(Grow(branch, format.tokens, format.sampling, seed, seed, marks=marks))
        first = conversation.grown
        conversation.grown += len(asked)
        growths = {each.label - first: each async for each in session.grow(requests)}
        rows, places = [], []
        for i, (path, branch) in enumerate(asked):
            ending = self._ask(growths[i])
            if ending is None:
                conversation.values[path] = None
                session.drop([branch])
                continue
            lead = "" if format.turns else format.start
            conversation.remarks[path] = read_remark(lead + growths[i].text)
            stand = session.append(branch, ending) if ending else branch
            rows.append(ScoreRow(stand, (), (YES, NO)))
            places.append((path, branch, stand))
        verdicts = await session.score(rows) if rows else []
        for (path, branch, stand), row in zip(places, verdicts, strict=True):
            value = conversation.values[path] = share_of_first(row)
            if format.turns and value is not None:
                said = "Yes" if value >= 0.5 else "No"
                end = (Span(f"{said}}}$\n</output>"),)
                conversation.branches[path] = session.append(stand, end)
            session.drop({branch, stand})

    def _ask(self, growth: Growth) -> Prompt | None:
        """What stands between the critique and its verdict; None where it came to none."""
        if growth.finish in (Finish.BUDGET, Finish.CANCELLED, Finish.CONTEXT, Finish.CUT):
            return None
        if self._format.turns:
            lead = "" if growth.finish is Finish.MARK else f"\n{GENPRM_END}"
            # The token that ended the analysis may have begun the next line.
            begun = "\n" if growth.text.endswith("\n") else ""
            return (Span((lead + GENPRM_VERDICT).removeprefix(begun)),)
        if growth.finish is Finish.MARK and growth.text.rstrip().endswith(ASKED):
            return ()
        # Cut off or gone astray: a verdict is asked for only where some step has one.
        return (Span(f"\n{ASKED}"),) if read_labels(growth.text) else None

    def _halves(self, problem: Problem, path: Path = ("?",)) -> tuple[Prompt, Prompt]:
        """The first turn, cut after the question: read once, and read for each solution."""
        if self._format.turns:
            shared = f"Question: {problem.text.strip()}\n\n"
            turn = word_step(problem.text.strip(), path[0], 0)
            messages = [Message("system", GENPRM_SYSTEM), Message("user", turn)]
        else:
            shared = word_question(problem.text.strip())
            messages = [Message("user", shared + word_solution(path, self._format))]
        return _cut(self._chat.render(messages), shared)

    def _word(self, problem: Problem, path: Path) -> Prompt:
        _, (*rest, head) = self._halves(problem, path)
        # Newlines on both sides of a seam are one token to the model.
        bare = head.text.rstrip("\n")
        start = head.text[len(bare) :] + self._format.start
        return (*rest, replace(head, text=bare), Span(start))

    def _word_turn(self, problem: Problem, path: Path) -> Prompt:
        if len(path) == 1:
            _, begin = self._halves(problem, path)
        else:
            begin = self._chat.follow_up(word_step("", path[-1], len(path) - 1))
        return (*begin, Span(start_step(len(path) - 1)))


def make_generative(context: VerifierContext, argument: str | None) -> GenerativeVerifier:
    """The verifier that ``generative[=[MODEL][@FORMAT]]`` asks for; without a model, itself.

    Raises:
        UsageError: there is no engine to ask.
        TemplateError: the critic has no chat template.
    """
    model, format = read_critic(argument)
    engine, chat = context.engine, context.chat
    if model:
        if context.load is None:
            raise UsageError("No second model can be loaded here.", "Use --verifier generative.")
        critic = context.load(model)
        if critic is not engine:
            chat = Chat(critic.info)
        engine = critic
    if engine is None:
        raise UsageError("There is no model to write a critique.", "Use --verifier judge.")
    format = format or guess_format(engine.info.model)
    name = f"generative={argument}" if argument else "generative"
    return GenerativeVerifier(engine, chat, format, name=name)


def _cut(prompt: Prompt, shared: str) -> tuple[Prompt, Prompt]:
    """``prompt`` up to the end of ``shared``, which one of its spans begins or holds; the rest."""
    for i, span in enumerate(prompt):
        place = span.text.find(shared) if not span.control else -1
        if place >= 0:
            end = place + len(shared)
            tail = (replace(span, text=span.text[end:]),) if span.text[end:] else ()
            return (
                (*prompt[:i], replace(span, text=span.text[:end])),
                (*tail, *prompt[i + 1 :]),
            )
    raise UsageError(
        "The critic's chat template changes what it is given; it cannot be asked for a critique.",
        "Name another model: --verifier generative=MODEL",
    )


GENERATIVE = VerifierEntry(
    "generative",
    make_generative,
    "a critique in words, then its verdict",
    "steps and whole",
    "hundreds of tokens a score",
    "[MODEL@FORMAT]",
)
