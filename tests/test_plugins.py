"""What other packages add, strategies to engines: found, used, and harmless when broken."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ttc_cli.main import main

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "ttc-plugin-example"
SCRIPTED = ROOT / "tests" / "commands" / "scripted_ttc.py"
LONG = "So it is, after a long and winding way that leads nowhere.\n\nThe final answer is 5."
SHORT = "The final answer is 4."

STRATEGY = """
from ttc_cli.search.context import StrategyEntry
from ttc_cli.search.strategies.plain import majority
from ttc_cli.search.sample import sample_all
async def fail(context):
    await sample_all(context)
    raise ZeroDivisionError("by nothing")
async def fail_early(context):
    raise ZeroDivisionError("by nothing")
async def give_nothing(context):
    await sample_all(context)
own = StrategyEntry("own", majority, "as majority")
late = StrategyEntry("late", fail, "fails late")
early = StrategyEntry("early", fail_early, "fails at once")
nothing = StrategyEntry("nothing", give_nothing, "gives no outcome")
misnamed = StrategyEntry("another", majority, "under another name")
no_entry = 3
"""
VERIFIER = """
from ttc_cli.types import Score
from ttc_cli.verifiers.base import WholeVerifier
from ttc_cli.verifiers.base import VerifierEntry
class Each(WholeVerifier):
    needs_branch = False
    def __init__(self, name, give):
        self.name, self.give = name, give
    async def score(self, session, problem, leaves):
        return self.give(leaves)
    async def leave(self, session):
        raise ZeroDivisionError("while leaving")
def fail(leaves):
    raise ZeroDivisionError("by nothing")
def entry(name, give):
    return VerifierEntry(name, lambda means, argument: Each(name, give), "x", "whole", "nothing")
same = entry("same", lambda leaves: [Score("other", 0.5) for _ in leaves])
failing = entry("failing", fail)
wild = entry("wild", lambda leaves: [Score("wild", 7.0) for _ in leaves])
few = entry("few", lambda leaves: [])
unmade = VerifierEntry("unmade", lambda means, argument: 1 / 0, "x", "whole", "nothing")
"""
FORM = """
from ttc_cli.forms.base import FormEntry, Reading
from ttc_cli.prompts import build_messages
async def read(written, interpreter):
    return Reading(None)
mute = FormEntry("mute", "never answers", build_messages, read)
auto = FormEntry("auto", "takes a word of ttc's", build_messages, read)
"""
ENGINE = """
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.engines.registry import EngineEntry
asked = []
def make(wish):
    asked.append(wish)
    if wish.where == "broken":
        raise ZeroDivisionError("by nothing")
    return None if wish.where == "none" else ScriptedEngine(["The final answer is 4."])
