"""An engine without a model: it says what a script tells it to, through the ordinary protocol.

For tests, demonstrations and the live view's own development. Everything but the text is as a
real engine does it: one token a decode step for each of ``parallel`` branches, slots refilled,
step boundaries at blank lines, limits, cancellation, a KV cache of a given size from which
branches are evicted and read again, usage charged to the meter, ``Grew`` events.

A script is a function from an ``Ask`` to what the model says next, or a list of texts::

    engine = ScriptedEngine(["The final answer is 4.", "The final answer is 5."])

Candidate *i* then says text *i* (cyclically), and goes on where it was paused. Not covered: a
tokenizer (a token is a short piece of a word) and a chat model's behaviour (the prompt means only
what the script makes of it).
"""

from ttc_cli.engines.scripted.engine import ScriptedEngine
from ttc_cli.engines.scripted.script import CHATML, Ask, Reply, Script, babble, pieces

__all__ = ["CHATML", "Ask", "Reply", "Script", "ScriptedEngine", "babble", "pieces"]
