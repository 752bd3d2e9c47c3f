#!/usr/bin/env python3
"""A throw-away machine with a software RDMA device (RoCE v2, the kernel's rdma_rxe), or two with a cable between them: QEMU
in plain emulation, so the host needs no RDMA, no module and no KVM. The guest's kernel is Debian's, unpacked into a
cache and never installed; its root is the host's own file system, read-only, so programs and their libraries are the host's.

    guest.py [--two] [--memory MB] [--timeout S] SCRIPT [WORD...]    runs SCRIPT (bash) with $HOST $SELF $PEER $IF $DEV set
"""

import argparse
import fcntl
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "cohort" / "rdma-guest"
MODULES = "crc32_generic virtio_pci 9pnet_virtio 9p virtio_net dummy sch_netem ib_uverbs rdma_rxe".split()
FOLDERS = ("drivers/infiniband/core drivers/infiniband/sw drivers/net/virtio_net* drivers/net/net_failover* drivers/net/dummy* "
           "drivers/virtio net/core net/9p net/ipv4/udp_tunnel* net/ipv6/ip6_udp_tunnel* net/sched/sch_netem* fs/9p fs/netfs "
           "fs/fscache fs/configfs crypto lib arch/x86/crypto").split()

INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys
for module in $(cat /modules/order); do insmod /modules/$module || echo "guest: no $module"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /host
mount -t proc proc /host/proc; mount -t sysfs sys /host/sys; mount -t devtmpfs dev /host/dev
for folder in /tmp /run /dev/shm; do mkdir -p /host$folder; mount -t tmpfs tmp /host$folder; done
cp /begin /script /host/run
HOST=$(sed 's/.*guest=\([01]\).*/\1/' /proc/cmdline) chroot /host /bin/bash /run/begin
status=$?
printf '\nguest: status %d\n' $status
poweroff -f
"""

BEGIN = """export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C DEV=rxe0 TWO={two}
ip link set lo up
if [ $TWO = 1 ]; then IF=eth0; else IF=dummy0; fi
until ip link show $IF >/dev/null 2>&1; do sleep 0.1; done
SELF=10.77.0.$((HOST + 1)); PEER=10.77.0.$((2 - HOST)); [ $TWO = 1 ] || PEER=$SELF
ip address add $SELF/24 dev $IF; ip link set $IF mtu 4200; ip link set $IF up
until rdma link add $DEV type rxe netdev $IF; do sleep 0.2; done
until rdma link show $DEV/1 | grep -q ACTIVE; do sleep 0.1; done
add_device_files() {{   # udev's work on a machine that has it
  mkdir -p /dev/infiniband
  for d in /sys/class/infiniband_verbs/uverbs*; do
    [ -e /dev/infiniband/${{d##*/}} ] || mknod -m 666 /dev/infiniband/${{d##*/}} c $(tr : ' ' <$d/dev)
  done
}}
add_device_files
export -f add_device_files
export IF SELF PEER HOST
cd {folder}
exec bash /run/script {words}
"""


def run(*words, **options):
    return subprocess.run([str(w) for w in words], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def kernel_package():
    """The name of Debian's current kernel; None without apt's lists."""
    listed = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], text=True, capture_output=True).stdout
    found = re.search(r"Depends: (linux-image-[0-9]\S*)", listed)
    return found and found[1]


def unpack_kernel(package, home):
    with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
        run("apt-get", "download", package, cwd=fresh, stderr=subprocess.DEVNULL)
        archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", next(pathlib.Path(fresh).glob("*.deb"))],
                                   stdout=subprocess.PIPE)
        wanted = ["./boot/vmlinuz*", "./lib/modules/*/modules.*"] + [f"./lib/modules/*/kernel/{f}*" for f in FOLDERS]
        tree = pathlib.Path(fresh) / "tree"
        tree.mkdir()
        run("tar", "-x", "-C", tree, "--wildcards", *wanted, stdin=archive.stdout)
        version = next((tree / "lib/modules").iterdir()).name
        subprocess.run(["depmod", "-b", tree, version], check=True, stderr=subprocess.DEVNULL)
        (tree / "ready").write_text(version)
        shutil.rmtree(home, ignore_errors=True)
        tree.rename(home)


def kernel():
    """The folder of the unpacked kernel and its version; guests that start together unpack it once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        package = kernel_package()
        if package is None:
            run("apt-get", "update", "-qq")
            package = kernel_package()
        if package is None:
            raise SystemExit("guest: apt knows no linux-image-amd64; this test needs Debian's kernel")
        home = CACHE / package
        if not (home / "ready").exists():
            unpack_kernel(package, home)
    return home, (home / "ready").read_text()


def modules(home, version):
    """Files to load, each after what it needs."""
    order = []
    for name in MODULES:
        for line in run("modprobe", "-d", home, "-S", version, "--show-depends", name).splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in order:
                order.append(words[1])
    return [pathlib.Path(path) for path in order]


class Archive:
    """An initial RAM disk: cpio, the "newc" format."""

    def __init__(self):
        self.bytes = bytearray()
        self.count = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.count += 1
        fields = (self.count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        self.bytes += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        self.bytes += b"\0" * (-len(self.bytes) % 4) + content
        self.bytes += b"\0" * (-len(self.bytes) % 4)

    def folder(self, name):
        self.add(name, 0o40755)

    def file(self, name, content, mode=0o644):
        self.add(name, 0o100000 | mode, content)

    def end(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.bytes)


def initial_disk(begin, script):
    home, version = kernel()
    disk = Archive()
    for folder in "bin proc sys dev host modules".split():
        disk.folder(folder)
    disk.add("dev/console", 0o20600, device=(5, 1))
    disk.file("bin/busybox", pathlib.Path(shutil.which("busybox")).read_bytes(), 0o755)
    disk.file("init", INIT.encode(), 0o755)
    disk.file("begin", begin.encode())
    disk.file("script", script)
    paths = modules(home, version)
    for path in paths:
        disk.file(f"modules/{path.name}", path.read_bytes())
    disk.file("modules/order", "\n".join(p.name for p in paths).encode())
    return disk.end()


def command(host, disk, options, cable):
    home, _ = kernel()
    words = ["nice", "-n", "5", "timeout", str(options.timeout), "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max",
             "-m", str(options.memory), "-M", "q35,usb=off,smbus=off", "-nodefaults", "-no-user-config", "-display", "none",
             "-no-reboot", "-serial", "stdio", "-kernel", str(next((home / "boot").glob("vmlinuz*"))), "-initrd", disk,
             "-append", f"console=ttyS0 quiet no_timer_check panic=-1 mitigations=off nokaslr random.trust_cpu=on clocksource=acpi_pm guest={host}",
             "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    if options.two:
        words += ["-netdev", f"stream,id=n,server={'on' if host == 0 else 'off'},addr.type=unix,addr.path={cable}",
                  "-device", f"virtio-net-pci,netdev=n,mac=52:54:00:77:00:0{host + 1},romfile="]
    return words


def wait_for(path, process):
    while not path.exists():
        if process.poll() is not None:
            raise SystemExit("guest: the first machine does not start")
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--two", action="store_true")
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--timeout", type=int, default=1200)
    parser.add_argument("script")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    begin = BEGIN.format(two=int(options.two), folder=os.getcwd(), words=shlex.join(options.words))
    with tempfile.TemporaryDirectory(prefix="cohort-guest-") as scratch:
        disk, cable = pathlib.Path(scratch) / "disk", pathlib.Path(scratch) / "cable"
        disk.write_bytes(initial_disk(begin, pathlib.Path(options.script).read_bytes()))
        machines, consoles = [], []
        for host in range(2 if options.two else 1):
            consoles.append(open(pathlib.Path(scratch) / f"console{host}", "w+", errors="replace"))
            machines.append(subprocess.Popen(command(host, str(disk), options, cable), stdin=subprocess.DEVNULL,
                                             stdout=consoles[-1], stderr=subprocess.STDOUT))
            if options.two and host == 0:
                wait_for(cable, machines[0])
        failed = False
        for host, (machine, console) in enumerate(zip(machines, consoles)):
            machine.wait()
            console.seek(0)
            text = console.read().replace("\r", "")
            for line in text.splitlines():
                print(f"[{host}] {line}" if options.two else line)
            failed |= "guest: status 0" not in text and "guest: killed as wanted" not in text
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
