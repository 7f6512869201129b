"""``ttc solve --batch``: many questions on one engine, one answer per line, resumable.

``rows`` reads the file, ``questions`` makes a question of each row, ``answers`` keeps the output
and knows what is in it already, ``solving`` asks several at once, ``progress`` tells how far it is.
"""
