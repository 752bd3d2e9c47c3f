"""How far each format's narrower arithmetic is from float32 logits, on the golden checkpoints of the tests and on a text."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "data" / "models"
MATHS = ("fast", "int8")
TEXT_WINDOW = 256


def _json_of(command):
    """A failed verify prints its report, too."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def golden_divergence(binary, folder, math):
    return _json_of([binary, "verify", folder, "--math", math, "--json"])["divergence"]


def text_divergence(binary, model, text, math, chunk, kv_type):
    return _json_of([binary, "perplexity", model, text, "--context", TEXT_WINDOW, "--chunk", chunk, "--math", math,
                     "--kv-type", kv_type, "--against-math", "f32", "--json"])


def _cell(divergence):
    return f"{divergence['kl_mean']:.1e}, {divergence['top1_agreement'] * 100:.0f}%"


def table(binary):
    """KL(f32 || ours) in nats a token, and how often the likeliest token is the same."""
    lines = ["| checkpoint | " + " | ".join(f"`--math {math}`" for math in MATHS) + " |", "|---|" + "---|" * len(MATHS)]
    for folder in sorted(path for path in MODELS.iterdir() if (path / "golden.safetensors").exists()):
        lines.append(f"| {folder.name} | " + " | ".join(_cell(golden_divergence(binary, folder, math)) for math in MATHS) + " |")
    text = ROOT / "README.md"
    for name, chunk in (("prompt", 64), ("decode", 1)):
        for kv_type in ("f16", "q8"):
            cells = [_cell(text_divergence(binary, "demo", text, math, chunk, kv_type)) for math in MATHS]
            lines.append(f"| demo on a text, {name}, {kv_type} KV | " + " | ".join(cells) + " |")
    return "\n".join(lines)
