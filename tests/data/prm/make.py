"""Writes the JSON files beside it: what reference code reads, in real vocabularies.

    python tests/data/prm/make.py --vocabularies llama.cpp/models --mistral tokenizer.model.v1

``--vocabularies`` is the folder of vocabulary-only GGUF files in llama.cpp's source release
(``vendor/llama.cpp/models`` of a llama-cpp-python sdist), ``--mistral`` the first SentencePiece
model of the package mistral-common, which is that of Mistral 7B v0.1. Needs llama-cpp-python,
sentencepiece and gguf.

Each file holds, for one format and vocabulary: questions with steps; the token ids that the
reference code reads for the whole of each, and the positions at which it takes the logits; the
label tokens; and as much of the vocabulary as these texts can touch, under its true ids, so that
a test can rebuild a vocabulary that cuts them exactly as the whole one does. The reference text
is built here as the reference code builds it, and read in one call: by llama.cpp itself for
Llama 3 and Qwen 2, by sentencepiece for Mistral. Nothing of ttc is used.
"""

import argparse
import json
import re
from pathlib import Path

import gguf
import jinja2
import llama_cpp as lib
import sentencepiece

HERE = Path(__file__).resolve().parent
QUESTIONS = [
    (
        "Janet's ducks lay 16 eggs per day. She eats three and bakes with four. How many are left?",
        [
            "Step 1: She uses 3 + 4 = 7 eggs.",
            "Step 2: So 16 - 7 = 9 eggs are left.",
            "The answer is: \\boxed{9}",
        ],
    ),
    (
        "Für welche x gilt x² = 4?",
        [
            "$x^2 = 4$ means\n  $x = 2$ or $x = -2$,\nby definition",
            "12 × 0 = 0; (a) holds.",
            "- one root is 2\n- the other -2!",
            "+",
        ],
    ),
]


def read_gguf(path):
    reader = gguf.GGUFReader(path)
    fields = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name.startswith("tokenizer.ggml.") or name == "general.architecture"
    }
    return {
        "metadata": {key: value for key, value in fields.items() if not isinstance(value, list)},
        "tokens": fields["tokenizer.ggml.tokens"],
        "types": fields["tokenizer.ggml.token_type"],
        "scores": fields.get("tokenizer.ggml.scores"),
        "merges": fields.get("tokenizer.ggml.merges"),
    }


def read_sentencepiece(processor):
    def kind(token):
        if processor.is_unknown(token):
            return 2
        if processor.is_control(token):
            return 3
        return 6 if processor.is_byte(token) else 1

    size = processor.vocab_size()
    return {
        "metadata": {
            "general.architecture": "llama",
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.bos_token_id": processor.bos_id(),
            "tokenizer.ggml.eos_token_id": processor.eos_id(),
            "tokenizer.ggml.unknown_token_id": processor.unk_id(),
            "tokenizer.ggml.add_bos_token": True,
        },
        "tokens": [processor.id_to_piece(token) for token in range(size)],
        "types": [kind(token) for token in range(size)],
        "scores": [processor.get_score(token) for token in range(size)],
        "merges": None,
    }


