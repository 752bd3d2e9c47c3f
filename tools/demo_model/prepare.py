#!/usr/bin/env python3
"""Picks common English words from WordNet and writes their first definitions, one `word<TAB>pos<TAB>text` a line.

How common a word is: its sense tags in SemCor (cntlist.rev) and how often WordNet's own glosses use it.
"""
import argparse
import collections
import math
import re
from pathlib import Path

PARTS = {"noun": "1", "verb": "2", "adj": "35", "adv": "4"}
MAX_WORDS = 20
CONCRETE = {5, 6, 8, 13, 17, 20}  # lexicographer files: animal, artifact, body, food, object, plant
CONCRETE_BONUS = 1.2  # SemCor is newspaper and novel text, poor in things about the house
EVERYDAY = set("""
    acorn airplane ant apron avocado backpack balloon banana banjo bat beetle bicycle biscuit blanket broccoli broom bucket
    butterfly cactus calculator camel candle carrot castle caterpillar cello cherry chimney clarinet coconut compass crab
    crayon crocodile cucumber cupboard daisy dolphin donkey dragon dragonfly drum duck eagle elephant envelope eraser
    falcon flamingo flute fork fox freezer frog garlic giraffe glove goat goose gorilla grape grasshopper guitar hammer
    hammock hamster harp hedgehog helicopter helmet hippopotamus honey jacket jellyfish kangaroo kettle keyboard kite
    ladder ladybug lamp lantern lemon leopard lettuce lighthouse lizard lobster magnet mango microscope mirror mitten
    mosquito moth mushroom necklace notebook octopus olive onion orange orchid ostrich otter owl oyster panda parachute
    parrot peach peacock peanut pear pelican pencil penguin pepper piano pickle pigeon pillow pineapple pizza plum
    potato printer pumpkin puppet puzzle pyramid rabbit radish rainbow raspberry razor refrigerator robot rooster rose
    sandal sandwich scarf scissors seahorse seal shampoo shark shovel skateboard slipper snail snowman soap sofa spider
    spinach spoon squirrel strawberry submarine sunflower swan sweater teapot telescope tent thermometer tiger toaster
    tomato toothbrush tornado tortoise towel tractor trombone trumpet tulip turkey turtle umbrella unicorn vacuum vase
    violin volcano walnut walrus wasp waterfall watermelon whale wheelbarrow whistle wolf xylophone yogurt zebra zipper
    """.split())
UNWANTED = re.compile(
    r"offensive|obscen|vulgar|slang|derogat|disparag|contempt|slur|sexual|genital|copulat|prostitut|excret|feces|"
    r"fecal|urinat|vagina|penis|anus|breast|orgasm|intercourse|erotic|lewd|homosex|terms? of abuse|negro", re.I)


def read_synsets(folder):
    """{part: {offset: (lexicographer file, words, gloss)}}"""
    synsets = {}
    for part in PARTS:
        synsets[part] = {}
        for line in open(folder / f"data.{part}", encoding="latin-1"):
            if not line.startswith("  "):
                fields = line.split()
                words = [re.sub(r"\(\w+\)$", "", w) for w in fields[4:4 + 2 * int(fields[3], 16):2]]
                synsets[part][fields[0]] = (int(fields[1]), words, line.split("| ", 1)[1].strip())
    return synsets


def read_index(folder, part):
    """{lemma: offsets of its senses, commonest first}"""
    senses = {}
    for line in open(folder / f"index.{part}", encoding="latin-1"):
        if not line.startswith("  "):
            fields = line.split()
            senses[fields[0]] = fields[6 + int(fields[3]):]
    return senses


def read_tags(folder):
    """Counter of (lemma, part, sense number)"""
    part_of = {digit: part for part, digits in PARTS.items() for digit in digits}
    tags = collections.Counter()
    for line in open(folder / "cntlist.rev", encoding="latin-1"):
        key, sense, count = line.split()
        lemma, rest = key.split("%")
        tags[lemma, part_of[rest[0]], int(sense)] += int(count)
    return tags


def short_definition(gloss):
    text = re.sub(r"\s*\([^()]*\)\s*", " ", gloss)
    text = re.sub(r"\s+", " ", re.split("[;:]", text)[0]).strip(" .,:-`'\"")
    text = text.replace("``", "").replace("''", "").replace('"', "").replace(" ,", ",")
    count = len(text.split())
    if not 2 <= count <= MAX_WORDS or not text.isascii() or re.search(r"[()\d:]", text):
        return None
    return text[0].upper() + text[1:] + "."


def best_sense(lemma, part, offsets, synsets, tags):
    """(definition, is it a thing) of the commonest sense with a short one; a thing first where tags are too few to tell."""
    top = tags[lemma, part, 1]
    options = []
    for number, offset in enumerate(offsets[:3], 1):
        file, words, gloss = synsets[part][offset]
        text = short_definition(gloss)
        if lemma in words and text and not UNWANTED.search(gloss) and 3 * tags[lemma, part, number] >= top:
            options.append((top <= 1 and part == "noun" and file not in CONCRETE, number, text, file in CONCRETE))
    return min(options)[2:] if options else None


def choose(folder, nouns, others):
    """(chosen rows of word, part, text; all other words)"""
    synsets, tags = read_synsets(folder), read_tags(folder)
    index = {part: read_index(folder, part) for part in PARTS}
    used = collections.Counter()
    for _, _, gloss in (s for part in PARTS for s in synsets[part].values()):
        used.update(set(re.findall(r"[a-z]+", gloss.lower())))

    candidates = []
    for lemma in sorted(set().union(*index.values())):
        if not re.fullmatch(r"[a-z]{3,14}", lemma) or UNWANTED.search(lemma):
            continue
        counts = {part: sum(tags[lemma, part, n] for n in range(1, len(index[part][lemma]) + 1))
                  for part in PARTS if lemma in index[part]}
        total = sum(counts.values())
        part = max(counts, key=counts.get)
        if "noun" in counts and 3 * counts["noun"] >= total:
            part = "noun"
        best = best_sense(lemma, part, index[part][lemma], synsets, tags)
        if best:
            text, concrete = best
            score = math.log1p(total) + math.log1p(used[lemma]) + CONCRETE_BONUS * (concrete and part == "noun")
            candidates.append((score + 100 * (lemma in EVERYDAY), lemma, part, text))
    candidates.sort(reverse=True)
    chosen = [c for c in candidates if c[2] == "noun"][:nouns] + [c for c in candidates if c[2] != "noun"][:others]
    kept = {c[1] for c in chosen}
    known = set().union(*index.values())
    rest = sorted(w for w in known if re.fullmatch(r"[a-z]{3,14}", w) and w not in kept and not UNWANTED.search(w))
    return sorted(c[1:] for c in chosen), rest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--nouns", type=int, default=6200)
    parser.add_argument("--others", type=int, default=1800)
    parser.add_argument("--out", type=Path, default=Path("build/demo_model"))
    args = parser.parse_args()
    chosen, rest = choose(args.wordnet, args.nouns, args.others)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "definitions.tsv").write_text("".join("\t".join(row) + "\n" for row in chosen))
    (args.out / "rare.txt").write_text("".join(w + "\n" for w in rest))
    lengths = [len(row[2].split()) for row in chosen]
    print(f"{len(chosen)} words, {sum(lengths) / len(lengths):.1f} words a definition, {len(rest)} words left out")


if __name__ == "__main__":
    main()
