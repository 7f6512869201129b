"""docs/python.md on a real model: every example runs, one after the other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.live


def test_the_examples_of_the_page_run(tiny_model, tmp_path):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(examples) > 6
    script = tmp_path / "examples.py"
    script.write_text("\n".join(examples), encoding="utf-8")
    quiet = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "answer:" in done.stdout
    assert "1 + 1?" in done.stdout
    assert "There is no model" in done.stdout
