"""The models of this machine, as the rest of ttc sees them: resolve a name, get its file.

The rooms behind this door: ``files`` (what is here), ``pull`` (bringing it), ``default`` (which
one when nobody says).
"""

from __future__ import annotations

from ttc_cli.models.default import default_model
from ttc_cli.models.files import Model, find, resolve
from ttc_cli.models.pull import Plan, ensure, pull, verify

__all__ = ["Model", "Plan", "default_model", "ensure", "find", "pull", "resolve", "verify"]
