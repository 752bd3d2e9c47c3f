#!/usr/bin/env python3
"""Trains the tokenizer on the definitions and the questions, and writes tokenizer.json."""
import argparse
import collections
import json
import random
from pathlib import Path

import bpe
import chat


def corpus_counts(rows, rng):
    counts = collections.Counter()
    for word, _, text in rows:
        counts.update(bpe.pieces(text))
        for _ in range(2):
            counts.update(bpe.pieces(chat.ask(word, rng)))
        counts.update({piece: 2 for piece in bpe.pieces(" " + word)})
    for questions, answer in chat.SMALL_TALK:
        counts.update(bpe.pieces(answer) * 5)
        for question in questions:
            counts.update(bpe.pieces(question))
    for role in ("system", "user", "assistant"):
        counts.update({role: 10000})
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--vocabulary", type=int, default=4096)
    args = parser.parse_args()
    rows = [line.split("\t") for line in (args.data / "definitions.tsv").read_text().splitlines()]
    merges = bpe.train(corpus_counts(rows, random.Random(1)), args.vocabulary - len(chat.SPECIAL))
    data = bpe.tokenizer_json(merges, chat.SPECIAL)
    (args.data / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    tok = bpe.Tokenizer(args.data / "tokenizer.json")
    words = sum(len(tok.encode(" " + row[0])) for row in rows) / len(rows)
    texts = sum(len(tok.encode(row[2])) for row in rows) / len(rows)
    for row in rows:
        assert tok.decode(tok.encode(row[2])) == row[2]
    print(f"{len(tok)} tokens; a word takes {words:.2f}, a definition {texts:.2f}")


if __name__ == "__main__":
    main()
