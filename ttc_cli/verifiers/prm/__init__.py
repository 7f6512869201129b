"""Process reward models: another model reads each step and says how right it looks.

``formats`` words question and steps as each family of models was trained to read them, ``trie``
keeps what has been read, ``verifier`` scores and reads ``--verifier prm=MODEL@FORMAT``.

Covered are causal language models that answer with one of two label tokens. Not covered: models
with a head of their own (Qwen2.5-Math-PRM, Skywork), whose heads llama.cpp drops.
"""
