"""Final answers: what a question asks for, what a text states, and which answers mean the same."""

from ttc_cli.answers.detect import detect, resolve
from ttc_cli.answers.equivalence import Comparer
from ttc_cli.answers.extract import extract, find_thought, read_answer

__all__ = ["Comparer", "detect", "extract", "find_thought", "read_answer", "resolve"]
