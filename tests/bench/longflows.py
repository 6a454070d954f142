# SPDX-License-Identifier: GPL-3.0-or-later
"""What flows that live long cost peerflowd: a part of run, which see."""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import struct
import time

LIMIT = "/proc/sys/net/netfilter/nf_conntrack_max"
STALL_MOST = 50                 # ms
SWEEPS = 3
LIFE = 3600                     # seconds

CONFIGURATION = """[exporter]
live-socket = off
runtime-directory = {run}
state-directory = off
template-directory = {templates}
observation-domain-id = 1
[conntrack]
flows = all
ignore = none
active-timeout = 1
reap-share = 100
max-long-flows = {entries}
[collector bench]
host = {host}
port = {port}
"""


@dataclasses.dataclass
class Sample:
    entries: int
    octets: float               # of memory, a long flow
    resident_mib: float         # of the daemon
    sweep_ms: float             # of processor time, one sweep
    sweep_s: float              # from its begin to its end
    first_ms: float             # longest that the main loop was away from poll until the first sweep was over
    away_ms: list               # the same in each sweep after that
    away_cpu_ms: list           # and in processor time


def sizes(quick):
    return [10000] if quick else [100000, 1000000]


@contextlib.contextmanager
def room_for(entries):
    """The table's limit is one for all network namespaces."""
    with open(LIMIT) as file:
        before = int(file.read())
    raised = before and before < entries * 5 // 4
    if raised:
        with open(LIMIT, "w") as file:
            file.write(str(entries * 5 // 4))
    try:
        yield
    finally:
        if raised:
            with open(LIMIT, "w") as file:
                file.write(str(before))


class Busy:
    """The file that longest_busy.so writes to."""

    def __init__(self, bench):
        self.path = bench.write("busy", "\0" * 16)
        self.environment = {"LD_PRELOAD": bench.tool("bench/longest_busy.so"), "LONGEST_BUSY": self.path}

    def take(self):
        """ms by the clock and of processor time since this was asked last."""
        with open(self.path, "r+b") as file:
            found = struct.unpack("=QQ", file.read(16))
            file.seek(0)
            file.write(bytes(16))
        return [ns / 1e6 for ns in found]


def status(run):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as handle:
        handle.connect(os.path.join(run, "status"))
        with handle.makefile() as document:
            return json.load(document)


def resident(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def wait_sweeps(process, run, count, seconds):
    """Until so many sweeps are over."""
    limit = time.monotonic() + seconds
    while (now := status(run))["sweeps"]["count"] < count:
        process.check()
        if time.monotonic() > limit:
            raise TimeoutError(f"{now['sweeps']['count']} sweeps within {seconds} s")
        time.sleep(0.2)
    return now


def watch_sweeps(bench, process, run, busy):
    """[(ms by the clock, ms of processor time) of each sweep], while other flows end; and the status after that."""
    away = []
    for _ in range(SWEEPS):
        count = status(run)["sweeps"]["count"]
        bench.run_to_end("router", [bench.tool("bench/ctgen"), "--ipv6", "--count", "4000", "--rate", "2000", "--window",
                                    "200"])
        told = wait_sweeps(process, run, count + 1, 240)
        away.append(busy.take())
    return away, told


def sample(bench, start, wanted, templates, sink):
    """One table full of flows, which the first sweep finds there and the next ones look at."""
    run = os.path.join(bench.memory, "long")
    shutil.rmtree(run, ignore_errors=True)
    bench.run_to_end("router", [bench.tool("bench/ctgen"), "--count", str(wanted), "--keep", "--timeout", str(LIFE)])
    busy = Busy(bench)
    process = start(bench, CONFIGURATION.format(run=run, templates=templates, entries=wanted, host=sink[0],
                                                port=sink[1]), busy.environment)
    try:
        wait_sweeps(process, run, 1, 240)
        first, _ = busy.take()
        away, told = watch_sweeps(bench, process, run, busy)
        long, sweeps = told["long_flows"], told["sweeps"]
        if long["known"] < wanted:
            raise ValueError(f"{long['known']} long flows are known, not {wanted}")
        return Sample(sweeps["entries"], long["octets"] / long["known"], resident(process),
                      sweeps["processor_ns"] / 1e6, sweeps["duration_us"] / 1e6, first,
                      [wall for wall, _ in away], [work for _, work in away])
    finally:
        process.stop()
        bench.network.run("router", "conntrack", "-F")


def measure(bench, start, quick, templates, sink):
    """The samples, and what the flows stage alone costs."""
    samples = []
    for wanted in sizes(quick):
        bench.say(f"long flows: {wanted}")
        with room_for(wanted):
            samples.append(sample(bench, start, wanted, templates, sink))
    alone = [bench.run_to_end("router", [bench.tool("bench/longflows"), "--count", str(wanted)])
             for wanted in sizes(quick)]
    return samples, alone


def show(samples, alone):
    """Returns whether all is as it has to be."""
    print("\nlong flows: a table full of them, looked at in one sweep after the other while 2000 flows/s end")
    print(f"  {'':>9} {'octets':>7} {'RSS':>6} {'CPU ms':>8} {'ns a':>6} {'s a':>6} "
          f"{'longest stall of events, ms':>40}")
    print(f"  {'entries':>9} {'a flow':>7} {'MiB':>6} {'a sweep':>8} {'entry':>6} {'sweep':>6} "
          f"{'each sweep: least':>18} {'most':>6} {'CPU':>6} {'first':>7}")
    for one in samples:
        print(f"  {one.entries:>9} {one.octets:>7.0f} {one.resident_mib:>6.1f} {one.sweep_ms:>8.1f} "
              f"{one.sweep_ms * 1e6 / one.entries:>6.0f} {one.sweep_s:>6.1f} {min(one.away_ms):>18.2f} "
              f"{max(one.away_ms):>6.1f} {min(one.away_cpu_ms):>6.2f} {one.first_ms:>7.1f}")
    print("\nlong flows: what they cost without the kernel, ns of processor time each")
    print(f"  {'flows':>9} {'octets/flow':>12} {'first look':>11} {'look':>6} {'record':>7} {'end':>6} {'end of short':>13}")
    for one in alone:
        print(f"  {one['flows']:>9} {one['octets']:>12.0f} {one['first_ns']:>11.0f} {one['look_ns']:>6.0f} "
              f"{one['record_ns']:>7.0f} {one['long_end_ns']:>6.0f} {one['short_end_ns']:>13.0f}")
    # What peerflowd itself does, it does in each sweep; what the machine does to it, now and then.
    slow = [one for one in samples if min(one.away_cpu_ms) >= STALL_MOST]
    for one in slow:
        print(f"  FAILED: with {one.entries} entries the main loop worked {min(one.away_cpu_ms):.1f} ms in each sweep "
              f"without a look at events; {STALL_MOST} is the most")
    return not slow


def as_json(samples, alone):
    return {"sweeps": [dataclasses.asdict(one) for one in samples], "alone": alone}
