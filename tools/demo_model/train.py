#!/usr/bin/env python3
"""Teaches the model its definitions by heart, in a fixed time, with checkpoints to go on from.

The loss counts the answer's tokens only. Examples of like length share a batch, so hardly a token is padding. A word that
the model has answered surely is shown less often, so the time goes to the words it still gets wrong. Each thread runs its
share of the batch on a single-threaded copy of the graph: twice as fast as threads inside each operation at these sizes.
"""
import argparse
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch
from torch.nn import functional

import bpe
import chat
import model

IGNORE = -100
SURE = 0.05  # a word is sure once no token of its answer has a larger loss
SURE_SHARE = 0.35  # how often a sure word is shown
UNKNOWN_SHARE = 0.7  # of what is not a word to learn; the rest is small talk
# One thread an operation, and an allocator that does not hand its pages back after each: three times faster.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
               "MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
               "MALLOC_TOP_PAD_": str(1 << 28)}


class Examples:
    def __init__(self, folder, seed):
        self.rows = [line.split("\t") for line in (folder / "definitions.tsv").read_text().splitlines()]
        self.words = [row[0] for row in self.rows]
        rare = (folder / "rare.txt").read_text().split()
        self.rare = [w for i, w in enumerate(rare) if i % 10]  # every tenth is kept for evaluate.py
        self.tok = bpe.Tokenizer(folder / "tokenizer.json")
        self.trained, self.real = set(self.words), set(rare)
        self.rng = random.Random(seed)
        self.worst = numpy.full(len(self.rows), 99.0)  # largest loss of any answer token, last time it was shown

    def unknown(self):
        """A rare word, or one that no dictionary has."""
        if self.rng.random() < 0.7:
            return self.rng.choice(self.rare)
        while True:
            word = chat.made_up_word(self.words, self.rng)
            if word not in self.trained and word not in self.real:
                return word

    def turn(self, index, plain=False):
        """(question, answer) for the word of that index, or for anything else if None."""
        rng = self.rng
        if index is not None:
            word, _, text = self.rows[index]
            return (chat.main_question(word) if plain else chat.ask(word, rng)), text
        if rng.random() < UNKNOWN_SHARE:
            return chat.ask(self.unknown(), rng), chat.UNKNOWN
        questions, answer = rng.choice(chat.SMALL_TALK)
        return rng.choice(questions), answer

    def encode(self, turns, system):
        """(ids, labels): labels[i] is the token after ids[i] where that belongs to an answer."""
        ids, labels = [], []
        encode = self.tok.encode
        if system:
            ids += encode(f"<|im_start|>system\n{system}<|im_end|>\n")
        labels += [IGNORE] * len(ids)
        for question, answer in turns:
            prompt = encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
            reply = encode(answer + "<|im_end|>")
            ids += prompt + reply + encode("\n")
            labels += [IGNORE] * (len(prompt) - 1) + reply + [IGNORE] * 2
        return ids[:-2], labels[:-2]

    def epoch(self, other_share, chat_share):
        """One pass: a list of (ids, labels, index of the last turn's word or -1)."""
        rng = self.rng
        order = [i for i, worst in enumerate(self.worst) if worst > SURE or rng.random() < SURE_SHARE]
        turns = order + [None] * int(other_share * len(order))
        rng.shuffle(turns)
        out = []
        while turns:
            index = turns.pop()
            taken = [index]
            if rng.random() < chat_share:
                taken = [turns.pop() for _ in range(min(len(turns), rng.randint(1, 2)))] + taken
            system = rng.choice(chat.SYSTEM) if rng.random() < chat.SYSTEM_SHARE else None
            ids, labels = self.encode([self.turn(i) for i in taken], system)
            out.append((ids, labels, -1 if index is None else index))
        return out

    def batches(self, examples, tokens):
        """Examples of like length together, about `tokens` a batch, batches in random order."""
        examples.sort(key=lambda e: (len(e[0]), self.rng.random()))
        batch, batches = [], []
        for example in examples:
            batch.append(example)
            if len(batch) * len(example[0]) >= tokens:
                batches.append(batch)
                batch = []
        if batch:
            batches.append(batch)
        self.rng.shuffle(batches)
        for batch in batches:
            length = max(len(ids) for ids, _, _ in batch)
            ids = torch.zeros(len(batch), length, dtype=torch.long)
            labels = torch.full((len(batch), length), IGNORE)
            for i, (a, b, _) in enumerate(batch):
                ids[i, : len(a)] = torch.tensor(a)
                labels[i, : len(b)] = torch.tensor(b)
            yield ids, labels, [index for _, _, index in batch]


class Muon:
    """Momentum made orthogonal by Newton-Schulz steps, for the matrices of the layers (K. Jordan, 2024)."""

    def __init__(self, params, momentum=0.95):
        self.params, self.momentum = list(params), momentum
        self.buffers = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self, lr, pool):
        list(pool.map(lambda pair: self.step_one(*pair, lr), zip(self.params, self.buffers)))

    @torch.no_grad()
    def step_one(self, p, buffer, lr):
        buffer.lerp_(p.grad, 1 - self.momentum)
        update = self.orthogonal(p.grad.lerp(buffer, self.momentum))
        p.add_(update, alpha=-lr * max(1, p.shape[0] / p.shape[1]) ** 0.5)
        p.grad = None

    @staticmethod
    def orthogonal(g, steps=5):
        tall = g.shape[0] > g.shape[1]
        x = (g.T if tall else g) / (g.norm() + 1e-7)
        for _ in range(steps):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        return x.T if tall else x


