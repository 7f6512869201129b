"""The engine over a server under a schema: in which form it is told, and where it cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engines.test_openai import connect, sample
from ttc_cli.answers.validating import conforms
from ttc_cli.engines import openai
from ttc_cli.engines.openai import Settings
from ttc_cli.engines.openai.grammars import FORMS
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "word": {"type": "string"}},
        "required": ["n", "word"],
    }
)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_form_that_a_server_keeps_to_is_found_and_used(
    start: Any,
    form: str,
    refuses: bool,
) -> None:
    fake = start(grammar=form, refuses_forms=refuses)
    engine = connect(fake, grammars=True)
    assert engine.abilities.grammar == form
    assert engine.info.grammars
    growths = sample(engine, 3, grammar=SCHEMA)
    assert all(conforms(each.text, SCHEMA) for each in growths)
    assert all(each.finish is Finish.STOP for each in growths)
    (field,) = FORMS[form](SCHEMA)
    assert [each[field] for each in fake.completions] == [FORMS[form](SCHEMA)[field]] * 3
    (free,) = sample(engine)
    assert not conforms(free.text, SCHEMA)
    assert field not in fake.completions[-1]


def test_a_server_that_ignores_every_form_is_found_out(start: Any) -> None:
    fake = start()
    engine = openai.connect(Settings(fake.url, grammars=True))
    assert not engine.info.grammars
    assert len(fake.completions) <= 6 + len(FORMS)
    with pytest.raises(UsageError, match="hold its output to a schema"):
        sample(engine, grammar=SCHEMA)


def test_nobody_is_asked_about_schemas_unless_they_are_wanted(start: Any) -> None:
    fake = start(grammar="json_schema")
    engine = openai.connect(Settings(fake.url))
    assert not engine.info.grammars
    assert not any("json_schema" in each for each in fake.completions)


def test_a_value_that_is_cut_is_begun_again(start: Any) -> None:
    fake = start(grammar="json_schema")
    engine = connect(fake, grammars=True)
    fake.cut_after.append(2)
    ledger = Ledger(Budget())
    (growth,) = sample(engine, grammar=SCHEMA, ledger=ledger)
    assert conforms(growth.text, SCHEMA)
    assert growth.finish is Finish.STOP
    first, second = fake.completions
    assert first["prompt"] == second["prompt"]
    assert ledger.usage().generator.generated_tokens == growth.tokens
