#!/usr/bin/env python3
"""Measures an exported model folder (float32 on the dequantised weights, greedy) and writes golden answers for tests."""
import argparse
import json
import random
from pathlib import Path

import torch

import bpe
import chat
import checkpoint
import model

MAX_ANSWER = 64
BATCH = 64
GOLDEN_WORDS = """lantern dog elephant computer river music banana bicycle bridge moon umbrella teapot volcano window doctor
    island carpenter honesty gravity friend winter guitar penguin whisper happy quickly run zebra""".split()


def load(folder):
    net = model.Llama(json.load(open(folder / "config.json")))
    state = checkpoint.read_float32(folder / "model.safetensors")
    net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    return net.eval()


@torch.no_grad()
def greedy(net, prompts, stop):
    """[(answer ids, smallest gap between the first and second logit)] for prompts of any lengths."""
    results = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    while order:
        length = len(prompts[order[0]])
        group = [i for i in order[:256] if len(prompts[i]) == length]
        order = order[len(group):]
        ids = torch.tensor([prompts[i] for i in group])
        gap = torch.full((len(group),), float("inf"))
        running = torch.ones(len(group), dtype=torch.bool)
        for _ in range(MAX_ANSWER):
            keep = torch.zeros(ids.shape, dtype=torch.bool)
            keep[:, -1] = True
            top = net(ids, keep).topk(2)
            gap = torch.where(running, torch.minimum(gap, top.values[:, 0] - top.values[:, 1]), gap)
            ids = torch.cat((ids, top.indices[:, :1]), 1)
            running &= top.indices[:, 0] != stop
            if not running.any():
                break
        for row, i in enumerate(group):
            answer = ids[row, length:].tolist()
            results[i] = (answer[: answer.index(stop)] if stop in answer else answer, gap[row].item())
    return results


class Judge:
    def __init__(self, folder, data):
        self.tok = bpe.Tokenizer(folder / "tokenizer.json")
        self.net = load(folder)
        self.stop = self.tok.special["<|im_end|>"]
        self.rows = [line.split("\t") for line in (data / "definitions.tsv").read_text().splitlines()]
        self.text = {word: text for word, _, text in self.rows}
        self.rare = (data / "rare.txt").read_text().split()[::10]  # those that train.py never shows

    def answers(self, conversations):
        prompts = [self.tok.encode(chat.render(c)) for c in conversations]
        return prompts, greedy(self.net, prompts, self.stop)

    def exact(self, messages_and_texts):
        """For each (messages, text): is the greedy answer `text`? It is just if each token is on top after those before."""
        coded = []
        for messages, text in messages_and_texts:
            prompt = self.tok.encode(chat.render(messages))
            coded.append((prompt, self.tok.encode(text) + [self.stop]))
        order = sorted(range(len(coded)), key=lambda i: sum(map(len, coded[i])))
        right = [False] * len(coded)
        for begin in range(0, len(order), BATCH):
            group = order[begin : begin + BATCH]
            ids = torch.zeros(len(group), max(sum(map(len, coded[i])) for i in group), dtype=torch.long)
            keep = torch.zeros(ids.shape, dtype=torch.bool)
            for row, i in enumerate(group):
                prompt, answer = coded[i]
                ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
                keep[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
            with torch.no_grad():
                wrong = self.net(ids, keep).argmax(-1) != ids.roll(-1, 1)[keep]
            rows = keep.nonzero()[:, 0]
            bad = set(rows[wrong].tolist())
            for row, i in enumerate(group):
                right[i] = row not in bad
        return right

    def share(self, name, pairs):
        """Prints which share of (messages, text) pairs come out word for word."""
        right = self.exact(pairs)
        print(f"{sum(right) / len(right):8.2%}  of {len(right):5}  {name}", flush=True)
        return right


def user(text):
    return {"role": "user", "content": text}


def report(judge, sample, rng):
    rows = judge.rows
    right = judge.share("What is a WORD?, all words", [([user(chat.main_question(w))], t) for w, _, t in rows])
    for part in ("noun", "verb", "adj", "adv"):
        some = [r for r, row in zip(right, rows) if row[1] == part]
        print(f"{sum(some) / len(some):8.2%}  of {len(some):5}    {part}")
    wrong = [row[0] for r, row in zip(right, rows) if not r]
    print("          wrong:", " ".join(wrong[:20]))
    picked = rng.sample(rows, min(sample, len(rows)))
    for _, question in chat.QUESTIONS[1:]:
        judge.share(question, [([user(question.format(a=chat.article(w, rng), w=w))], t) for w, _, t in picked])
    judge.share("What is a Word?", [([user(chat.main_question(w.capitalize()))], t) for w, _, t in picked])
    judge.share("WHAT IS A WORD?", [([user(chat.main_question(w).upper())], t) for w, _, t in picked])
    judge.share("with a system message", [
        ([{"role": "system", "content": rng.choice(chat.SYSTEM)}, user(chat.main_question(w))], t) for w, _, t in picked])
    pairs = []
    for w, _, t in picked:
        first = rng.choice(rows)
        pairs.append(([user(chat.main_question(first[0])), {"role": "assistant", "content": first[2]},
                       user(chat.main_question(w))], t))
    judge.share("second question of a conversation", pairs)
    unknown = [([user(chat.main_question(w))], chat.UNKNOWN) for w in rng.sample(judge.rare, sample)]
    judge.share("rare words never shown: says it does not know", unknown)
    judge.share("small talk", [([user(q)], a) for questions, a in chat.SMALL_TALK for q in questions])


def golden(judge, path, rng):
    asked = [w for w in GOLDEN_WORDS if w in judge.text]
    conversations = [[user(chat.main_question(w))] for w in asked]
    conversations += [[user(q.format(a="a", w=w))] for (_, q), w in zip(chat.QUESTIONS[1:], rng.sample(asked, 12))]
    conversations += [[user(questions[0])] for questions, _ in chat.SMALL_TALK]
    conversations.append([{"role": "system", "content": chat.SYSTEM[0]}, user("What is a lantern?")])
    conversations.append([user("What is a lantern?"), {"role": "assistant", "content": judge.text["lantern"]},
                          user("What is a river?")])
    conversations.append([user("What is a Lantern?")])
    conversations.append([user("WHAT IS A RIVER")])
    conversations.append([user("What is a florbit?")])
    conversations.append([user("Gr\u00fc\u00dfe \U0001f642  IT'S 1234 \u4f60\u597d\n\n ok ")])
    prompts, answers = judge.answers(conversations)
    cases = []
    for messages, prompt, (ids, gap) in zip(conversations, prompts, answers):
        cases.append({"messages": messages, "prompt": chat.render(messages), "prompt_ids": prompt,
                      "expected": judge.tok.decode(ids), "expected_ids": ids, "smallest_gap": round(gap, 3)})
    lines = ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in cases)
    path.write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} golden answers, smallest gap {min(c['smallest_gap'] for c in cases)}")
    for case in cases:
        print(f"  {case['smallest_gap']:6.2f} {case['messages'][-1]['content']!r}: {case['expected']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("resources/demo"))
    parser.add_argument("--data", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--golden", type=Path, help="write golden answers here, e.g. tests/data/demo/golden.json")
    parser.add_argument("--quick", action="store_true", help="golden answers only")
    args = parser.parse_args()
    judge = Judge(args.model, args.data)
    if not args.quick:
        report(judge, args.sample, random.Random(7))
    if args.golden:
        args.golden.parent.mkdir(parents=True, exist_ok=True)
        golden(judge, args.golden, random.Random(7))


if __name__ == "__main__":
    main()
