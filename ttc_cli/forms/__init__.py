"""The forms that a candidate may have: a solution in prose, or a program that is run."""
