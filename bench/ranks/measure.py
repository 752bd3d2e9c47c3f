#!/usr/bin/env python3
"""What several ranks gain: each row beside its limit, or one device, measured in turns with it in the same run.

    bench/ranks/measure.py                    all rows that can run here
    bench/ranks/measure.py --only tensor      those whose name holds the word
    bench/ranks/measure.py --peer-dllama PATH distributed-llama beside ours, two processes of it on this machine

Ranks have one thread each. The rows of "hosts" put real devices, pinned to a core each, into network namespaces joined by
veth; root only. A report for a machine that does nothing else: no figure makes it fail."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))
sys.path.insert(0, str(ROOT / "bench" / "report"))
BUILD = ROOT / "build" / "release"
COHORT = BUILD / "cohort"
SHAPE = "1b-q4"
PROMPT, ANSWER = 512, 48


def run(*command, **environment):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=dict(os.environ, **environment))
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()[-300:]}")
    return done.stdout


def report(name, value, unit, base, ratio, reach, better=1):
    """`better`: 1 when a higher ratio is, -1 when a lower one is."""
    verdict = "" if reach is None else "reached" if better * ratio >= better * reach else "MISSED"
    wanted = "" if reach is None else f"reach {reach:.2f}"
    print(f"{name:44} {value:8.2f} {unit:6} beside {base:8.2f}   ratio {ratio:5.2f}  {wanted:11} {verdict}", flush=True)


# ---- collectives

def all_sums(rounds, hosts=None):
    """Medians of microseconds by benchmark, of runs that take turns."""
    out = run(BUILD / "bench/transport/bench_transport", "--benchmark_filter=/8192", "--benchmark_format=json",
              f"--benchmark_repetitions={rounds}", "--benchmark_enable_random_interleaving=true",
              **({"COHORT_BENCH_HOSTS": hosts} if hosts else {}))
    times = {}
    for result in json.loads(out)["benchmarks"]:
        if result["run_type"] == "iteration":
            times.setdefault(result["name"].split("/")[0], []).append(result["p50_us"])
    return {name: statistics.median(values) for name, values in times.items()}


def measure_collectives(rounds):
    import network
    if network.available():
        where, us = "loopback", all_sums(rounds)
    else:
        with network.Network(2) as lab:
            where, us = "veth", all_sums(rounds, f"{lab.hosts[0].name},{lab.hosts[1].name},10.88.0.1")
    raw = us["raw_exchange_tcp"]
    for kind, reach in (("", 1.3), ("_encrypted", None), ("_bf16", None), ("_q8", None)):
        value = us[f"all_sum_tcp{kind}"]
        report(f"all_sum of 8 KB, tcp{kind}, {where}", value, "us", raw, value / raw, reach, better=-1)
    value = us["all_sum_shm"]
    report("all_sum of 8 KB, shm (reach: 2 us)", value, "us", us["raw_exchange_shm"], value / us["raw_exchange_shm"], None)


# ---- ranks in one process

ONE = ["--threads", 1]
TWO = ["--ranks", 2, "--threads", 2]
GIGABIT = [*TWO, "--link-mbit", 1000, "--link-delay-us", 50]  # one way: a round trip of 100 us
PIPELINE = [*TWO, "--sharding", "pipeline"]

# name, arguments, those of its base, figure, ratio to reach
GROUPS = [
    ("tensor on 2, tcp: decode", TWO, ONE, "decode", 1.8),
    ("tensor on 2, shm: decode", [*TWO, "--transport", "shm"], ONE, "decode", 1.8),
    ("tensor on 2, tcp: prefill 512", TWO, ONE, "prefill", 1.8),
    ("tensor on 2, 1 Gbit/s 100 us: decode", GIGABIT, ONE, "decode", 1.6),
    ("tensor on 2, 1 Gbit/s 100 us, bf16: decode", [*GIGABIT, "--wire", "bf16"], ONE, "decode", 1.6),
    ("tensor on 2, 1 Gbit/s 100 us, q8: decode", [*GIGABIT, "--wire", "q8"], ONE, "decode", 1.6),
    ("tensor on 2, 1 Gbit/s 100 us: prefill 512", GIGABIT, ONE, "prefill", None),
    ("pipeline on 2, one stream: decode", PIPELINE, ONE, "decode", 0.9),
    ("pipeline on 2, two streams: decode", [*PIPELINE, "--concurrency", 2], ONE, "decode", 1.8),
    ("pipeline on 2, four streams: decode", [*PIPELINE, "--concurrency", 4], [*ONE, "--concurrency", 2], "decode", 1.8),
    ("pipeline on 2: prefill 512", PIPELINE, ONE, "prefill", None),
    ("uneven, one of 2 at half its pace: decode", [*TWO, "--pace", "1,0.5"], ONE, "decode", 1.4),
    ("tensor on 2, encrypted beside plain: decode", [*TWO, "--encrypt"], TWO, "decode", 0.96),
    ("8 ranks on 2 cores beside 2: decode", ["--ranks", 8, "--threads", 8], TWO, "decode", None),
]
SYNCS, WIDTH, PIECE_ROWS = 32, 2048, 64128 // 8  # of the shape: sums a token, values in one, rows of the head's last piece
WIRE_BYTES = {"f32": 4, "bf16": 2, "q8": 36 / 32}  # a value


def network_s(arguments):
    """The least that a token waits for a slowed link: the plan, each sum, and the last piece of the logits."""
    options = dict(zip(arguments[::2], arguments[1::2]))
    if "--link-mbit" not in options:
        return 0
    delay, rate = options["--link-delay-us"] / 1e6, options["--link-mbit"] * 1e6 / 8
    sums = SYNCS * (delay + WIDTH * WIRE_BYTES[options.get("--wire", "f32")] / rate)
    return delay + sums + delay + PIECE_ROWS * 4 / rate


def bench(arguments):
    (result,) = json.loads(run(COHORT, "bench", "--shape", SHAPE, "--pp", PROMPT, "--tg", ANSWER, "--repeat", 2, "--json",
                               *arguments))
    return {"decode": result["decode_tokens_per_s"], "prefill": result["prefill_tokens_per_s"],
            "limit": result["read_limit_gb_per_s"]}


def measure_groups(rows, rounds):
    for name, arguments, base_arguments, figure, reach in rows:
        figures, bases, ratios, limits, ideals = [], [], [], [], []
        for _ in range(rounds):
            base, own = bench(base_arguments), bench(arguments)
            bases.append(base[figure])
            figures.append(own[figure])
            ratios.append(own[figure] / base[figure])
            limits.append(own["limit"] / base["limit"])
            ideals.append(1 / (1 / limits[-1] + network_s(arguments) * base["decode"]))
        report(name, statistics.median(figures), "tok/s", statistics.median(bases), statistics.median(ratios), reach)
        if figure == "decode":
            print(f"{'':44} the cores' read limits: {statistics.median(limits):.2f} of the base's; "
                  f"with what the links take: {statistics.median(ideals):.2f}")


# ---- devices on hosts of their own

def come_first(device):
    """Whole sessions share the cores where the kernel groups them; niceness counts within one only."""
    autogroup = pathlib.Path(f"/proc/{device.process.pid}/autogroup")
    if autogroup.exists():
        autogroup.write_text("-20")


def decode_rate(device, model, rounds):
    import prediction
    return statistics.median(prediction.tokens_per_second(device, model, 1 + i)[0] for i in range(rounds))


def measure_placed(devices, model, rounds, cuts):
    """Decode rates by name, each instance placed, asked and ended in turn."""
    rates = {}
    for name, wishes in cuts:
        instance = devices[0].place(model, **wishes)
        decode_rate(devices[0], model, 1)  # to warm up
        rates[name] = decode_rate(devices[0], model, rounds)
        devices[0].end(instance["instance"])
    return rates


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_hosts(rounds):
    import network
    import prediction
    from device import Device, eventually
    with tempfile.TemporaryDirectory(prefix="cohort-ranks-") as folder, network.Network(2) as lab:
        run(COHORT, "bench", "--shape", SHAPE, "--write", f"{folder}/models/{SHAPE}")
        hosts = [prediction.PinnedNamespace(host, core) for core, host in enumerate(lab.hosts)]
        devices = [Device(host, f"h{i}", folder, "--models-dir", f"{folder}/models") for i, host in enumerate(hosts)]
        for device in devices:
            come_first(device)
        try:
            eventually(lambda: len(devices[0].devices()) == 2 and all(
                d["read_gb_per_s"] and all(link["bandwidth_mbit_per_s"] for link in d["links"])
                for d in devices[0].devices()), "devices and links are measured")
            cuts = [("one", {"devices": 1, "only": ["h0"]}), ("tensor", {"devices": 2, "sharding": "tensor"}),
                    ("pipeline", {"devices": 2, "sharding": "pipeline"})]
            began, before = time.monotonic(), [cpu_seconds(device.process.pid) for device in devices]
            rates = measure_placed(devices, SHAPE, rounds, cuts)
            elapsed = time.monotonic() - began
            control = [(cpu_seconds(d.process.pid) - b) / elapsed * 100 for d, b in zip(devices, before)]
        finally:
            for device in devices:
                device.stop()
    for name, reach in (("tensor", 1.8), ("pipeline", 0.9)):
        report(f"{name}, two hosts, veth: decode", rates[name], "tok/s", rates["one"], rates[name] / rates["one"], reach)
    print(f"{'daemons, of a core, placing and answering':44} {control[0]:8.2f} %      and    {control[1]:8.2f} %  reach 1 %")


# ---- another engine

def measure_peer(path, rounds):
    from peers import DistributedLlama
    with tempfile.TemporaryDirectory(prefix="cohort-ranks-") as folder:
        peer = DistributedLlama(path, pathlib.Path(folder))
        figures, own, ratios = [], [], []
        for _ in range(rounds):
            figures.append(peer.run_on_two(SHAPE.split("-")[0], PROMPT, ANSWER)["decode"])
            own.append(bench(TWO)["decode"])
            ratios.append(own[-1] / figures[-1])
    report("tensor on 2 beside distributed-llama on 2", statistics.median(own), "tok/s", statistics.median(figures),
           statistics.median(ratios), 3.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-dllama", type=pathlib.Path, metavar="PATH")
    arguments = parser.parse_args()
    os.environ.setdefault("COHORT_BINARY", str(COHORT))
    if arguments.only in "collectives":
        measure_collectives(arguments.rounds)
    measure_groups([row for row in GROUPS if arguments.only in row[0]], arguments.rounds)
    if arguments.peer_dllama and arguments.only in "distributed-llama":
        measure_peer(arguments.peer_dllama, arguments.rounds)
    if os.geteuid() == 0 and arguments.only in "hosts":
        measure_hosts(arguments.rounds)


if __name__ == "__main__":
    main()
