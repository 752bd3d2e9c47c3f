#!/usr/bin/env python3
"""Predicted against achieved decode speed: two devices of one core each, on shaped links; one device, pipeline and tensor.

    COHORT_BINARY=build/release/cohort tests/lab/prediction.py [--shapes 0.5b-q4,0.5b-mxfp4] [--rates 100mbit,1gbit,10gbit]

A report, not a test: the machine's mood decides about its figures. Root only."""

import argparse
import glob
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import network

PROMPT_TOKENS = 512  # what predictions assume (cluster::Load)
ANSWER_TOKENS = 128
QUIET = 0.08  # of a core, that other programs may take meanwhile
ATTEMPTS = 1  # at a quiet answer, times --repeat; more where the machine has other work now and then
# Between sessions it is the session's own niceness that counts, where the kernel groups processes by session.
FIRST = 'echo -15 2>/dev/null > /proc/self/autogroup; exec nice -n -15 "$0" "$@"'
CUTS = ({"devices": 1}, {"devices": 2, "sharding": "pipeline"}, {"devices": 2, "sharding": "tensor"})


class PinnedNamespace:
    """A namespace whose programs have one core, and come before others on it."""

    def __init__(self, namespace, core):
        self.namespace, self.name, self.core = namespace, namespace.name, core

    def command(self, *arguments):
        return self.namespace.command("sh", "-c", FIRST, "taskset", "-c", str(self.core), *arguments)

    def connect(self, port, timeout_s):
        return self.namespace.connect(port, timeout_s)


def tokens_per_second(device, model, seed):
    """Of one greedy answer, from its first token to its last."""
    prompt = [(seed * 7919 + i * 31) % 30000 + 1 for i in range(PROMPT_TOKENS)]
    times = [seconds for seconds, _ in device.complete(model, ANSWER_TOKENS, prompt_ids=prompt)]
    if len(times) < ANSWER_TOKENS // 2:
        raise RuntimeError(f"{len(times)} pieces for {ANSWER_TOKENS} tokens")
    return (len(times) - 1) / (times[-1] - times[0]), times[0]


class Others:
    """The share of a core that programs other than the devices took since begin()."""

    def __init__(self, devices):
        self.sessions = {device.process.pid for device in devices}
        self.begin()

    def busy_ticks(self):
        with open("/proc/stat") as file:
            user, nice, system = map(int, file.readline().split()[1:4])
        ours = 0
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat) as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) in self.sessions:
                ours += int(fields[11]) + int(fields[12])
        return user + nice + system - ours

    def begin(self):
        self.began, self.ticks = time.monotonic(), self.busy_ticks()

    def share(self):
        ticks = self.busy_ticks() - self.ticks
        return ticks / os.sysconf("SC_CLK_TCK") / (time.monotonic() - self.began)


def achieved(devices, model, repeats):
    """Rates and first-token times of answers given while hardly anything else ran, as far as there are any."""
    tokens_per_second(devices[0], model, 0)  # to warm up
    others = Others(devices)
    figures = []
    for attempt in range(ATTEMPTS * repeats):
        others.begin()
        rate, first = tokens_per_second(devices[0], model, 1 + attempt)
        figures.append((others.share(), rate, first))
        if sum(share < QUIET for share, _, _ in figures) == repeats:
            break
    quiet = sorted(figures)[:repeats]
    return [rate for _, rate, _ in quiet], statistics.median(first for _, _, first in quiet), quiet[-1][0]


def read_limits():
    """GB/s of one core, and of both: what the machine gives at this moment."""
    text = subprocess.run([os.environ["COHORT_BINARY"], "calibrate", "--threads", "2"], capture_output=True, text=True).stdout
    figures = json.loads(text)
    return figures["read_gb_per_s_one_core"], figures["read_gb_per_s"]


def calibrate_freely(Device, eventually):
    """What the machine gives all its cores can be measured only by a device that is not pinned to one; the others find it kept."""
    with network.Network(1) as lab, tempfile.TemporaryDirectory(prefix="cohort-lab-") as folder:
        device = Device(lab.hosts[0], "free", folder)
        try:
            eventually(lambda: any(d["read_gb_per_s"] for d in device.devices()), "the machine is measured")
        finally:
            device.stop()


