"""Other engines, run on the same cores in the same minutes: tokens/s of a prompt and of decoding."""

import json
import re
import socket
import subprocess

import peer_models

TIMEOUT_S = 600


class PeerError(Exception):
    pass


def _output(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise PeerError(f"{command[0]} failed: {last}")
    return done.stdout


class LlamaBench:
    """`llama-bench` of llama.cpp or of one of its forks; weights are repacked at load where it can."""

    name = "llama-bench"

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        known = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=TIMEOUT_S)
        self.repack = ["-rtr", "1"] if "-rtr" in known.stdout + known.stderr else []

    def run(self, pin, shape, bits, threads, prompt, generate):
        model = peer_models.gguf(self.folder, shape, bits)
        command = [*pin, self.path, "-m", model, "-t", threads, "-p", prompt, "-n", generate, "-r", 3, "-o", "json", *self.repack]
        results = json.loads(_output(command))
        return {"prefill": next(r["avg_ts"] for r in results if r["n_prompt"]),
                "decode": next(r["avg_ts"] for r in results if r["n_gen"])}


class DistributedLlama:
    """`dllama inference`, whose tokenizer here makes one token of each letter."""

    name = "distributed-llama"

    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def run(self, pin, shape, bits, threads, prompt, generate):
        return self._rates(pin, shape, threads, prompt, generate) if bits == 4 else {}

    def run_on_two(self, shape, prompt, generate):
        """Two processes of one thread each, joined by loopback."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        worker = subprocess.Popen([self.path, "worker", "--port", str(port), "--nthreads", "1"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return self._rates([], shape, 1, prompt, generate, ["--workers", f"127.0.0.1:{port}"])
        finally:
            worker.kill()
            worker.wait()

    def _rates(self, pin, shape, threads, prompt, generate, more=()):
        files = ["--model", peer_models.dllama(self.folder, shape), "--tokenizer",
                 peer_models.dllama_tokenizer(self.folder, shape)]
        text = _output([*pin, self.path, "inference", *files, "--prompt", "a" * prompt, "--steps", prompt + generate,
                        "--nthreads", threads, "--buffer-float-type", "q80", "--temperature", 0, *more])
        rates = re.findall(r"tokens/s: ([0-9.]+)", text)
        if len(rates) != 2:
            raise PeerError(f"{self.path} printed no rates")
        return {"prefill": float(rates[0]), "decode": float(rates[1])}
