"""Compiles llama.cpp for this machine, tests the build with a real decode, and installs it.

``install.sh`` and ``ttc build`` both come here. ``install.sh`` does so before anything is
installed, so this folder imports the standard library and modules of ttc that need no more.
"""
