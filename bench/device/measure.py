#!/usr/bin/env python3
"""Measures a device as its user meets it, and prints a table for docs/performance.md.

    bench/device/measure.py [--binary build/release/cohort] [--starts 11] [--idle-s 10]

Start to listening, idle memory and CPU, a runner's memory beside what it must hold, speed of the demo model, the longest
gap in running streams while a long prompt is read, and what becomes of 500 requests at once beside a stream of probes.
Medians; run it on a machine that does nothing else.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Device:
    """A `cohort serve` with a home of its own; `start_s` is the time until its port accepted."""

    def __init__(self, binary, *flags):
        self.home = tempfile.TemporaryDirectory()
        self.port = free_port()
        environment = {**os.environ, "HOME": self.home.name, "COHORT_DATA_DIR": self.home.name}
        command = [binary, "serve", "--port", str(self.port), "--mesh-port", "0", "--offline", *flags]
        self.log = open(os.path.join(self.home.name, "log"), "w")
        began = time.perf_counter()
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            if self.process.poll() is not None:
                raise SystemExit(open(self.log.name).read())
            time.sleep(0.0005)
        self.start_s = time.perf_counter() - began

    def cpu_s(self):
        """Of its threads; finer than the clock ticks of /proc/PID/stat."""
        threads = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def rss_bytes(self):
        return int(open(f"/proc/{self.process.pid}/statm").read().split()[1]) * PAGE_BYTES

    def request(self, method, path, body=None, timeout_s=300):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        return response, response.read()

    def instance(self):
        """What the device says of the demo model it runs."""
        return json.loads(self.request("GET", "/cohort/instances")[1])[0]

    def chat(self, content, max_tokens, model="demo"):
        body = {"model": model, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True,
                "messages": [{"role": "user", "content": content}]}
        return self.request("POST", "/v1/chat/completions", body)

    def stream_times(self, model, prompt, max_tokens):
        """When each piece of a streamed completion came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", "/v1/completions", json.dumps({
            "model": model, "prompt": prompt, "max_tokens": max_tokens, "seed": 1, "stream": True,
            "logit_bias": {str(token): -100 for token in range(4090, 4096)}}))  # no end, and text each time
        return [time.perf_counter() for line in connection.getresponse() if line.startswith(b"data: {")]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()
        self.home.cleanup()


def measure_start(binary, count):
    times, cpu = [], []
    for _ in range(count):
        device = Device(binary)
        times.append(device.start_s)
        cpu.append(device.cpu_s())
        device.stop()
    return [("start to listening", f"{statistics.median(times) * 1e3:.0f} ms "
                                   f"(worst of {count}: {max(times) * 1e3:.0f})", "150 ms"),
            ("CPU of a start", f"{statistics.median(cpu) * 1e3:.0f} ms", "")]


def measure_idle(device, seconds):
    time.sleep(5)  # what a start still does, such as calibration
    before = device.cpu_s()
    time.sleep(seconds)
    share = (device.cpu_s() - before) / seconds
    return [("idle daemon, RSS", f"{device.rss_bytes() / MIB:.1f} MB", "30 MB"),
            ("idle daemon, CPU", f"{share:.2%}", "0.5%")]


def measure_runner(device):
    device.chat("What is a lantern?", 32)
    demo = device.instance()
    return [("runner, RSS", f"{demo['rss_bytes'] / MIB:.0f} MB with weights of "
             f"{demo['weight_bytes'] / MIB:.0f} MB and a KV cache that may take {demo['kv_bytes'] / MIB:.0f} MB",
             "weights + KV + 100 MB")]


def measure_speed(binary):
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "COHORT_DATA_DIR": home}
        done = subprocess.run([binary, "bench", "demo", "--pp", "256", "--tg", "128", "--json"],
                              env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def long_demo(folder):
    """The demo model with room for long prompts: what it says past its own context does not matter here."""
    demo = pathlib.Path(__file__).parents[2] / "resources" / "demo"
    for file in demo.iterdir():
        shutil.copy(file, folder)
    config = json.loads((demo / "config.json").read_text())
    (pathlib.Path(folder) / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    return str(folder)


def measure_gap(device, prompt_tokens=4000):
    """Longest pause of seven streams, alone and while a long prompt comes in."""
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(8) as pool:
        model = long_demo(folder)

        def longest_gap(with_prompt):
            streams = [pool.submit(device.stream_times, model, f"{i} lantern", 600) for i in range(7)]
            if with_prompt:
                time.sleep(0.1)
                began = time.perf_counter()
                _, body = device.chat(" the" * prompt_tokens, 4, model)
                took_s = time.perf_counter() - began
                read = json.loads(body)["usage"]["prompt_tokens"]
            times = [stream.result() for stream in streams]
            gap = max(b - a for stream in times for a, b in zip(stream, stream[1:]))
            paused = f"{gap * 1e3:.0f} ms in {sum(map(len, times))} tokens"
            return (paused, read, took_s) if with_prompt else paused

        device.chat("warm up", 4, model)
        alone = longest_gap(False)
        beside, read, took_s = longest_gap(True)
    return [("longest pause of 7 streams", alone, ""),
            (f"the same while a prompt of {read} tokens is read", f"{beside}; reading took {took_s * 1e3:.0f} ms",
             "one chunk of 256 tokens")]


def measure_load(device, requests=500):
    """Every request answered or told to come back, while /healthz is asked all the time."""
    probes, stop = [], threading.Event()

    def probe():
        connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=60)
        while not stop.is_set():
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            response.read()
            probes.append((response.status, time.perf_counter() - began))

    prober = threading.Thread(target=probe)
    prober.start()
    before = device.rss_bytes()
    with concurrent.futures.ThreadPoolExecutor(requests) as pool:
        answers = list(pool.map(lambda i: device.chat(f"What is a lantern? ({i})", 128), range(requests)))
    stop.set()
    prober.join()
    good = sum(response.status == 200 for response, _ in answers)
    refused = [response for response, _ in answers if response.status == 429]
    told = sum(response.getheader("Retry-After") is not None for response in refused)
    slowest = sorted(took for _, took in probes)
    return [(f"{requests} chat requests at once", f"{good} answered, {len(refused)} refused with 429 "
             f"({told} with Retry-After), {requests - good - len(refused)} lost", "none lost"),
            ("/healthz meanwhile", f"{len(probes)} probes, {sum(s != 200 for s, _ in probes)} failed, "
             f"p50 {slowest[len(slowest) // 2] * 1e3:.1f} ms, worst {slowest[-1] * 1e3:.0f} ms", "none lost"),
            ("daemon RSS after it", f"{device.rss_bytes() / MIB:.1f} MB (before: {before / MIB:.1f})",
             "bounded")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="build/release/cohort")
    parser.add_argument("--starts", type=int, default=11)
    parser.add_argument("--idle-s", type=float, default=10)
    arguments = parser.parse_args()

    rows = measure_start(arguments.binary, arguments.starts)
    device = Device(arguments.binary)
    rows += measure_idle(device, arguments.idle_s)
    rows += measure_runner(device) + measure_gap(device) + measure_load(device)
    device.stop()
    print("| what | measured | aim |\n|---|---|---|")
    for row in rows:
        print("| {} | {} | {} |".format(*row))
    print("\n`cohort bench demo`:", json.dumps(measure_speed(arguments.binary), indent=1))


if __name__ == "__main__":
    main()
