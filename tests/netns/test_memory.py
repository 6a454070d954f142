#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is there no allocation for a flow on its whole way through the real daemon, and does its memory stay as it is?

Every allocation of the daemon is counted (count_malloc.so). What 20 000 flows cost more than 200 must be no more than
timers and waking up may; with UDP, NetFlow v9, TCP and a viewer connected.

    sudo tests/netns/test_memory.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import mmap
import pathlib
import struct
import time
import sys

import lib
import stand
from stand import collector

FEW, MANY = 200, 20000
ALLOWED = 20            # of all of them, whatever else the daemon has to do meanwhile


class Counter:
    """What the preloaded library counts."""

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        self.environment = {"LD_PRELOAD": str(stand.PRELOAD / "count_malloc.so"), "COUNT_MALLOC": str(path),
                            "G_SLICE": "always-malloc"}
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 4096)

    def value(self):
        return struct.unpack_from("Q", self._memory)[0]


def settled(counter):
    """How many there are once the daemon has looked at its host, which it does some seconds after its start."""
    before, end = -1, time.monotonic() + 30
    while counter.value() != before and time.monotonic() < end:
        before = counter.value()
        time.sleep(4)
    return before


def allocations(checks, lab):
    if stand.SANITIZED:
        return checks.skip("allocations", "the sanitizers bring an allocator of their own")
    where = stand.Stand(lab, tracking=True)
    counter = Counter(lab.directory / "count")
    peers = lab.directory / "peers"
    peers.write_text("10.128.0.0/16 somebody\n198.18.0.0/24 somewhere\n", encoding="ascii")
    udp, v9, tcp = where.udp(), where.udp(), where.tcp()
    daemon = where.daemon(
        [collector("udp", udp, template_refresh="1h"), collector("tcp", tcp, template="full", template_refresh="1h"),
         collector("v9", v9, protocol="netflow9", template_refresh="1h", records="biflow")],
        exporter="enterprise-number = 64512", netbird=f"peers-file = {peers}\nstatus = off\nwireguard = off",
        environment=counter.environment, await_sinks=[udp, v9, tcp])
    viewer = stand.viewer(lab, where, daemon.live, "--format", "csv", "--count", str(3 * FEW + MANY))
    costs, total, start = [], 0, settled(counter)
    for count in (FEW, FEW, MANY, FEW):
        before = counter.value()
        total += where.generate(count, "--rate", "5000", "--snat")
        for name, sink in (("UDP", udp), ("NetFlow v9", v9), ("TCP", tcp)):
            checks.equal(f"{name}: flows", total, len(sink.wait_flows(total)))
        costs.append(counter.value() - before)
    checks.equal("viewer's exit status", 0, viewer.process.wait(10))
    print(f"# allocations: {start} at the start; {FEW} flows {costs[1]}, {MANY} flows {costs[2]}, "
          f"{FEW} flows {costs[3]}")
    checks.true("the counting works", start > 100, f"expected some hundred allocations at the start, got {start}")
    checks.true(f"allocations of {MANY} flows less those of {FEW}", costs[2] - costs[1] <= ALLOWED,
                f"expected at most {ALLOWED}, got {costs[2] - costs[1]}")
    made = counter.value()
    daemon.reload()
    checks.true("a reload does allocate", counter.value() - made > 20, f"got {counter.value() - made}")
    checks.equal("exit status", 0, daemon.stop())


def resident(checks, lab):
    """Memory does not grow with flows, with sessions, nor with reloads."""
    if stand.SANITIZED:
        return checks.skip("resident", "the sanitizers keep what was freed")
    where = stand.Stand(lab)
    udp, tcp = where.udp(), where.tcp()
    groups = [collector("udp", udp), collector("tcp", tcp, retry="1s")]
    daemon = where.daemon(groups, await_sinks=[udp, tcp])

    def work(rounds):
        for _ in range(rounds):
            where.generate(1000, "--rate", "20000")
            viewer = stand.viewer(lab, where, daemon.live, "--count", "1")
            where.generate(5)
            viewer.process.wait(10)
            assert daemon.reload(where.configuration([*groups, collector("other", ("192.0.2.9", 9))]))
            assert daemon.reload(where.configuration(groups))

    work(10)
    before = daemon.resident("VmRSS")
    files = len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
    work(40)
    lib.wait_until(lambda: udp.sequence() > 50 * 1005 - 50, 10, "the last flows")
    after = daemon.resident("VmRSS")
    print(f"# resident: {before} KiB after 10 rounds, {after} after 50")
    checks.true("memory after forty more rounds of flows, viewers and reloads", after - before < 512,
                f"expected less than 512 KiB more, got {after - before}")
    lib.wait_until(lambda: len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir())) <= files, 5,
                   "no more open files than before")
    checks.equal("sessions", (1, 1), (len(udp.sessions()), len(tcp.sessions())))
    checks.equal("exit status", 0, daemon.stop())


if __name__ == "__main__":
    sys.exit(stand.run((allocations, resident)))
