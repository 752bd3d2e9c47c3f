#!/usr/bin/env python3
"""Links of this host beside UCX's: two processes, a core each, busy polling; half a round trip and all_sum of two ranks.

    bench/transport/links.py [--rounds 5]     wants a build, two cores, and libucx0; ucx_perftest (ucx-utils) where it is installed

Rows take turns; medians of the rounds. UCX's shared memory stands beside ours, its TCP beside ours; "UCX's own" is its tag_lat,
which sends the bare bytes and checks nothing."""

import argparse
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import time

RANK = pathlib.Path(__file__).resolve().parents[2] / "build/release/tests/rdma/rdma_rank"
KIB = (4, 8, 16, 64)
# name, transport of our ranks, UCX's environment
ROWS = [
    ("tcp", "tcp", {}),
    ("tcp, encrypted", "tcp encrypted", {}),
    ("ucx over tcp", "ucx", {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"}),
    ("shm", "shm", {}),
    ("ucx over shared memory", "ucx", {"UCX_TLS": "posix,self"}),
]
PERFTESTS = [("UCX's own over tcp", {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"}),
             ("UCX's own over shared memory", {"UCX_TLS": "posix,self"})]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def on_core(core, command, environment):
    return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], env={**os.environ, **environment},
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def outputs(processes):
    try:
        texts = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(process.returncode for process in processes):
        raise SystemExit(f"{processes[0].args}: {''.join(texts).strip()[-300:]}")
    return texts


def ranks(transport, environment):
    """{KiB: (half round trip, all_sum)} in microseconds."""
    ports = free_ports(2)
    name, *encrypted = transport.split()
    plain = [] if encrypted else ["--plain", 1]
    processes = [on_core(r, [RANK, "time", "--rank", r, "--listen", ports[r], "--peer", f"127.0.0.1:{ports[1 - r]}",
                             "--transport", name, "--spin", 100000, *plain], environment) for r in range(2)]
    found = re.findall(r"time: \S+ +(\d+) KiB  half round trip +([\d.]+) us  all_sum +([\d.]+) us", "".join(outputs(processes)))
    return {int(kib): (float(half), float(total)) for kib, half, total in found}


def wait_until_listening(port):
    for _ in range(500):
        if f":{port:04X} 00000000:0000 0A" in pathlib.Path("/proc/net/tcp").read_text():
            return
        time.sleep(0.01)
    raise SystemExit("ucx_perftest does not listen")


def perftest(environment):
    """{KiB: half round trip} as UCX's own tool sees it."""
    times = {}
    for kib in KIB:
        (port,) = free_ports(1)
        test = ["ucx_perftest", "-p", port, "-t", "tag_lat", "-s", kib << 10, "-n", 20000, "-f"]
        server = on_core(0, test, environment)
        wait_until_listening(port)
        client = on_core(1, [*test[:1], "127.0.0.1", *test[1:]], environment)
        text = outputs([server, client])[1]
        times[kib] = float(re.search(r"^ +\d+ +([\d.]+)", text, re.MULTILINE).group(1))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    measured = {name: [] for name, *_ in ROWS}
    own = {name: [] for name, _ in PERFTESTS} if shutil.which("ucx_perftest") else {}
    for _ in range(arguments.rounds):
        for name, transport, environment in ROWS:
            measured[name].append(ranks(transport, environment))
        for name, environment in PERFTESTS:
            if own:
                own[name].append(perftest(environment))
    print(f"{'us, half a round trip / all_sum':32}" + "".join(f"{kib:>12} KiB" for kib in KIB))
    for name, rounds in measured.items():
        cells = [f"{statistics.median(r[k][0] for r in rounds):.1f} / {statistics.median(r[k][1] for r in rounds):.1f}" for k in KIB]
        print(f"{name:32}" + "".join(f"{cell:>16}" for cell in cells))
    for name, rounds in own.items():
        print(f"{name:32}" + "".join(f"{statistics.median(r[k] for r in rounds):>16.1f}" for k in KIB))


if __name__ == "__main__":
    main()
