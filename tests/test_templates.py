"""Chat templates made to hurt: each ends within a second or two, and without filling the memory.

In a child process that says for each how long it took, how far the memory rose and what came of
it. What a template may not do at all is in ``test_prompts``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ttc_cli.templates import MAX_SOURCE

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 3.0
"""Twice what a loaded machine has needed."""
MEGABYTES = 120

FULL = MAX_SOURCE - 16
LONG = {
    "expressions": "{{a}}" * (FULL // 5),
    "lines": "{{ a }}\n" * (FULL // 8),
    "conditions": "{% if a %}{% endif %}" * (FULL // 21),
    "nested conditions": "{% if a %}" * (FULL // 22) + "{% endif %}" * (FULL // 22),
    "settings": "{% set a=1 %}" * (FULL // 13),
    "macros": "{% macro f() %}{% endmacro %}" * (FULL // 29),
    "sum": "{{ 1" + "+1" * (FULL // 2 - 5) + " }}",
    "comparison": "{{ 1" + "<1" * (FULL // 2 - 5) + " }}",
    "concatenation": "{{ 1" + "~1" * (FULL // 2 - 5) + " }}",
    "attributes": "{{ a" + ".b" * (FULL // 2 - 5) + " }}",
    "filters": "{{ 1" + "|abs" * (FULL // 4 - 5) + " }}",
    "negations": "{{ " + "not " * (FULL // 4 - 5) + "1 }}",
    "list": "{{ [" + "1," * (FULL // 2 - 5) + "] }}",
    "dictionary": "{{ {" + "1:1," * (FULL // 4 - 5) + "} }}",
    "arguments": "{{ f(" + "1," * (FULL // 2 - 5) + ") }}",
    "nested lists": "{{ " + "[" * (FULL // 2 - 5) + "]" * (FULL // 2 - 5) + " }}",
    "openings": "{{" * (FULL // 2),
    "comments": "{#" * (FULL // 2),
    "number": "{{ " + "9" * (FULL - 10) + " }}",
    "one too long": "x" * (MAX_SOURCE + 1),
}
HURTFUL = {
    "endless loop": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "range": "{% for a in range(10 ** 9) %}{% endfor %}",
    "long text": "{{ 'x' * 10 ** 9 }}",
    "power": "{{ 10 ** 10 ** 9 }}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "undefined filter": "{{ 1 | nosuch }}",
    "undefined test": "{{ 1 is nosuch }}",
    "class": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ raise_exception.__globals__['os'].system('true') }}",
    "import": "{% import 'os' as os %}",
    "sorting": "{{ range(9999) | list | sort | sort | groupby('real') }}",
    "slices": "{{ range(9999) | slice(9999) | list }}",
    "translation": "{{ ('a' * 30000).translate({97: 'b' * 1000}) }}",
    "tabs": "{{ ('\\t' * 30000).expandtabs(9999) }}",
    "endless writing": "{% for a in range(9999) %}" + "y" * 9999 + "{% endfor %}",
    "a namespace in itself": "{% set n = namespace() %}{% set n.n = n %}{{ n | tojson }}",
}
CHILD = textwrap.dedent(
    """
    import json, resource, sys, time
    from datetime import datetime
    from ttc_cli.errors import TemplateError
    from ttc_cli.templates import Template

    def rise():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    for source in json.load(sys.stdin):
        before, started = rise(), time.process_time()
        try:
            Template(source).render({"a": "A", "messages": []}, datetime.now)
            came = "rendered"
        except TemplateError as error:
            came = f"exit {error.exit_code}: {error.message}"
        print(json.dumps([time.process_time() - started, rise() - before, came]), flush=True)
    """
)


@pytest.fixture(scope="module")
def came() -> dict[str, tuple[float, float, str]]:
    """What came of each template: seconds, megabytes, words."""
    sources = {**LONG, **HURTFUL}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(list(sources.values())),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(sources), done.stderr[-500:]
    return dict(zip(sources, lines, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LONG, *HURTFUL])
def test_no_template_takes_long_or_much(
    came: dict[str, tuple[float, float, str]], name: str
) -> None:
    seconds, megabytes, _ = came[name]
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LONG, *HURTFUL])
def test_each_is_an_error_of_exit_2(came: dict[str, tuple[float, float, str]], name: str) -> None:
    assert came[name][2].startswith("exit 2: The model's chat template ")