toy = EngineEntry("toy", make, "says four")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with one module into the path, and its entry points beside it."""
    folder = tmp_path / "site"
    folder.mkdir()

    def run(package, source, version="1.0", **groups):
        module = package.replace("-", "_")
        (folder / f"{module}.py").write_text(source)
        about = folder / f"{module}-{version}.dist-info"
        about.mkdir()
        about.joinpath("METADATA").write_text(f"Name: {package}\nVersion: {version}\n")
        lines = []
        for group, names in groups.items():
            lines.append(f"[ttc.{group}]")
            lines += [f"{name} = {module}:{name.replace('-', '_')}" for name in names]
        about.joinpath("entry_points.txt").write_text("\n".join(lines))
        sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(str(folder))

    return run


@pytest.fixture
def ttc(monkeypatch, tmp_path, capsys):
    from ttc_cli.engines.scripted import ScriptedEngine
    from ttc_cli.models.files import Model
    from ttc_cli.models.registry import Entry, FileSource

    for name in list(os.environ):
        if name.startswith(("TTC_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = Model("script", Entry("script", "A script", (FileSource("x.gguf"),)), Path("x.gguf"))
    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: model)
    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine",
        lambda path, settings, name: ScriptedEngine([LONG, SHORT, SHORT]),
    )

    def run(*arguments):
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run


ASK = ("solve", "What is 2+2?", "--samples", "3")


def test_a_strategy_and_a_verifier_are_used_by_name(install, ttc):
    install("others", STRATEGY + VERIFIER, strategies=["own"], verifiers=["same"])
    code, out, err = ttc(*ASK, "--strategy", "own")
    assert (code, out) == (0, "4\n"), err
    code, out, _ = ttc(*ASK, "--strategy", "best-of-n", "--verifier", "same:2", "--json")
    scores = [each["scores"] for each in json.loads(out)["candidates"]]
    assert [(s["verifier"], s["value"], s["weight"]) for (s,) in scores] == [("same", 0.5, 2.0)] * 3


def test_nothing_is_imported_that_nobody_asked_for(install, ttc):
    install("bomb", "raise SystemExit('boom')", strategies=["own"], verifiers=["x"], engines=["y"])
    assert ttc("--help")[0] == 0
    assert ttc(*ASK, "-q") == (0, "4\n", "")
    assert ttc(*ASK, "-q", "--strategy", "best-of-n", "--verifier", "judge")[0] == 0
    assert "bomb" not in sys.modules


def test_a_strategy_that_fails_late_loses_nothing(install, ttc):
    install("others", STRATEGY, strategies=["late", "nothing"])
    for name, why in (("late", "ZeroDivisionError: by nothing"), ("nothing", "not SearchOutcome")):
        code, out, err = ttc(*ASK, "--strategy", name)
        assert (code, out) == (0, "4\n")
        assert f"the strategy {name} of the package others 1.0 failed" in err
        assert why in err


def test_a_strategy_that_fails_at_once_is_named(install, ttc):
    install("others", STRATEGY, strategies=["early"])
    code, out, err = ttc(*ASK, "--strategy", "early")
    assert (code, out) == (1, "")
    assert "error: the strategy early of the package others 1.0 failed: ZeroDivisionError" in err
    assert "failed unexpectedly" not in err


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("failing", "ZeroDivisionError: by nothing"),
        ("wild", "a score of 7.0"),
        ("few", "0 scores for 3 candidates"),
    ],
)
def test_a_verifier_that_fails_costs_its_scores_alone(install, ttc, name, why):
    install("others", VERIFIER, verifiers=[name])
    code, out, err = ttc(*ASK, "--strategy", "best-of-n", "--verifier", name)
    assert (code, out) == (0, "4\n")
    assert f"Going on without {name}: the verifier {name} of the package others 1.0 failed" in err
    assert why in err


@pytest.mark.parametrize(
    ("source", "group", "name", "why"),
    [
        ("import no_such_module", "strategies", "own", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "strategies", "own", "SystemExit: 3"),
        ("", "verifiers", "same", "AttributeError"),
        (STRATEGY, "strategies", "no_entry", "is not a ttc_cli.search.context.StrategyEntry"),
        (STRATEGY, "strategies", "misnamed", "calls itself 'another'"),
        (STRATEGY, "verifiers", "own", "is not a ttc_cli.verifiers.base.VerifierEntry"),
        (VERIFIER, "verifiers", "unmade", "ZeroDivisionError"),
    ],
)
def test_a_broken_plugin_is_named_with_its_package(install, ttc, source, group, name, why):
    install("broken-one", source, version="2.3", **{group: [name]})
    flag = "--strategy" if group == "strategies" else "--verifier"
    code, out, err = ttc(*ASK, flag, name)
    assert (code, out) == (2, "")
    assert f" {name} of the package broken-one 2.3 cannot be used: " in err
    assert why in err
    assert "pip uninstall broken-one" in err
    assert ttc(*ASK, "-q") == (0, "4\n", "")


def test_the_list_shows_all_of_them_and_warns_of_the_broken(install, ttc):
    assert "No other package" in ttc("plugins")[2]
    install("good", STRATEGY, strategies=["own"])
    install("bad", "import no_such_module", strategies=["lost"], verifiers=["lost"])
    code, out, err = ttc("plugins")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "KIND", "PACKAGE", "VERSION", "USABLE"],
        ["lost", "strategy", "bad", "1.0", "no"],
        ["own", "strategy", "good", "1.0", "yes"],
        ["lost", "verifier", "bad", "1.0", "no"],
    ]
    assert err.count("warning: ") == 2
    assert "The strategy lost of the package bad 1.0 cannot be used: ModuleNotFoundError" in err
    rows = json.loads(ttc("plugins", "--json")[1])["plugins"]
    assert [row["usable"] for row in rows] == [False, True, False]
    code, out, err = ttc("verifiers", "list")
    assert code == 0
    assert "judge" in out
    assert "of the package bad 1.0 cannot be used" in err


def test_forms_are_listed_too(install, ttc):
    install("written", FORM, forms=["mute", "auto"])
    _, out, err = ttc("plugins")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["auto", "form", "written", "1.0", "no"],
        ["mute", "form", "written", "1.0", "yes"],
    ]
    assert "ttc has a form of that name itself" in err


def test_candidates_of_a_plugins_form_are_asked_for_by_its_name(install, ttc):
    install("written", FORM, forms=["mute"])
    code, out, _ = ttc(*ASK, "--form", "mute", "--json")
    result = json.loads(out)
    assert (code, result["answer"]) == (4, None)
    assert [each["form"] for each in result["candidates"]] == ["mute"] * 3
    code, _, err = ttc(*ASK, "--form", "mutt")
    assert (code, "Did you mean mute?" in err) == (2, True)
    Path("ttc.toml").write_text("form = 'mute'")
    code, _, err = ttc(*ASK)
    assert (code, "may ask for a form that is not ttc's own" in err) == (2, True)


def test_no_plugin_takes_a_name_of_ttcs_or_of_anothers(install, ttc):
    source = (
        STRATEGY.replace("by nothing", "it ran")
        + 'majority = StrategyEntry("majority", fail, "x")\n'
    )
    install("greedy-one", source, strategies=["majority", "own"])
    install("zeta", STRATEGY, strategies=["own"])
    assert ttc(*ASK, "-q", "--strategy", "majority") == (0, "4\n", "")
    _, out, err = ttc("plugins")
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["no", "yes", "no"]
    assert "ttc has a strategy of that name itself" in err
    assert "the package greedy-one has one of that name" in err


def test_they_are_named_where_the_others_are(install, ttc):
    install("others", "import no_such_module", strategies=["own"], verifiers=["same"])
    assert "Did you mean own?" in ttc(*ASK, "--strategy", "onw")[2]
    assert "weighted, beam" in ttc(*ASK, "--strategy", "zzz")[2]
    assert ", own." in ttc(*ASK, "--strategy", "zzz")[2]
    assert "Did you mean same?" in ttc(*ASK, "--verifier", "smae")[2]


def test_an_engine_is_opened_by_its_name(install, ttc):
    install("engines", ENGINE, engines=["toy"])
    more = ("--parallel", "3", "--parameters", "2e9", "--model", "big")
    code, out, err = ttc(*ASK, "--server", "toy:some/where:else", *more)
    assert (code, out) == (0, "4\n"), err
    (wish,) = sys.modules["engines"].asked
    assert (wish.where, wish.model, wish.parallel) == ("some/where:else", "big", 3)
    assert wish.parameters == 2_000_000_000
    assert ttc("plugins")[1].splitlines()[1].split() == ["toy", "engine", "engines", "1.0", "yes"]


@pytest.mark.parametrize(
    ("address", "code", "why"),
    [
        ("toy:broken", 1, "the engine toy of the package engines 1.0 failed: ZeroDivisionError"),
        ("toy:none", 1, "gave None, which is not an engine"),
        ("tyo:x", 2, "Did you mean toy:x?"),
        ("zzz:x", 2, "is not the address of a server"),
    ],
)
def test_an_engine_that_fails_or_is_none_is_named(install, ttc, address, code, why):
    install("engines", ENGINE, engines=["toy"])
    found, out, err = ttc(*ASK, "--server", address)
    assert (found, out) == (code, "")
    assert why in err


def test_every_strategy_and_verifier_bears_the_name_it_is_listed_by():
    from ttc_cli import builtin
    from ttc_cli.search import registry as strategies
    from ttc_cli.verifiers import registry as verifiers

    for name in builtin.STRATEGIES:
        assert strategies.find(name).name == name
    for name in builtin.VERIFIERS:
        assert verifiers.find(name).name == name


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example package, built and installed as its users do it, into a folder of its own."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source)
    target = folder / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True,
    )  # fmt: skip
    return target


def run_example(site, tmp_path, *arguments):
    scenario = {"texts": [LONG, LONG, SHORT]}
    return subprocess.run(
        [sys.executable, str(SCRIPTED), *arguments],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("TTC_")},
            "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
            "TTC_HOME": str(tmp_path / "home"),
            "SCENARIO": json.dumps(scenario),
        },
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_example_works_once_it_is_installed(example, tmp_path):
    shortest = run_example(example, tmp_path, *ASK, "--strategy", "shortest-of-n", "--json")
    assert shortest.returncode == 0, shortest.stderr
    result = json.loads(shortest.stdout)
    assert (result["answer"], result["strategy"]) == ("4", "shortest-of-n")
    vote = run_example(example, tmp_path, *ASK, "--strategy", "majority")
    assert vote.stdout == "5\n"
    brief = ("--strategy", "best-of-n", "--verifier", "brevity=20", "--json")
    scored = json.loads(run_example(example, tmp_path, *ASK, *brief).stdout)
    assert scored["answer"] == "4"
    for each in scored["candidates"]:
        assert each["scores"][0]["value"] == pytest.approx(20 / (20 + each["tokens"]))
    listed = run_example(example, tmp_path, "plugins")
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [
        ["shortest-of-n", "strategy", "ttc-plugin-example", "0.1.0", "yes"],
        ["brevity", "verifier", "ttc-plugin-example", "0.1.0", "yes"],
    ]


def test_the_modules_that_plugins_may_import_exist_and_so_do_the_names():
    import importlib
    import re

    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ttc_cli[\w.]*)` \| (.+?) \|", page, re.MULTILINE)
    assert len(rows) >= 8
    for module, names in rows:
        found = importlib.import_module(module)
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(found, name), f"{module}.{name}"
