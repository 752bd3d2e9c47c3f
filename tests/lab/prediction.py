#!/usr/bin/env python3
"""Predicted against achieved decode speed: two devices of one core each, on shaped links; one device, pipeline and tensor.

    COHORT_BINARY=build/release/cohort tests/lab/prediction.py [--shapes 0.5b-q4,0.5b-mxfp4] [--rates 100mbit,1gbit,10gbit]

A report, not a test: the machine's mood decides about its figures. What memory gives both cores together jumps within
seconds where a hypervisor moves them, so each answer is compared with a plan made just before it, and one after which the
plan says otherwise is asked for again. Root only."""

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
STEADY = 0.1  # that a plan after an answer may differ from the one before
ATTEMPTS = 3  # at a calm answer, times --repeat
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


class Answer:
    """One, with the plan that was made before it, that made after it, and the share of a core others had."""

    def __init__(self, plan, rate, first_s, after, others):
        self.plan, self.rate, self.first_s, self.others = plan, rate, first_s, others
        self.drift = abs(after["predicted_decode_tokens_per_s"] / plan["predicted_decode_tokens_per_s"] - 1)

    @property
    def calm(self):
        return self.others < QUIET and self.drift < STEADY

    @property
    def rate_ratio(self):
        return self.plan["predicted_decode_tokens_per_s"] / self.rate

    @property
    def first_ratio(self):
        return self.plan["predicted_ttft_ms"] / 1e3 / self.first_s


def answers(devices, model, wishes, repeats):
    """Those given while hardly anything else ran and memory stayed as it was, as far as there are any."""
    tokens_per_second(devices[0], model, 0)  # to warm up
    others = Others(devices)
    given, plan = [], devices[0].plan_of_now(model, **wishes)
    for attempt in range(ATTEMPTS * repeats):
        others.begin()
        rate, first_s = tokens_per_second(devices[0], model, 1 + attempt)
        share, after = others.share(), devices[0].plan_of_now(model, **wishes)
        given.append(Answer(plan, rate, first_s, after, share))
        plan = after
        if sum(answer.calm for answer in given) == repeats:
            break
    return sorted(given, key=lambda answer: not answer.calm)[:repeats]


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
            eventually(lambda: any(d["read_gb_per_s"] for d in device.devices()), "the machine is measured", deadline_s=120)
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
            return [measure_cuts(rate, devices, model, repeats) for model in shapes]
        finally:
            for device in devices:
                device.stop()


class Row:
    """A model cut one way: answers and their medians."""

    def __init__(self, rate, model, given):
        self.rate, self.model, self.answers = rate, model, given
        self.plan = given[len(given) // 2].plan
        self.sharding = self.plan["sharding"]

    def median(self, value):
        return statistics.median(map(value, self.answers))

    @property
    def achieved(self):
        return self.median(lambda answer: answer.rate)

    @property
    def rate_ratio(self):
        return self.median(lambda answer: answer.rate_ratio)

    @property
    def first_ratio(self):
        return self.median(lambda answer: answer.first_ratio)

    def __str__(self):
        rates = [answer.rate for answer in self.answers]
        plan = self.plan
        return (f"  {self.sharding:9} achieved {self.achieved:6.1f} ({min(rates):.1f}..{max(rates):.1f})  "
                f"predicted/achieved {self.rate_ratio:.2f}, first token {self.first_ratio:.2f}   "
                f"one plan: {plan['predicted_decode_tokens_per_s']:.1f} tok/s, weights {plan['weights_ms']:.2f} "
                f"sync {plan['sync_ms']:.2f} logits {plan['logits_ms']:.2f} hop {plan['hop_ms']:.2f} ms, "
                f"first token {plan['predicted_ttft_ms']:.0f} ms; "
                f"{sum(answer.calm for answer in self.answers)} calm")


def measure_cuts(rate, devices, model, repeats):
    """The rows, and how near the placement that is planned first comes to the fastest."""
    print(f" {model}")
    rows = []
    for wishes in CUTS:
        instance = devices[0].place(model, **wishes)
        rows.append(Row(rate, model, answers(devices, model, wishes, repeats)))
        devices[0].end(instance["instance"])
        print(rows[-1], flush=True)
    planned = devices[0].plan(model)[0]["sharding"]
    best = max(rows, key=lambda row: row.achieved)
    share = next(row for row in rows if row.sharding == planned).achieved / best.achieved
    print(f"  planned first: {planned}, {share:.0%} of the fastest ({best.sharding})", flush=True)
    return rows, share


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
    rows = [row for cut_rows, _ in results for row in cut_rows]
    decode = sum(abs(row.rate_ratio - 1) <= 0.2 for row in rows)
    first = sum(abs(row.first_ratio - 1) <= 0.2 for row in rows)
    ranked = sum(share >= 0.95 for _, share in results)
    print(f"within 20%: {decode} of {len(rows)} decode rates, {first} times to the first token; "
          f"first in the plan and fastest, or within 5%: {ranked} of {len(results)}")


if __name__ == "__main__":
    main()
