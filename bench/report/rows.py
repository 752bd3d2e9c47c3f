"""What `make bench` measures: each row a command of this project, the figures taken from it, and what they should reach.

A figure is tokens/s (or the unit it names) with its fraction of a limit that the same command measured, where there is
one. `of_limit` and `of_peer` are the ratios wanted; None: reported only."""

import statistics
from dataclasses import dataclass, field
from typing import Callable, Optional


@dataclass(frozen=True)
class Figure:
    what: str
    value: float
    unit: str
    of_limit: Optional[float] = None  # as a fraction
    limit: str = ""                   # which


@dataclass(frozen=True)
class Reach:
    of_limit: Optional[float] = None
    of_peer: Optional[float] = None


@dataclass(frozen=True)
class Peered:
    """What a peer is asked to do beside a row."""

    shape: str
    bits: int
    prompt: int
    generate: int


@dataclass(frozen=True)
class Row:
    section: str
    name: str
    arguments: list   # of `cohort bench`
    cores: int = 1
    reach: dict = field(default_factory=dict)  # figure's name -> Reach
    figures: Callable = None                   # results of the command -> [Figure]
    peer: Optional[Peered] = None
    quick: bool = False                        # part of `make bench-check`


def speeds(results):
    """Prefill and decode of one stream, beside the peak of the dot product and the read limit."""
    (result,) = results
    yield Figure("prefill", result["prefill_tokens_per_s"], "tok/s", result["prefill_peak_fraction"], "matmul peak")
    yield Figure("decode", result["decode_tokens_per_s"], "tok/s", result["decode_read_limit_fraction"], "read limit")


def decode_only(results):
    return [figure for figure in speeds(results) if figure.what == "decode"]


def prefill_only(results):
    return [figure for figure in speeds(results) if figure.what == "prefill"]


def batch_gain(results):
    """How much more all streams together decode than one alone."""
    one, many = results
    gain = many["decode_tokens_per_s"] / one["decode_tokens_per_s"]
    yield Figure(f"decode, {many['concurrency']} streams", many["decode_tokens_per_s"], "tok/s", gain, "one stream's")


def single(shape, prompt, generate, *extra):
    return ["--shape", shape, "--pp", str(prompt), "--tg", str(generate), *extra]


ONE_CORE, TWO_CORES = "One device, one core", "One device, two cores"

ROWS = [
    Row(ONE_CORE, "1b-q4, prompt of 512", single("1b-q4", 512, 64), figures=speeds, quick=True,
        reach={"prefill": Reach(of_peer=1.4), "decode": Reach(of_limit=0.85, of_peer=1.5)}, peer=Peered("1b", 4, 512, 64)),
    Row(ONE_CORE, "1b-q4, prompt of 512", single("1b-q4", 512, 8, "--math", "int8"), figures=prefill_only,
        reach={"prefill": Reach(of_peer=1.4)}, peer=Peered("1b", 4, 512, 8)),
    Row(ONE_CORE, "1b-q4, prompt of 128", single("1b-q4", 128, 8), figures=prefill_only,
        reach={"prefill": Reach(of_peer=1.3)}, peer=Peered("1b", 4, 128, 8)),
    Row(ONE_CORE, "1b-q4, prompt of 128", single("1b-q4", 128, 8, "--math", "int8"), figures=prefill_only,
        reach={"prefill": Reach(of_peer=1.3)}, peer=Peered("1b", 4, 128, 8)),
    Row(ONE_CORE, "1b-q4, prompt of 32", single("1b-q4", 32, 8), figures=prefill_only,
        reach={"prefill": Reach(of_peer=1.3)}, peer=Peered("1b", 4, 32, 8)),
    Row(ONE_CORE, "1b-q4, prompt of 32", single("1b-q4", 32, 8, "--math", "int8"), figures=prefill_only,
        reach={"prefill": Reach(of_peer=1.3)}, peer=Peered("1b", 4, 32, 8)),
    Row(ONE_CORE, "1b-q8, prompt of 512", single("1b-q8", 512, 64), figures=speeds,
        reach={"decode": Reach(of_limit=0.85, of_peer=1.5)}, peer=Peered("1b", 8, 512, 64)),
    Row(ONE_CORE, "1b-q4, 8 streams", single("1b-q4", 32, 32, "--concurrency", "1,8"), figures=batch_gain,
        reach={"decode, 8 streams": Reach(of_limit=4)}),
    Row(ONE_CORE, "moe-q4, prompt of 128", single("moe-q4", 128, 32), figures=speeds,
        reach={"decode": Reach(of_limit=0.80)}),
    Row(ONE_CORE, "1b-q4, 8,000 tokens before", single("1b-q4", 32, 32, "--depth", "8192"), figures=decode_only,
        reach={"decode": Reach(of_limit=0.85)}),
    Row(TWO_CORES, "1b-q4, prompt of 512", single("1b-q4", 512, 64), cores=2, figures=speeds, quick=True,
        reach={"decode": Reach(of_limit=0.85, of_peer=1.25)}, peer=Peered("1b", 4, 512, 64)),
]


def median_figures(rounds):
    """The medians of several rounds of one row's figures."""
    for same in zip(*rounds):
        first = same[0]
        fractions = [figure.of_limit for figure in same if figure.of_limit is not None]
        yield Figure(first.what, statistics.median(figure.value for figure in same), first.unit,
                     statistics.median(fractions) if fractions else None, first.limit)
