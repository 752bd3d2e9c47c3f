"""The tiny checkpoints of tests/data/models as models a device can serve: a token is written as its number."""

import json
import shutil
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "data" / "models"
VOCABULARY = 256


def names():
    """One of each family: plain where there is one, which can be cut at most places, and of gpt_oss the format it comes in."""
    families = {}
    for folder in sorted(SOURCE.iterdir()):
        if (folder / "config.json").exists():
            family, kind = folder.name.rsplit("-", 1)
            families.setdefault(family, []).append(kind)
    chosen = [f"{family}-{'bf16' if 'bf16' in kinds else kinds[0]}" for family, kinds in families.items()]
    return chosen + [name for name in ("gpt_oss-mxfp4q8", "llama-q4") if (SOURCE / name).exists()]


def tokenizer():
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    vocabulary = {("" if i < 10 else "\u0120") + str(i): i for i in range(VOCABULARY)}
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level,
            "model": {"type": "BPE", "merges": [], "vocab": vocabulary}}


def write_all(folder):
    """Returns the layers of each by name."""
    layers = {}
    for name in names():
        target = Path(folder) / name
        target.mkdir(parents=True)
        for file in ("config.json", "model.safetensors"):
            shutil.copy(SOURCE / name / file, target / file)
        (target / "tokenizer.json").write_text(json.dumps(tokenizer()))
        config = json.loads((target / "config.json").read_text())
        layers[name] = config.get("text_config", config)["num_hidden_layers"]
    return layers


def prompt(seed):
    return [(seed * 67 + i * 31) % (VOCABULARY - 1) + 1 for i in range(12)]