def spell_bytes():
    """GPT-2's letters for the 256 bytes, in which byte-level vocabularies are written."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = {}, 256
    for byte in range(256):
        if byte in plain:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(spare)
            spare += 1
    return letters


def cut(vocabulary, texts, control):
    """The part of ``vocabulary`` that cutting ``texts`` can touch, under its true ids."""
    if vocabulary["merges"] is None:
        written = [" ".join(["", text]).replace(" ", "▁") for text in texts]
        single = set()
    else:
        letters = spell_bytes()
        written = ["".join(letters[byte] for byte in text.encode()) for text in texts]
        single = set(letters.values())
    parts = {
        text[start:end]
        for text in written
        for start in range(len(text))
        for end in range(start + 1, min(len(text), start + 32) + 1)
    }
    types = vocabulary["types"]
    kept = {
        token: text
        for token, text in enumerate(vocabulary["tokens"])
        if text in parts
        or text in single
        or text in control
        or types[token] == 6
        or token in vocabulary["metadata"].values()
    }
    result = {
        "metadata": vocabulary["metadata"],
        "size": len(vocabulary["tokens"]),
        "tokens": {str(token): text for token, text in kept.items()},
        "types": {str(token): int(types[token]) for token in kept if types[token] != 1},
    }
    if vocabulary["scores"]:
        result["scores"] = {str(token): float(vocabulary["scores"][token]) for token in kept}
    if vocabulary["merges"] is not None:
        result["merges"] = [
            merge for merge in vocabulary["merges"] if merge.replace(" ", "") in parts
        ]
    return result


def load_native(path):
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    vocab = lib.llama_model_get_vocab(model)

    def encode(text, special):
        data = text.encode()
        room = len(data) + 16
        tokens = (lib.llama_token * room)()
        count = lib.llama_tokenize(vocab, data, len(data), tokens, room, True, special)
        return list(tokens[:count])

    return encode


def positions_of(tokens, tag):
    return [place for place, token in enumerate(tokens) if token == tag]


def versaprm(encode, tag):
    def read(question, steps):
        text = question + " \n\n" + " \n\n\n\n".join(steps) + " \n\n\n\n"
        tokens = encode(text, False)
        return [text], tokens, positions_of(tokens, tag)

    return read


def math_shepherd(encode, tag):
    def read(question, steps):
        text = f"{question} " + "\n".join(f"{step} ки" for step in steps)
        tokens = encode(text)
        return [text], tokens, positions_of(tokens, tag)

    return read


def rlhflow(encode, template):
    def render(turns):
        return template.render(
            messages=turns, bos_token="<|begin_of_text|>", date_string="26 Jul 2024"
        )

    def read(question, steps):
        turns, places, texts = [], [], []
        for number, step in enumerate(steps):
            said = f"{question} {step}" if number == 0 else step
            turns += [{"role": "user", "content": said}, {"role": "assistant", "content": "+"}]
            text = render(turns).removeprefix("<|begin_of_text|>")
            texts.append(text)
            tokens = encode(text, True)
            places.append(len(tokens) - 3)
        return texts, tokens, places

    return read


def implicit(encode, template):
    """The model card of EurusPRM-Stage2; the positions are the ends of the steps."""

    def read(question, steps):
        turns = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "\n\n".join(steps)},
        ]
        text = template.render(messages=turns)
        head = template.render(messages=turns[:1], add_generation_prompt=True)
        ends = [head + "".join(f"{step}\n\n" for step in steps[: n + 1]) for n in range(len(steps))]
        ends[-1] = ends[-1].removesuffix("\n\n")
        return [text, *ends], encode(text, True), [len(encode(end, True)) - 1 for end in ends]

    return read


def thinkprm(encode, template):
    """mukhal/ThinkPRM, prm/thinkprm_api.py and utils/helper.py, as a search asks it."""

    def read(question, steps):
        bare = [re.sub(r"Step \d+:", "", step).strip() for step in steps]
        solution = "\n".join(f"Step {n}: {step}" for n, step in enumerate(bare, 1))
        said = (
            "You are given a math problem and a proposed step-by-step solution:\n\n"
            f"[Math Problem]\n\n{question}\n\n[Solution]\n\n{solution}\n\n"
            "Review and critique each step in the proposed solution to determine whether each step "
            "is correct. If the solution is incomplete, only verify the provided steps."
        )
        turns = [{"role": "user", "content": said}]
        text = template.render(messages=turns, add_generation_prompt=True)
        text += "\nLet's verify step by step:"
        tokens = encode(text, True)
        return [text, text + "\n\n"], tokens, [len(tokens) - 1] * len(steps)

    return read


def genprm(encode, template):
    """RyanLiu112/GenPRM, infer_module/infer_genprm.py, up to the verdict on the first step.

    Without the part that has code run; the analysis is one that the model might write.
    """

    def read(question, steps):
        turns = [
            {
                "role": "system",
                "content": "You are a math teacher. Your task is to review and critique the "
                "paragraphs in solution step by step.",
            },
            {"role": "user", "content": f"Question: {question}\n\n{steps[0]}"},
        ]
        text = template.render(messages=turns, add_generation_prompt=True)
        text += "<analyze>\nLet's analyze the Paragraph 1 step by step: "
        start = len(encode(text, True)) - 1
        text += "it is right.\n</analyze>\n<output>\n**Judgement**: $\\boxed{Yes}$\n</output>"
        tokens = encode(text, True)
        return [text], tokens, [start] * len(steps)

    return read


def write(name, format, source, vocabulary, read, labels, control=()):
    cases, texts = [], []
    for question, steps in QUESTIONS:
        read_texts, tokens, positions = read(question, steps)
        assert len(positions) == len(steps), (name, positions)
        texts += read_texts
        cases.append(
            {"question": question, "steps": steps, "tokens": tokens, "positions": positions}
        )
    content = {
        "format": format,
        "source": source,
        "labels": labels,
        "cases": cases,
        "vocabulary": cut(vocabulary, [*texts, *labels], set(control)),
    }
    path = HERE / f"{name}.json"
    path.write_text(
        json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    print(path, path.stat().st_size)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--vocabularies", type=Path, required=True)
    options.add_argument("--mistral", type=Path, required=True)
    given = options.parse_args()
    lib.llama_backend_init()
    template = jinja2.Environment().from_string(
        (HERE.parent / "templates" / "llama3.jinja").read_text(encoding="utf-8")
    )
    llama, qwen = (
        given.vocabularies / f"ggml-vocab-{name}.gguf" for name in ("llama-bpe", "qwen2")
    )
    words = [f"<|{word}|>" for word in ("start_header_id", "end_header_id", "eot_id")]
    words.append("<|begin_of_text|>")
    write(
        "rlhflow-llama3",
        "rlhflow",
        llama.name,
        read_gguf(llama),
        rlhflow(load_native(llama), template),
        {"+": 10, "-": 12},
        words,
    )
    for name, path, tag in (("llama3", llama, 23535), ("qwen2", qwen, 22701)):
        write(
            f"versaprm-{name}",
            "versaprm",
            path.name,
            read_gguf(path),
            versaprm(load_native(path), tag),
            {"+": 10, "-": 12},
        )
    chatml = jinja2.Environment().from_string(
        (HERE.parent / "templates" / "qwen2.5-coder.jinja").read_text(encoding="utf-8")
    )
    for make, labels in (
        (implicit, {}),
        (thinkprm, {" yes": 9834, " no": 902}),
        (genprm, {"Yes": 9454, "No": 2753}),
    ):
        write(
            f"{make.__name__}-qwen2",
            make.__name__,
            qwen.name,
            read_gguf(qwen),
            make(load_native(qwen), chatml),
            labels,
            ["<|im_start|>", "<|im_end|>"],
        )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(given.mistral))
    write(
        "math-shepherd-mistral",
        "math-shepherd",
        given.mistral.name,
        read_sentencepiece(processor),
        math_shepherd(lambda text: [processor.bos_id(), *processor.encode(text)], 12902),
        {"▁+": 648, "▁-": 387},
    )


if __name__ == "__main__":
    main()
