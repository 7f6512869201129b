"""The batched tree engine over llama.cpp; ``native`` is the only importer of ``llama_cpp``."""
