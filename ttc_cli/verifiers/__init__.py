"""Verifiers score candidates: the model as its own judge, and the confidence of its sampling."""
