"""One cohort device in a namespace: the real binary, its log, its API."""

import http.client
import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path

BINARY = os.environ["COHORT_BINARY"]
DEADLINE_S = 60  # a test that waits longer has failed
PORT = 52415


def eventually(condition, what, deadline_s=DEADLINE_S, pause_s=0.01):
    """Polls until `condition()` is true, and returns it and the seconds it took."""
    begin = time.monotonic()
    while time.monotonic() < begin + deadline_s:
        value = condition()
        if value:
            return value, time.monotonic() - begin
        time.sleep(pause_s)
    raise AssertionError(f"not within {deadline_s} s: {what}")


class Device:
    def __init__(self, namespace, name, folder, *flags):
        self.namespace = namespace
        self.name = name
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.flags = flags
        self.process = None
        self.start()

    def start(self):
        environment = dict(os.environ, HOME=str(self.folder), XDG_CACHE_HOME=os.environ.get("COHORT_LAB_CACHE", str(self.folder)))
        self.log_path = self.folder / "log"
        command = self.namespace.command(BINARY, "serve", "--name", self.name, "--data-dir", str(self.folder / "data"),
                                         "--threads", "1", *self.flags)
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def log(self):
        return self.log_path.read_text()

    def kill(self):
        """Without a word of goodbye, runners and all."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def connection(self, timeout_s=DEADLINE_S):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout_s)
        connection.sock = self.namespace.connect(PORT, timeout_s)
        return connection

    def request(self, method, path, body=None):
        connection = self.connection()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            reply = json.loads(response.read())
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {reply}")
            return reply
        finally:
            connection.close()

    def try_get(self, path, default):
        try:
            return self.request("GET", path)
        except (OSError, http.client.HTTPException):
            return default

    def devices(self):
        return self.try_get("/cohort/devices", [])

    def alive_names(self):
        return sorted(d["name"] for d in self.devices() if d["state"] == "alive")

    def leader(self):
        return next((d["name"] for d in self.devices() if d["leader"]), None)

    def instances(self):
        return self.try_get("/cohort/instances", [])

    def place(self, model, **wishes):
        return self.request("POST", "/cohort/instances", {"model": model, "wait": True, **wishes})

    def plan(self, model, **wishes):
        return self.request("POST", "/cohort/plan", {"model": model, **wishes})

    def plan_of_now(self, model, **wishes):
        """The first plan, of one for which all devices measured their memory: none does beside an answer or a loading."""
        def plan():
            asked_ms = int(time.time() * 1e3)
            first = self.plan(model, **wishes)[0]
            measured = [d["memory_now"] for d in self.devices()]
            return first if all(now and now["measured_unix_ms"] >= asked_ms for now in measured) else None

        return eventually(plan, "memory is measured for a plan", pause_s=0.2)[0]

    def end(self, name):
        return self.request("DELETE", f"/cohort/instances/{name}")

    def end_all(self, model):
        """All instances of a model, if there are any."""
        for instance in self.instances():
            if instance["model"] == model:
                self.end(instance["instance"])

    def next_token_odds(self, model, prompt_ids):
        """Of the likeliest tokens after a prompt."""
        body = {"model": model, "prompt": prompt_ids, "max_tokens": 1, "temperature": 0, "logprobs": 5, "ignore_eos": True}
        choice = self.request("POST", "/v1/completions", body)["choices"][0]
        return {token: math.exp(odds) for token, odds in choice["logprobs"]["top_logprobs"][0].items()}

    def complete(self, model, tokens, prompt_ids=None, prompt="What is a lantern?"):
        """Greedy text of a fixed length, as a list of (seconds since the request, piece)."""
        body = {"model": model, "prompt": prompt_ids or prompt, "max_tokens": tokens, "temperature": 0, "stream": True,
                "ignore_eos": True}
        connection = self.connection()
        begin = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{response.status} {response.read().decode()}")
        return Stream(connection, response, begin)


class Stream:
    """Server-sent events of a completion, one (seconds, text) at a time."""

    def __init__(self, connection, response, begin):
        self.connection, self.response, self.begin = connection, response, begin
        self.pieces = []

    def __iter__(self):
        for line in self.response:
            line = line.decode().strip()
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                break
            event = json.loads(line[len("data: "):])
            if "error" in event:
                raise RuntimeError(f"the stream ended with an error: {event['error']}")
            for choice in event.get("choices", []):
                piece = (time.monotonic() - self.begin, choice.get("text") or "")
                self.pieces.append(piece)
                yield piece
        self.connection.close()

    def rest(self):
        for _ in self:
            pass
        return self.text()

    def text(self):
        return "".join(piece for _, piece in self.pieces)

    def longest_gap_s(self):
        times = [seconds for seconds, _ in self.pieces]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)
