"""``ttc`` with a scripted engine in place of a model, for tests that need a process of their own.

``SCENARIO`` in the environment holds the engine's arguments as JSON; ``wedged`` makes it ignore
every request to stop, ``babbles`` has each candidate say something of its own.
"""

import json
import os
import sys
from pathlib import Path

from ttc_cli.engines.scripted import Reply, ScriptedEngine, babble
from ttc_cli.main import main
from ttc_cli.models import files
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource
from ttc_cli.solving import choosing as planning
from ttc_cli.solving import loading
from ttc_cli.types import Finish

FOREVER = "forever: "
"""A text with this before it goes on and on instead of ending the model's turn."""


def make_model():
    source = FileSource("script.gguf")
    return Model("script", Entry("script", "A script", (source,)), Path(source.path))


def make_engine(texts, **options):
    replies = [
        Reply(text.removeprefix(FOREVER) + " ", Finish.LENGTH)
        if text.startswith(FOREVER)
        else Reply(text)
        for text in texts
    ]
    return ScriptedEngine(replies, **options)


class Wedged(ScriptedEngine):
    def interrupt(self):
        print("asked to stop", file=sys.stderr, flush=True)


if __name__ == "__main__":
    scenario = json.loads(os.environ["SCENARIO"])
    if scenario.pop("wedged", False):
        ScriptedEngine.interrupt = Wedged.interrupt
    planning.choose_model = lambda name: make_model()
    files.read_hash = lambda model: "a" * 64
    if scenario.pop("babbles", False):
        loading.open_engine = lambda path, settings, name: ScriptedEngine(babble, **scenario)
    else:
        loading.open_engine = lambda path, settings, name: make_engine(**scenario)
    sys.exit(main())
