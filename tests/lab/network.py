"""Hosts on one machine: network namespaces with veth cables into bridges. Needs root and iproute2. Touches nothing outside its
own namespaces, and removes them at the end."""

import ctypes
import os
import re
import socket
import subprocess
import threading

LIBC = ctypes.CDLL("libc.so.6", use_errno=True)
CLONE_NEWNET = 0x40000000
LEAST_BURST_BYTES = 16 << 10  # of a shaper
TIMER_LATENESS_S = 1e-3
FRAME_BYTES = 1600
SLOW_BITS_PER_S = 200e6  # frames of slower cables follow each other so slowly that timers can pace them
PEAK = 1.15              # of a rate: what a timer's lateness takes from the pace of single frames


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def available():
    """Why labs cannot run here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        name = f"cohort-try-{os.getpid()}"
        run("ip", "netns", "add", name)
        try:
            run("ip", "-n", name, "link", "set", "lo", "up")
        finally:
            run("ip", "netns", "del", name)
    except (RuntimeError, FileNotFoundError) as error:
        return f"no network namespaces here: {error}"
    return None


class Namespace:
    """One network stack."""

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def close(self):
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        for pid in pids:
            subprocess.run(["kill", "-KILL", pid], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.name, *arguments]

    def received_bytes(self):
        return int(run(*self.command("cat", "/sys/class/net/eth0/statistics/rx_bytes")))

    def connect(self, port, timeout_s):
        """A socket of this namespace, connected to its loopback."""
        made = []

        def enter_and_connect():
            try:
                with open(f"/var/run/netns/{self.name}") as namespace:
                    if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.create_connection(("127.0.0.1", port), timeout=timeout_s))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=enter_and_connect)  # only this thread changes its namespace
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]


def bits_per_second(rate):
    number, unit = re.fullmatch(r"([0-9.]+)([mg])bit", rate).groups()
    return float(number) * {"m": 1e6, "g": 1e9}[unit]


class Network:
    """`count` hosts, numbered from 0, on one switch: 10.88.0.(i+1)/24 and fd88::(i+1)/64."""

    def __init__(self, count, rate=None):
        tag = f"cl{os.getpid() % 100000}"
        self.switch = Namespace(f"{tag}-sw")
        self.hosts = []
        self.rate = rate
        self.add_bridge("br0")
        self.add_bridge("br1")  # the other side of a partition
        for index in range(count):
            self.add_host(index, f"{tag}-h{index}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for namespace in [*self.hosts, self.switch]:
            namespace.close()

    def add_bridge(self, name):
        run("ip", "-n", self.switch.name, "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0",
            "mcast_snooping", "0")
        run("ip", "-n", self.switch.name, "link", "set", name, "up")

    def add_host(self, index, name):
        host = Namespace(name)
        self.hosts.append(host)
        port = f"p{index}"
        run("ip", "-n", self.switch.name, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "-n", self.switch.name, "link", "set", port, "master", "br0", "up")
        # A veth's packets queue for the core that sends them. Where two cores send for a connection they overtake each other,
        # as on no cable, and TCP would take them for lost.
        run("ip", "netns", "exec", name, "sh", "-c",
            "cd /proc/sys/net/ipv4 && echo 300 > tcp_reordering && echo 0 > tcp_recovery")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "addr", "add", f"10.88.0.{index + 1}/24", "brd", "+", "dev", "eth0")
        run("ip", "-n", name, "addr", "add", f"fd88::{index + 1}/64", "dev", "eth0", "nodad")
        run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")
        if self.rate:
            self.shape(index, self.rate)

    def shape(self, index, rate):
        """The rate of a host's cable, both ways ("100mbit"). What a cable could have carried while nobody sent is lost, but
        this shaper saves it up: as little as its timer's lateness allows, and a slow one lets it go frame by frame. At a
        gigabit and more, messages of up to `burst` pass at once after a pause."""
        bits_per_s = bits_per_second(rate)
        burst = max(LEAST_BURST_BYTES, int(bits_per_s / 8 * TIMER_LATENESS_S))
        pace = ("peakrate", f"{bits_per_s * PEAK:.0f}bit", "mtu", str(FRAME_BYTES)) if bits_per_s < SLOW_BITS_PER_S else ()
        for namespace, device in ((self.switch.name, f"p{index}"), (self.hosts[index].name, "eth0")):
            run("ip", "netns", "exec", namespace, "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate,
                "burst", str(burst), "latency", "50ms", *pace)

    def cut(self, index):
        """Nothing gets through any more, and nobody is told: the cable was pulled at the far side of a switch."""
        run("ip", "-n", self.switch.name, "link", "set", f"p{index}", "nomaster")

    def join(self, index, bridge="br0"):
        run("ip", "-n", self.switch.name, "link", "set", f"p{index}", "master", bridge)