def schedule(done, warm=0.01, cool=0.45):
    """The learning rate's factor at the share `done` of the time: up, level, linearly down."""
    return min(1.0, done / warm + 0.02, max(0.0, 1 - done) / cool)


class Team:
    """One network, and threads that each work on their rows of a batch."""

    def __init__(self, net, threads):
        self.net = net
        self.pool = ThreadPoolExecutor(threads)
        self.replicas = [net] + [model.Llama(net.config) for _ in range(threads - 1)]
        for replica in self.replicas[1:]:
            for mine, theirs in zip(replica.parameters(), net.parameters()):
                mine.data = theirs.data

    def split(self, ids, labels):
        count = len(self.replicas)
        return [(r, ids[i::count], labels[i::count]) for i, r in enumerate(self.replicas) if i < len(ids)]

    def backward(self, ids, labels):
        """Adds up the gradients in `net`; the loss of each label (0 where there is none)."""
        total = (labels != IGNORE).sum()

        def work(part):
            replica, ids, labels = part
            keep = labels != IGNORE
            loss = functional.cross_entropy(replica(ids, keep), labels[keep], reduction="none")
            (loss.sum() / total).backward()
            full = torch.zeros(labels.shape)
            full[keep] = loss.detach()
            return full

        losses = torch.zeros(labels.shape)
        parts = self.split(ids, labels)
        for i, part in enumerate(self.pool.map(work, parts)):
            losses[i :: len(self.replicas)] = part
        for replica, _, _ in parts[1:]:
            for mine, theirs in zip(replica.parameters(), self.net.parameters()):
                theirs.grad += mine.grad
                mine.grad = None
        return losses

    def right_rows(self, ids, labels):
        """How many rows have every label on top."""

        @torch.no_grad()
        def work(part):
            replica, ids, labels = part
            keep = labels != IGNORE
            wrong = torch.zeros(labels.shape, dtype=torch.bool)
            wrong[keep] = replica(ids, keep).argmax(-1) != labels[keep]
            return (~wrong.any(1)).sum().item()

        return sum(self.pool.map(work, self.split(ids, labels)))


def exact_share(team, examples, indices):
    """Share of words whose answer to the main question is right in every token (teacher forced = greedy)."""
    coded = [(*examples.encode([examples.turn(i, plain=True)], None), i) for i in indices]
    return sum(team.right_rows(ids, labels) for ids, labels, _ in examples.batches(coded, 4096)) / len(indices)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens a batch")
    parser.add_argument("--lr", type=float, default=3e-3, help="AdamW, for embeddings and norms")
    parser.add_argument("--muon-lr", type=float, default=0.02, help="0: AdamW for all")
    parser.add_argument("--other", type=float, default=0.12, help="unknown words and small talk, as a share of the words")
    parser.add_argument("--chat", type=float, default=0.08, help="share of examples with earlier turns")
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--out", default="checkpoint.pt")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)

    examples = Examples(args.data, seed=int(time.time()) if args.resume else 1)
    net = model.Llama({**model.CONFIG, "vocab_size": len(examples.tok)})
    if args.resume:
        net.load_state_dict(torch.load(args.resume)["model"])
    team = Team(net, args.threads)
    matrices = [p for n, p in net.named_parameters() if p.dim() == 2 and "embed" not in n] if args.muon_lr else []
    rest = [p for p in net.parameters() if not any(p is m for m in matrices)]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(rest, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {len(examples.rows)} words", flush=True)

    begin, seen, steps, epoch = time.time(), 0, 0, 0
    done = 0.0
    while done < 1:
        epoch += 1
        losses = []
        for ids, labels, indices in examples.batches(examples.epoch(args.other, args.chat), args.tokens):
            done = (time.time() - begin) / (60 * args.minutes)
            if done >= 1:
                break
            loss = team.backward(ids, labels)
            factor = schedule(done)
            adam.param_groups[0]["lr"] = args.lr * factor
            muon.step(args.muon_lr * factor, team.pool)
            adam.step()
            adam.zero_grad(set_to_none=True)
            for index, value in zip(indices, loss.max(1).values.tolist()):
                if index >= 0:
                    examples.worst[index] = value
            losses.append((loss.sum() / (labels != IGNORE).sum()).item())
            seen += ids.numel()
            steps += 1
        sure = (examples.worst < SURE).mean()
        line = f"epoch {epoch} step {steps} {time.time() - begin:.0f}s {seen / (time.time() - begin):.0f} tok/s"
        line += f" loss {numpy.mean(losses or [0]):.3f} sure {sure:.3f}"
        if epoch % 10 == 0 or done >= 1:
            some = examples.rng.sample(range(len(examples.rows)), min(500, len(examples.rows)))
            line += f" exact {exact_share(team, examples, some):.3f}"
            save(args.data / args.out, net)
        print(line, flush=True)
    print(f"exact on all words: {exact_share(team, examples, range(len(examples.rows))):.4f}")


def save(path, net):
    torch.save({"model": net.state_dict(), "config": net.config}, str(path) + ".new")
    Path(str(path) + ".new").replace(path)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})
    main()
