# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archive of a large mesh takes, and what questions to it cost, beside nfdump's over the same flows: a part of
run, which see."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

FILTER = "proto tcp and dst port 22"        # the same words to both
ROOM = 700                      # octets of disk a flow, plain, packed and nfdump's


@dataclasses.dataclass
class Asked:
    seconds: float
    cpu: float                  # of all threads
    resident_mib: float
    flows: int


@dataclasses.dataclass
class Figures:
    records: int
    plain: float                # octets a flow
    packed: float
    nfdump_octets: float
    count: Asked                # a filter over everything
    count_all: Asked            # all flows, no filter
    who: Asked                  # one address and port, at one time
    touched: dict               # what of the archive that question needs: files, blocks and how many were skipped
    nfdump: Asked


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(*command, good=(0,)):
    """Runs a program to its end; its figures, and what it printed."""
    before = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=output, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - before
        output.seek(0)
        errors.seek(0)
        if child.returncode not in good:
            raise RuntimeError(f"{' '.join(command)}: status {child.returncode}: {errors.read()[-300:]}")
        return Asked(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, 0), output.read()


@contextlib.contextmanager
def collector(directory, port):
    """nfcapd, which has written everything when this is left."""
    child = subprocess.Popen(["nfcapd", "-w", directory, "-p", str(port), "-b", "127.0.0.1", "-B", str(64 << 20), "-t",
                              "3600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 20
        while f":{port:04X}" not in open("/proc/net/udp").read():
            if time.monotonic() > limit or child.poll() is not None:
                raise RuntimeError("nfcapd does not listen")
            time.sleep(0.05)
        yield
        limit = time.monotonic() + 60
        while waiting(port) and time.monotonic() < limit:
            time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def waiting(port):
    rows = (line.split() for line in open("/proc/net/udp").readlines()[1:])
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(f":{port:04X}"))


def octets_in(directory):
    return sum(os.path.getsize(os.path.join(directory, name)) for name in os.listdir(directory))


def measure(build, records):
    """None and why, if it cannot be measured here."""
    if not shutil.which("nfcapd") or not shutil.which("nfdump"):
        return None, "nfdump is not installed"
    place = "/var/tmp"
    if shutil.disk_usage(place).free < records * ROOM:
        return None, f"{place} has no room for {records} flows"
    tool, peerflow = os.path.join(build, "tests", "bench", "archive"), os.path.join(build, "peerflow")
    with tempfile.TemporaryDirectory(prefix="pfbench", dir=place) as work:
        archive, dumps = os.path.join(work, "archive"), os.path.join(work, "nfdump")
        os.mkdir(dumps)
        port = free_port()
        with collector(dumps, port):
            _, text = ask(tool, "--directory", archive, "--records", str(records), "--collector", str(port))
        made = json.loads(text.splitlines()[-1])
        where = ["--archive", archive]

        count, text = ask(peerflow, "flows", *where, "--count", FILTER)
        count.flows = int(text.split()[0])
        count_all, text = ask(peerflow, "flows", *where, "--count")
        count_all.flows = int(text.split()[0])
        who, text = ask(peerflow, "who", *where, "--format", "json", "--at", str(made["at"]),
                        f"{made['address']}:{made['port']}")
        _, touched = ask(tool, "--directory", archive, "--scan", "--address", made["host"], "--at", str(made["at"]))
        nfdump, text = ask("nfdump", "-q", "-R", dumps, "-o", "fmt:%ts", FILTER)
        nfdump.flows = len(text.split("\n")) - 1
        return Figures(records, made["plain"] / records, made["packed"] / records, octets_in(dumps) / records, count,
                       count_all, who, json.loads(touched), nfdump), None


def line(name, asked, records):
    return (f"  {name:34} {asked.seconds:8.3f} {asked.cpu:8.3f} {records / asked.cpu / 1e6:10.2f} "
            f"{records / asked.seconds / 1e6:10.2f} {asked.resident_mib:8.1f} {asked.flows:12}")


def show(figures):
    """False: the archive and nfdump do not agree, or flows are missing."""
    f = figures
    print(f"archive: {f.records} flows of a mesh with 2000 peers")
    print(f"  octets a flow: {f.plain:.1f} plain, {f.packed:.1f} compressed; nfdump's files {f.nfdump_octets:.1f}")
    print(f"  {'':34} {'seconds':>8} {'CPU s':>8} {'M/s a CPU':>10} {'M/s':>10} {'RSS MiB':>8} {'flows':>12}")
    print(line("peerflow flows --count", f.count_all, f.records))
    print(line(f"... '{FILTER}'", f.count, f.records))
    print(line(f"nfdump '{FILTER}'", f.nfdump, f.records))
    print(f"  to nfdump: {f.count.cpu / f.nfdump.cpu:.2f} of its CPU, "
          f"{f.count.seconds / f.nfdump.seconds:.2f} of its time")
    t = f.touched
    print(f"  peerflow who --at: {f.who.seconds:.3f} s, {f.who.resident_mib:.1f} MiB; read: {t['files']} of "
          f"{t['files'] + t['files_skipped']} files, {t['blocks']} of {t['blocks'] + t['blocks_skipped']} blocks")
    good = f.count_all.flows == f.records and f.count.flows == f.nfdump.flows
    if not good:
        print("  WRONG: not all flows are there, or nfdump found others")
    return good


def as_json(figures):
    return dataclasses.asdict(figures)
