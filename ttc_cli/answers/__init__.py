"""Final answers: what a question asks for, what a text states, and which answers mean the same."""

from ttc_cli.answers.detect import detect, resolve
from ttc_cli.answers.equivalence import Comparer
from ttc_cli.answers.extract import extract, read_answer
from ttc_cli.answers.thoughts import find_opened, find_thought

__all__ = ["Comparer", "detect", "extract", "find_opened", "find_thought", "read_answer", "resolve"]
