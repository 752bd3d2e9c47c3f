"""Byte-level BPE: a trainer, and an encoder/decoder that does what the written tokenizer.json says (GPT-2's split)."""
import collections
import functools
import heapq
import json
import re
import sys
import unicodedata


@functools.lru_cache(None)
def char_class(category):
    """All characters of one major Unicode category, as the inside of a regex class."""
    ranges, start = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] == category
        if inside and start is None:
            start = code
        if not inside and start is not None:
            ranges.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(ranges)


@functools.lru_cache(None)
def splitter():
    """GPT-2's pattern: 's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"""
    letter, number = char_class("L"), char_class("N")
    return re.compile(f"'s|'t|'re|'ve|'m|'ll|'d| ?[{letter}]+| ?[{number}]+| ?[^\\s{letter}{number}]+|\\s+(?!\\S)|\\s+")


def byte_alphabet():
    """GPT-2's printable stand-in for each byte, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in plain}, 0
    for byte in range(256):
        if byte not in table:
            table[byte], extra = chr(256 + extra), extra + 1
    return [table[byte] for byte in range(256)]


ALPHABET = byte_alphabet()
BYTE_OF = {char: byte for byte, char in enumerate(ALPHABET)}


def pieces(text):
    """The pre-tokens of `text`, in the byte alphabet."""
    return ["".join(ALPHABET[b] for b in piece.encode()) for piece in splitter().findall(text)]


def train(counts, size):
    """Merges that bring the 256 bytes up to `size` tokens. `counts`: {pre-token: how often}."""
    words = [list(word) for word in counts]
    weight = list(counts.values())
    pair_count, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pair_count[pair] += weight[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in pair_count.items()]
    heapq.heapify(heap)
    merges, made = [], set(ALPHABET)
    while len(made) < size and heap:
        count, pair = heapq.heappop(heap)
        if -count != pair_count[pair] or count == 0:
            if pair_count[pair] > 0:
                heapq.heappush(heap, (-pair_count[pair], pair))
            continue
        merges.append(pair)
        made.add(pair[0] + pair[1])
        touched = set()
        for i in where.pop(pair):
            for old in zip(words[i], words[i][1:]):
                pair_count[old] -= weight[i]
                touched.add(old)
            words[i] = merge(words[i], pair)
            for new in zip(words[i], words[i][1:]):
                pair_count[new] += weight[i]
                where[new].add(i)
                touched.add(new)
        for changed in touched:
            if pair_count[changed] > 0 and changed != pair:
                heapq.heappush(heap, (-pair_count[changed], changed))
    return merges


def merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def tokenizer_json(merges, special):
    tokens = [*sorted(ALPHABET), *dict.fromkeys(a + b for a, b in merges)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": len(tokens) + i, "content": text, **flags} for i, text in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{a} {b}" for a, b in merges],
        },
    }


class Tokenizer:
    def __init__(self, path):
        data = json.load(open(path))
        self.special = {t["content"]: t["id"] for t in data["added_tokens"]}
        self.vocab = data["model"]["vocab"]
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(data["model"]["merges"])}
        self.text_of = {i: t for t, i in self.vocab.items()}
        self.special_of = {i: t for t, i in self.special.items()}
        self.special_split = re.compile("(" + "|".join(map(re.escape, self.special)) + ")")
        self.cache = {}

    def __len__(self):
        return len(self.vocab) + len(self.special)

    def encode_piece(self, piece):
        if piece not in self.cache:
            word = list(piece)
            while len(word) > 1:
                best = min(zip(word, word[1:]), key=lambda pair: self.rank.get(pair, len(self.rank)))
                if best not in self.rank:
                    break
                word = merge(word, best)
            self.cache[piece] = [self.vocab[token] for token in word]
        return self.cache[piece]

    def encode(self, text):
        ids = []
        for part in self.special_split.split(text):
            if part in self.special:
                ids.append(self.special[part])
            else:
                for piece in pieces(part):
                    ids += self.encode_piece(piece)
        return ids

    def decode(self, ids, keep_special=False):
        out = bytearray()
        for i in ids:
            if i in self.special_of:
                out += self.special_of[i].encode() if keep_special else b""
            else:
                out += bytes(BYTE_OF[char] for char in self.text_of[i])
        return out.decode(errors="replace")