def measure_at(rate, models, shapes, repeats, eventually, Device):
    with network.Network(2, rate) as lab, tempfile.TemporaryDirectory(prefix="cohort-lab-") as folder:
        devices = [Device(PinnedNamespace(host, core), f"h{core}", folder, "--models-dir", models)
                   for core, host in enumerate(lab.hosts)]
        try:
            def measured():
                links = [link for d in devices[0].devices() for link in d["links"] if link["bandwidth_mbit_per_s"]]
                speeds = [d for d in devices[0].devices() if d["read_gb_per_s"]]
                return links if len(links) == 2 and len(speeds) == 2 else None

            links, _ = eventually(measured, "links and devices are measured")
            one, two = read_limits()
            device = next(d for d in devices[0].devices() if d["self"])
            print(f"{rate}: {links[0]['bandwidth_mbit_per_s']:.0f} Mbit/s, round trip {links[0]['rtt_us_p50']:.0f} us; "
                  f"device read {device['read_gb_per_s']:.1f} GB/s; one core now {one:.1f}, both {two:.1f}; "
                  f"load {os.getloadavg()[0]:.1f}")
            results = []
            for model in shapes:
                results += [(rate, model, *result) for result in measure_cuts(devices, model, repeats)]
            return results
        finally:
            for device in devices:
                device.stop()


def measure_cuts(devices, model, repeats):
    print(f" {model}")
    results = []
    for wishes in CUTS:
        plan = devices[0].plan(model, **wishes)[0]
        instance = devices[0].place(model, **wishes)
        rates, first, others = achieved(devices, model, repeats)
        devices[0].end(instance["instance"])
        results.append((plan["predicted_decode_tokens_per_s"], statistics.median(rates), plan, rates, first, others))
        print_result(*results[-1])
    planned = devices[0].plan(model)[0]["sharding"]
    best = max(results, key=lambda result: result[1])
    chosen = next(result for result in results if result[2]["sharding"] == planned)
    share = chosen[1] / best[1]
    print(f"  planned first: {planned}, {share:.0%} of the fastest ({best[2]['sharding']})", flush=True)
    return [(*result[:2], result[2]["predicted_ttft_ms"] / 1e3 / result[4], share) for result in results]


def print_result(predicted, median, plan, rates, first, others):
    spread = f"{min(rates):.1f}..{max(rates):.1f}"
    print(f"  {plan['sharding']:9} predicted {predicted:6.1f}  achieved {median:6.1f} ({spread})  "
          f"predicted/achieved {predicted / median:.2f}   weights {plan['weights_ms']:.2f} sync {plan['sync_ms']:.2f} "
          f"hop {plan['hop_ms']:.2f} of {1e3 / median:.2f} ms; first token {plan['predicted_ttft_ms']:.0f} / {first * 1e3:.0f} ms; others {others:.0%}",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="0.5b-q4,0.5b-q8,0.5b-bf16,0.5b-mxfp4,1b-q4")
    parser.add_argument("--rates", default="100mbit,1gbit,10gbit")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    reason = network.available()
    if reason:
        sys.exit(f"not here: {reason}")
    os.environ["COHORT_BINARY"] = os.path.abspath(os.environ["COHORT_BINARY"])
    from device import Device, eventually

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that hosts and folders are removed
    with tempfile.TemporaryDirectory(prefix="cohort-shapes-") as models, \
         tempfile.TemporaryDirectory(prefix="cohort-lab-cache-") as cache:
        os.environ.setdefault("COHORT_LAB_CACHE", cache)
        shapes = arguments.shapes.split(",")
        for shape in shapes:
            subprocess.run([os.environ["COHORT_BINARY"], "bench", "--shape", shape, "--write", f"{models}/{shape}"], check=True)
        calibrate_freely(Device, eventually)
        results = []
        for rate in arguments.rates.split(","):
            results += measure_at(rate, models, shapes, arguments.repeat, eventually, Device)
        summarize(results)


def summarize(results):
    decode = sum(abs(predicted / median - 1) <= 0.2 for _, _, predicted, median, _, _ in results)
    first = sum(abs(ratio - 1) <= 0.2 for *_, ratio, _ in results)
    ranked = sum(share >= 0.95 for *_, share in results) / len(CUTS)
    print(f"within 20%: {decode} of {len(results)} decode rates, {first} times to the first token; "
          f"first in the plan and fastest, or within 5%: {ranked:.0f} of {len(results) // len(CUTS)}")


if __name__ == "__main__":
    main()
