"""Labelled questions, recorded pools and accuracy tables."""
