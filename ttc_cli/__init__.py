"""ttc: small local models that think harder where it pays.

The package reads as the architecture: ``commands`` parse and print, ``policy`` decides how
much to spend, ``search`` holds one file a strategy, ``verifiers`` score, ``engines`` run the
model, ``models`` finds the bytes, ``views`` draw the event stream.
"""

__version__ = "0.1.0"
