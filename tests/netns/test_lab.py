#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the lab produce what real routers of a mesh have in their connection tracking? Without the daemon: the kernel's
own events against the tuples the ends saw, NetBird's marks, and the numbers that the senders know."""

import re
import sys

import lib
import mesh

PAIR = re.compile(r"src=(\S+) dst=(\S+)(?: sport=(\d+) dport=(\d+))?(?: srckey=0x0 dstkey=0x0)?"
                  r"(?: type=(\d+) code=(\d+) id=\d+)? packets=(\d+) bytes=(\d+)")


def parse(line):
    """One DESTROY line: (original, reply, packets, octets, mark)."""
    pairs = PAIR.findall(line)
    tuples = [mesh.Tuple(p[0], p[1], int(p[2] or 0), int(p[3] or 0)) for p in pairs]
    mark = re.search(r"mark=(\d+)", line)
    return (*tuples, tuple(int(p[6]) for p in pairs), tuple(int(p[7]) for p in pairs), int(mark[1]) if mark else 0)


def check(checks, flow, ended):
    name = f"{flow.case} at router {flow.router}"
    found = [e for e in ended[flow.router] if e[0] == flow.seen.original]
    if not checks.equal(f"{name}: one entry", 1, len(found)):
        return
    original, reply, packets, octets, mark = found[0]
    checks.equal(f"{name}: reply tuple", flow.seen.reply, reply)
    checks.equal(f"{name}: mark", flow.mark, mark)
    if flow.table:
        checks.equal(f"{name}: tuples of the table", flow.table, (original, reply))
    if flow.seen.packets:
        checks.equal(f"{name}: packets and octets", (flow.seen.packets, flow.seen.octets), (packets, octets))


def main():
    checks = lib.Checks()
    with lib.Lab() as lab:
        net = mesh.Mesh(lab)
        events = {}
        for key, router in net.routers.items():
            events[key] = lab.start(router, "conntrack", "-E", "-e", "DESTROY", "-o", "id,extended", "-b", "8388608")
        flows = list(mesh.traffic(net))
        net.await_end()
        ended = {}
        for key, program in events.items():
            program.stop()
            ended[key] = [parse(line) for line in program.text().splitlines() if "[DESTROY]" in line]
        # ICMP flows differ in their id only; the order of events is the order of timeouts.
        for flow in flows:
            check(checks, flow, {key: unique(values, flow) for key, values in ended.items()})
    return checks.end()


def unique(entries, flow):
    """The entries without those of other flows between the same addresses: ICMP and protocols without ports."""
    if flow.seen.packets and not flow.seen.original.source_port:
        return [e for e in entries if e[2:4] == (flow.seen.packets, flow.seen.octets)
                and e[1] == flow.seen.reply] or entries
    return entries


if __name__ == "__main__":
    sys.exit(main())
