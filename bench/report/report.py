#!/usr/bin/env python3
"""Measures this project's speeds beside the machine's limits, and beside other engines where they are given.

    bench/report/report.py                 prints the tables
    bench/report/report.py --write         also into docs/performance.md and bench/report/figures.json  (make bench)
    bench/report/report.py --check         the quick rows beside the stored ratios; never fails for one  (make bench-check)
    ... --peer-llama-bench PATH --peer-dllama PATH

Each round runs our command and then each peer's, on the same cores; medians of the rounds. For a machine that does
nothing else."""

import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import accuracy
from peers import DistributedLlama, LlamaBench, PeerError
from rows import ROWS, Reach, median_figures

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORED = ROOT / "bench" / "report" / "figures.json"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
LOWER = 0.9  # of a stored ratio: worth a look


def pin_to(cores):
    """The prefix of a command that may use so many cores: the last ones, which interrupts like least."""
    usable = sorted(os.sched_getaffinity(0))[-cores:]
    return ["taskset", "-c", ",".join(map(str, usable))]


def run_ours(binary, row):
    command = [*pin_to(row.cores), binary, "bench", *row.arguments, "--threads", str(row.cores), "--repeat", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def run_peers(peers, row):
    if row.peer is None:
        return {}
    wanted = row.peer
    return {peer.name: peer.run(pin_to(row.cores), wanted.shape, wanted.bits, row.cores, wanted.prompt, wanted.generate)
            for peer in peers}


def measure(row, binary, peers, rounds):
    """The row's figures as plain values, each with the peers' and the medians of the rounds' ratios to them."""
    ours, theirs = [], []
    for _ in range(rounds):
        results = run_ours(binary, row)
        ours.append(list(row.figures(results)))
        theirs.append(run_peers(peers, row))
    measured, today = [], datetime.date.today().isoformat()
    for index, figure in enumerate(median_figures(ours)):
        beside = {}
        for peer in peers:
            pairs = [(mine[index].value, other[peer.name][figure.what]) for mine, other in zip(ours, theirs)
                     if figure.what in other.get(peer.name, {})]
            if pairs:
                beside[peer.name] = {"value": statistics.median(b for _, b in pairs),
                                     "ratio": statistics.median(a / b for a, b in pairs)}
        measured.append({"section": row.section, "row": row.name, "arguments": row.arguments, "cores": row.cores,
                         **vars(figure), "peers": beside, "rounds": rounds, "date": today})
    return measured


def reach_of(figure):
    for row in ROWS:
        if row.arguments == figure["arguments"] and row.cores == figure["cores"]:
            return row.reach.get(figure["what"], Reach())
    return Reach()


def amount(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def of_limit_text(figure):
    """A fraction of a limit, or a multiple of one of our own figures."""
    fraction = figure["of_limit"]
    if fraction is None:
        return ""
    return f"{fraction:.2f} x {figure['limit']}" if fraction > 1.05 else f"{fraction * 100:.0f}% of the {figure['limit']}"


def wanted_text(reach):
    parts = []
    if reach.of_limit is not None:
        parts.append(f"{reach.of_limit:g} x" if reach.of_limit > 1 else f"{reach.of_limit * 100:.0f}%")
    if reach.of_peer is not None:
        parts.append(f"{reach.of_peer:g} x llama-bench")
    return ", ".join(parts)


def met_text(figure, reach):
    met = []
    if reach.of_limit is not None:
        met.append(figure["of_limit"] >= reach.of_limit)
    if reach.of_peer is not None and "llama-bench" in figure["peers"]:
        met.append(figure["peers"]["llama-bench"]["ratio"] >= reach.of_peer)
    return "" if not met else "yes" if all(met) else "no"


def table(figures, peer_names):
    head = ["row", "figure", "measured", "of the limit of the same run", *peer_names, "to reach", "reached"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for figure in figures:
        options = " ".join(figure["arguments"][figure["arguments"].index("--tg") + 2:])
        beside = [f"{amount(p['value'])} ({p['ratio']:.2f} x)" if p else ""
                  for p in (figure["peers"].get(name) for name in peer_names)]
        reach = reach_of(figure)
        lines.append("| " + " | ".join([f"{figure['row']} {f'`{options}`' if options else ''}".strip(), figure["what"],
                                        f"{amount(figure['value'])} {figure['unit']}", of_limit_text(figure), *beside,
                                        wanted_text(reach), met_text(figure, reach)]) + " |")
    return "\n".join(lines)


def document_text(report):
    peer_names = sorted({name for figure in report["figures"] for name in figure["peers"]})
    dates = sorted({figure["date"] for figure in report["figures"]})
    rounds = min(figure["rounds"] for figure in report["figures"])
    parts = [f"{' to '.join(dict.fromkeys([dates[0], dates[-1]]))}; {report['cpu']}, {report['cores']} cores, release build. "
             f"Medians of {rounds} rounds or more; beside a peer's figure stands ours / its own, of the same rounds."]
    for section in dict.fromkeys(figure["section"] for figure in report["figures"]):
        same = [figure for figure in report["figures"] if figure["section"] == section]
        parts.append(f"**{section}**\n\n{table(same, peer_names)}")
    return "\n\n".join(parts)


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu.group(1) if cpu else os.uname().machine, "cores": len(os.sched_getaffinity(0))}


def write_document(text):
    document = DOCUMENT.read_text()
    before, rest = document.split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


def key_of(figure):
    return json.dumps([figure["arguments"], figure["cores"], figure["what"]])


def stored_figures():
    stored = json.loads(STORED.read_text())["figures"] if STORED.exists() else []
    return {key_of(figure): figure for figure in stored}


def merged(figures):
    """With those of rows that were not measured now, in the order of the rows."""
    by_key = {**stored_figures(), **{key_of(figure): figure for figure in figures}}
    order = [(row.arguments, row.cores) for row in ROWS]
    kept = [figure for figure in by_key.values() if (figure["arguments"], figure["cores"]) in order]
    return sorted(kept, key=lambda figure: order.index((figure["arguments"], figure["cores"])))


def print_check(figures):
    stored = stored_figures()
    print("| row | figure | ratio now | stored | |\n|---|---|---|---|---|")
    for figure in figures:
        before = stored.get(key_of(figure))
        if before is None or not before["of_limit"]:
            continue
        note = "LOWER" if figure["of_limit"] < LOWER * before["of_limit"] else ""
        print(f"| {figure['row']}, {figure['cores']} cores | {figure['what']} | {figure['of_limit']:.2f} | {before['of_limit']:.2f} | {note} |")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build" / "release" / "cohort")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose section or name has this in it")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--peer-llama-bench", type=pathlib.Path, metavar="PATH")
    parser.add_argument("--peer-dllama", type=pathlib.Path, metavar="PATH")
    return parser.parse_args()


def peers_of(options):
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "cohort" / "peer-models"
    peers = []
    if options.peer_llama_bench:
        peers.append(LlamaBench(options.peer_llama_bench, folder))
    if options.peer_dllama:
        peers.append(DistributedLlama(options.peer_dllama, folder))
    return peers


def main():
    options = parse_arguments()
    available = len(os.sched_getaffinity(0))
    rows = [row for row in ROWS if options.only in f"{row.section}, {row.name}" and row.cores <= available
            and (row.quick or not options.check)]
    peers = peers_of(options)
    figures = []
    for row in rows:
        print(f"{row.section}: {row.name}", file=sys.stderr, flush=True)
        figures += measure(row, options.binary, peers, options.rounds)
    if options.check:
        return print_check(figures)
    print(document_text({**machine(), "figures": figures}))
    if options.write:
        report = {**machine(), "figures": merged(figures)}
        STORED.write_text(json.dumps(report, indent=1) + "\n")
        write_document(f"{document_text(report)}\n\n**Accuracy**: KL from float32 in nats a token, and how often the likeliest "
                       f"token is the same\n\n{accuracy.table(options.binary)}")


if __name__ == "__main__":
    try:
        main()
    except PeerError as error:
        raise SystemExit(str(error))
