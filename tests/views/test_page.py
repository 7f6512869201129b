import base64
import hashlib
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import story
from hypothesis import given, settings
from hypothesis import strategies as st
from test_frame import HOSTILE, happenings

from ttc_cli import events
from ttc_cli.sanitise import clean
from ttc_cli.types import (
    PROGRAM,
    Answer,
    AnswerClass,
    AnswerType,
    Budget,
    Candidate,
    Estimate,
    Execution,
    Finish,
    Problem,
    Result,
    RoleUsage,
    Score,
    Step,
    Usage,
)
from ttc_cli.views.page import render_page
from ttc_cli.views.record import look_back

VOID = {"meta", "link", "br", "img", "input", "hr"}
SCRIPT = '</div></script><script>alert(1)</script><img src=x onerror="alert(2)">'
EVIL = f"{SCRIPT} \"'`=<a href='https://evil.example/'>link</a> {{{{ 7 * 7 }}}} {HOSTILE}"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


class Page(HTMLParser):
    """Tags with their attributes and text, and whether every one was closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def find(self, tag=None, **attrs):
        return [
            found
            for name, found in self.tags
            if tag in (None, name) and all(found.get(k) == v for k, v in attrs.items())
        ]

    def text(self, *but):
        return "".join(data for tag, data in self.texts if tag not in but)


def draw(run, **options):
    return render_page(story.STORIES[run](), **options)


def find_controls(text):
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}


def hostile_run():
    answer = Answer(EVIL, EVIL, AnswerType.TEXT)
    scores = (Score(EVIL, 0.5, 0, remark=EVIL), Score(EVIL, 0.5, remark=EVIL))
    one = Candidate(1, EVIL, 3, Finish.STOP, answer, None, scores, steps=(Step(EVIL, 3),))
    two = Candidate(2, EVIL * 2, 3, Finish.PRUNED, None, None, scores, thought=len(EVIL))
    three = Candidate(
        4, f"{EVIL}\n```\n{EVIL}", 3, Finish.STOP, form=PROGRAM, ran=Execution(EVIL, EVIL)
    )
    four = replace(three, id=5, form=EVIL)
    classes = (AnswerClass(answer, (1,), 1.0),)
    estimate = Estimate(0.5, 0.5, 3)
    usage = Usage(RoleUsage(9, 9, 9, 9, 9.0))
    yield (
        0.0,
        events.RunStarted(Problem(EVIL, system=EVIL), EVIL, EVIL, (EVIL,), Budget(EVIL), 0, 4),
    )
    yield 0.1, events.WaveStarted(0, EVIL, 2, EVIL)
    yield 0.2, events.Grew({0: EVIL, 3: EVIL}, 2, 0, 1, 2)
    yield 0.3, events.Stepped(3, 0, EVIL, 4)
    yield 0.4, events.CandidateEnded(one)
    yield 0.4, events.Pruned(2, EVIL)
    yield 0.4, events.CandidateEnded(two)
    yield 0.4, events.CandidateEnded(three)
    yield 0.4, events.CandidateEnded(four)
    yield 0.5, events.Voted(classes, 2)
    yield 0.5, events.Decided(EVIL, EVIL, estimate)
    yield 0.6, events.Warned(EVIL)
    yield (
        1.0,
        events.RunEnded(
            Result(
                *(answer, EVIL, 1, "vote", 2, 2, 0.5, estimate, EVIL, EVIL),
                *((one, two, three, four), classes, usage),
            )
        ),
    )


def wide_run(count=64):
    """So many candidates in one wave, each a child of none."""
    yield 0.0, events.RunStarted(Problem("How many?"), "m", "majority", (), Budget(), 0, count)
    ended = []
    for id in range(count):
        yield 0.1, events.CandidateStarted(id, 0)
    for id in range(count):
        ended.append(story.candidate(id, str(id % 9)))
        yield 1 + id / 10, events.CandidateEnded(ended[-1])
        votes = [(str(n), tuple(c.id for c in ended if c.answer.text == str(n))) for n in range(9)]
        classes = story.classes(*((text, ids, float(len(ids))) for text, ids in votes if ids))
        yield 1 + id / 10, events.Voted(classes, len(ended))
        yield 1 + id / 10, events.Spent(story.usage(96 * len(ended), 1 + id / 10))


@pytest.mark.parametrize("name", story.STORIES)
def test_every_part_of_a_run_is_on_its_page(name):
    page = Page(draw(name, name="3f2a91bc", when="2026-11-25 16:00"))
    text = " ".join(page.text("style", "script").split())
    assert story.QUESTION in text
    assert "3f2a91bc" in text
    ids = {e.id for _, e in story.STORIES[name]() if isinstance(e, events.CandidateStarted)}
    for id in ids:
        (item,) = page.find("a", id=f"t1-{id}")
        assert item["href"] == f"#c1-{id}"
        assert page.find("div", id=f"c1-{id}")
    for _, event in story.STORIES[name]():
        if isinstance(event, events.Pruned | events.Decided | events.WaveStarted):
            assert event.reason in text
        if isinstance(event, events.Stepped):
            assert event.text.strip() in text


def test_answer_why_and_cost_are_told():
    text = " ".join(Page(draw("whole")).text("style", "script").split())
    assert "6 of 10 candidates agree" in text
    assert "Not calibrated for this model" in text
    assert "1,084 of 8,192" in text
    assert "3.9 TFLOP" in text
    assert "the judge separates right from wrong poorly" in text


def test_a_step_stands_with_its_scores_and_a_fork_tells_where_it_goes_on_from():
    page = Page(draw("searched"))
    text = " ".join(page.text("style", "script").split())
    assert "judge 0.93, confidence 0.80" in text
    assert "goes on from #4 after step 3" in text
    (fork,) = page.find("a", id="t1-8")
    assert (fork["aria-level"], fork["aria-posinset"], fork["aria-setsize"]) == ("3", "2", "2")


def test_the_page_needs_nothing_but_itself():
    text = draw("whole")
    page = Page(text)
    unhashed = re.sub(r"sha256-[\w+/=]*", "", text)  # a hash may hold anything
    assert not re.search(r"(?i)https?:|//[a-z]|url\(|@import|@font-face", unhashed)
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "image")
        assert not {"src", "srcset", "style", "action"} & set(attrs)
        assert not [name for name in attrs if name.startswith("on")]
        assert attrs.get("href", "#").startswith("#")


def test_only_the_pages_own_style_and_script_may_run():
    text = draw("whole")
    (policy,) = Page(text).find("meta", **{"http-equiv": "Content-Security-Policy"})
    allowed = dict(part.split(maxsplit=1) for part in policy["content"].split("; "))
    assert allowed.pop("default-src") == "'none'"
    for tag in ("style", "script"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert allowed.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert set(allowed.values()) == {"'none'"}


def test_hostile_text_is_shown_and_does_nothing():
    text = render_page(hostile_run(), name=EVIL, when=EVIL)
    page = Page(text)
    assert len(page.find("script")) == 1
    assert not page.find("img")
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        assert attrs.get("href", "#").startswith("#")
    shown = page.text("style", "script")
    assert shown.count("alert(1)") > 10
    assert "{{ 7 * 7 }}" in shown
    assert not find_controls(text)


def test_a_program_is_a_block_of_code_with_what_it_printed_below_it():
    text = draw("agreed")
    page = Page(text)
    assert len(page.find("pre", **{"class": "code"})) == 5  # two, a failed one, and once repaired
    assert len(page.find("figure", **{"class": "ran output"})) == 4
    assert len(page.find("figure", **{"class": "ran error"})) == 1
    assert story.MEETING.removesuffix("\n```") in page.text("style", "script")
    solution = text[text.index('id="solution"') : text.index('id="stage1"')]
    assert ">#0</a>, program<" in solution
    code, printed = solution.index("print(int(hours))"), solution.index("printed")
    assert code < printed < solution.index(">6<")
    body = text[text.index('id="c1-2"') : text.index('id="c1-3"')]
    assert body.index("speed_2nd") < body.index("failed") < body.index("NameError: name")
    assert "program · wave 1" in body
    assert "program · wave" not in text[text.index('id="c1-1"') : text.index('id="c1-2"')]


def test_a_program_under_way_and_one_that_printed_nothing_have_their_blocks():
    begun = events.CandidateStarted(0, 0, form=PROGRAM)
    growing = [(0.0, begun), (0.5, events.Grew({0: "x = 1\n"}, 1, 0, 1, 2))]
    page = Page(render_page(growing))
    assert len(page.find("pre", **{"class": "code"})) == 1
    silent = story.program(0, "x = 1\n```")
    page = Page(render_page([*growing, (1.0, events.CandidateEnded(silent))]))
    assert "(nothing)" in page.text()
    assert len(page.find("figure", **{"class": "ran output"})) >= 1


def test_what_a_verifier_said_stands_with_its_candidate():
    said = Score("check", 0.0, remark="It ended with exit status 1. It printed:\n\n<b>no</b>")
    run = [*story.whole(), (99.0, events.Scored(0, said))]
    shown = Page(render_page(run)).text("style", "script")
    assert shown.count("check says") == 1
    assert "It printed:\n\n<b>no</b>" in shown


def test_the_tree_is_one_to_those_who_do_not_see_it():
    page = Page(draw("searched"))
    (tree,) = page.find("ul", role="tree")
    assert page.find("h3", id=tree["aria-labelledby"])
    items = page.find("a", role="treeitem")
    assert len(items) == 9
    for item in items:
        assert {"aria-level", "aria-setsize", "aria-posinset", "aria-selected"} <= set(item)
    assert len(page.find("a", role="treeitem", **{"aria-expanded": "true"})) == 3
    assert len(page.find("a", role="treeitem", **{"aria-selected": "true"})) == 1


@pytest.mark.parametrize("name", story.STORIES)
def test_every_drawing_has_words(name):
    page = Page(draw(name))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for word in attrs.get("aria-labelledby", "").split():
            assert word in ids
        if attrs.get("href", "#") != "#":
            assert attrs["href"][1:] in ids
    charts = page.find("svg", role="img")
    assert charts
    assert all("aria-labelledby" in chart for chart in charts)
    outer = [a for t, a in page.tags if t == "svg" and "viewbox" not in a and a not in charts]
    assert all(svg.get("aria-hidden") == "true" for svg in outer)
    captions = page.text("style", "script")
    assert "Candidates" in captions
    assert ("Budget over time" in captions) == (name != "start")  # nothing was spent yet
    assert page.find("html", lang="en")
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_sixty_four_candidates_stay_in_bounds():
    text = render_page(wide_run())
    page = Page(text)
    assert len(page.find("a", role="treeitem")) == 64
    assert len(page.find("details", **{"class": "candidate best", "open": None})) == 1
    lives = next(a for t, a in page.tags if a.get("class") == "chart lives")
    assert float(lives["height"]) <= 260
    assert "other answers" in page.text()
    assert len(text) < 500_000


def test_a_run_that_was_killed_is_shown_as_far_as_it_went():
    text = " ".join(Page(draw("branching")).text("style", "script").split())
    assert "The run did not end." in text
    assert "growing" in text
    assert "Therefore t = 6." in text  # of one that had not ended


def test_a_cascade_shows_each_model_and_the_one_that_was_believed():
    first = list(story.whole())
    reason = "qwen2.5-coder-1.5b is not sure enough: ask the next model"
    second = [(20 + at, event) for at, event in story.searched()]
    run = [*first, (13.0, events.Decided("wave", reason)), *second, (40.0, first[-1][1])]
    page = Page(render_page(run))
    text = " ".join(page.text("style", "script").split())
    assert "Model 1 of 2" in text
    assert reason in text
    assert page.find("a", href="#c1-8")  # the winner is of the first model
    assert page.find("div", id="c1-13")
    assert not page.find("div", id="c2-13")


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(), happenings), max_size=8))
def test_any_run_has_a_page(run):
    text = render_page(run)
    page = Page(text)
    assert len(page.find("script")) == 1
    assert clean(text) == text


@pytest.fixture
def browse(tmp_path):
    """Opens a page in Chromium; returns the page as it then is, and what Chromium complained of."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")

    def run(text):
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        user = f"--user-data-dir={tmp_path / 'user'}"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", user]
        done = subprocess.run(
            [CHROMIUM, *flags, "--dump-dom", file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return Page(done.stdout), [x for x in done.stderr.splitlines() if ":CONSOLE:" in x]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("run", [hostile_run, wide_run], ids=["hostile", "wide"])
def test_chromium_runs_the_pages_script_and_no_other(run, browse):
    page, complaints = browse(render_page(run()))
    roving = [item["tabindex"] for item in page.find("a", role="treeitem")]
    assert sorted(roving) == ["-1"] * (len(roving) - 1) + ["0"]
    assert not page.find("button", hidden="")
    assert len(page.find("script")) == 1
    assert complaints == []


@pytest.mark.slow
def test_chromium_refuses_any_other_script_and_style(browse):
    text = draw("whole").replace("</main>", "</main><script>document.title = 'pwned'</script>")
    page, complaints = browse(text)
    assert "pwned" not in next(data for tag, data in page.texts if tag == "title")
    assert len(complaints) == 1
    assert "Content Security Policy" in complaints[0]


@pytest.mark.slow
def test_the_keys_of_a_tree_move_in_it(browse):
    keys = {
        "ArrowDown": "t1-1",
        "ArrowRight": "t1-4",  # into an open branch
        "ArrowRight ": "t1-7",
        "ArrowLeft": "t1-4",  # to the parent
        "ArrowLeft ": "t1-4",  # which is closed
        "ArrowDown ": "t1-6",
        "ArrowLeft  ": "t1-1",
        "End": "t1-3",
        "ArrowUp": "t1-5",
        "Home": "t1-0",
        "ArrowUp ": "t1-0",
    }
    driver = """
    const seen = [];
    document.getElementById("t1-0").focus();
    for (const key of KEYS) {
      const pressed = new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true});
      document.activeElement.dispatchEvent(pressed);
      seen.push(document.activeElement.id);
    }
    document.body.dataset.seen = seen.join(" ");
    """.replace("KEYS", str([key.strip() for key in keys]))
    text = re.sub("<meta http-equiv[^>]*>", "", draw("searched"))
    page, complaints = browse(text.replace("</body>", f"<script>{driver}</script></body>"))
    assert complaints == []
    assert page.find("body")[0]["data-seen"].split() == list(keys.values())
    assert len(page.find("li", hidden="")) == 2  # below the branch that was closed


def test_spending_never_falls():
    run = [*story.start(), (1.0, events.Spent(story.usage(100, 1.0)))]
    run += [(2.0, events.Grew(dict.fromkeys(range(8), "x"), 8, 0, 0, 0))] * 9  # 72 more, it seems
    run += [(3.0, events.Spent(story.usage(130, 3.0)))]
    (stage,) = look_back(run).stages
    assert [each.tokens for each in stage.spending] == [100, 130, 130]
    assert stage.spending[1].flops == stage.spending[2].flops


def ended(text, steps=(), thought=0):
    candidate = Candidate(0, text, 9, Finish.STOP, story.answer("6"), steps=steps, thought=thought)
    return [(0.0, events.CandidateStarted(0, 0)), (1.0, events.CandidateEnded(candidate))]


def test_a_thought_is_told_from_the_steps_of_the_answer():
    whole = "<think>Is it 4?\n\nNo.</think>\n\nWe add.\n\nIt is 6."
    (stage,) = look_back(ended(whole, thought=28)).stages
    (life,) = stage.lives
    assert life.thought == "<think>Is it 4?\n\nNo.</think>"
    assert [(part.number, part.text) for part in life.steps] == [(1, "We add."), (2, "It is 6.")]
    page = Page(render_page(ended(whole, thought=28)))
    assert len(page.find("details", **{"class": "thought"})) == 1


def test_a_thought_within_steps_leaves_their_numbers_alone():
    steps = (Step("Is it 4?\n\n", 3), Step("No. We add.\n\n", 3), Step("It is 6.", 3))
    (stage,) = look_back(ended("".join(s.text for s in steps), steps, thought=14)).stages
    (life,) = stage.lives
    assert life.thought == "Is it 4?\n\nNo."
    assert [part.text.strip() for part in life.steps] == ["", "We add.", "It is 6."]


def test_the_path_to_a_candidate_begins_with_what_its_ancestors_wrote():
    (stage,) = look_back(story.searched()).stages
    assert [part.number for part in stage.path(8)] == [1, 2, 3, 4]
    assert "".join(part.text for part in stage.path(1)) == "".join(story.STEPS)
    assert [part.number for part in {life.node.id: life for life in stage.lives}[8].steps] == [4]
