#!/usr/bin/env python3
"""Writes a trained checkpoint as a model folder in the form of mlx-community repositories."""
import argparse
import json
import shutil
from pathlib import Path

import torch

import bpe
import chat
import checkpoint


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def weights(state):
    tensors = {}
    for name, value in state.items():
        base = "model." + name.removesuffix(".weight")
        if value.dim() == 1:
            tensors[base + ".weight"] = checkpoint.to_bf16(value.numpy())
        else:
            parts = checkpoint.quantize(value.numpy())
            tensors.update(zip((base + ".weight", base + ".scales", base + ".biases"), parts))
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--checkpoint", default="checkpoint.pt")
    parser.add_argument("--out", type=Path, default=Path("resources/demo"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    saved = torch.load(args.data / args.checkpoint)
    checkpoint.write(args.out / "model.safetensors", weights(saved["model"]))

    shutil.copy(args.data / "tokenizer.json", args.out)
    special = bpe.Tokenizer(args.out / "tokenizer.json").special
    bos, eos = special["<|endoftext|>"], special["<|im_end|>"]
    quantization = {"group_size": checkpoint.GROUP, "bits": checkpoint.BITS, "mode": "affine"}
    write_json(args.out / "config.json", {
        **saved["config"], "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": bos, "torch_dtype": "bfloat16",
        "quantization": quantization, "quantization_config": quantization})
    write_json(args.out / "generation_config.json", {
        "bos_token_id": bos, "eos_token_id": [eos, bos], "pad_token_id": bos, "do_sample": False})
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    write_json(args.out / "tokenizer_config.json", {
        "add_bos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {str(i): {"content": text, **flags} for text, i in special.items()},
        "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "chat_template": chat.TEMPLATE, "clean_up_tokenization_spaces": False, "model_max_length": 1024,
        "tokenizer_class": "PreTrainedTokenizerFast"})
    words = [line.split("\t")[0] for line in (args.data / "definitions.tsv").read_text().splitlines()]
    (args.out / "words.txt").write_text("".join(word + "\n" for word in words))
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size:9} {path}")


if __name__ == "__main__":
    main()
