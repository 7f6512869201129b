"""Final answers: what a question asks for, what a text states, and which answers mean the same."""

from ttc_cli.answers.detect import detect
from ttc_cli.answers.equivalence import Comparer
from ttc_cli.answers.extract import extract, read_answer

__all__ = ["Comparer", "detect", "extract", "read_answer"]
