#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a collector of full.template told whom each prefix stands for: all of it, no faster than it should be, again when
it changes, and nobody else?

    sudo tests/netns/test_table.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import collections
import json
import sys
import time

import lib
import stand
from stand import collector

ROWS_A_SECOND = 256
NETBIRD = "peers-file = {}\nstatus = off\nwireguard = off"


def peer(number):
    return f"10.{128 + number // 65536}.{number // 256 % 256}.{number % 256}"


def write_peers(path, count, changed=None):
    """That many peers and a site behind the first of them."""
    names = ["renamed" if n == changed else f"peer-{n}" for n in range(count)]
    lines = [f"{peer(n)} {names[n]} id=id-{n} user=u{n}@example.org groups=all,g{n % 7}" for n in range(count)]
    path.write_text("\n".join([*lines, "10.99.0.0/16 site"]) + "\n", encoding="ascii")


def table_of(sink):
    """[(second of export, prefix, length, name)] of the rows so far."""
    return [(r["exported"], r["sourceIPv4Prefix"], r["sourceIPv4PrefixLength"], r["virtualStationName"])
            for r in list(sink.records()) if r["options"] and "sourceIPv4Prefix" in r]


def whole(checks, lab):
    """Every row, with all its words, paced; once over TCP until it changes; and the words in peerflow live."""
    where, count = stand.Stand(lab, tracking=True), 1000
    peers = lab.directory / "peers"
    write_peers(peers, count)
    tcp, udp, plain = where.tcp(), where.udp(), where.udp()
    groups = [collector("tcp", tcp, template="full", template_refresh="1s"),
              collector("udp", udp, template="full", template_refresh="2s"), collector("plain", plain)]
    options = {"exporter": "enterprise-number = 64512", "netbird": NETBIRD.format(peers)}
    daemon = where.daemon(groups, **options, await_sinks=[tcp, udp, plain])
    viewer = stand.viewer(lab, where, daemon.live, "--format", "json", "--count", "1")
    wanted = {(peer(n), 32, f"peer-{n}") for n in range(count)} | {("10.99.0.0", 16, "-")}
    for sink in (tcp, udp):
        lib.wait_until(lambda s=sink: len(table_of(s)) > count, 30, "all rows")
    time.sleep(2.5)
    checks.equal("TCP: rows, each once", collections.Counter(wanted), collections.Counter(r[1:] for r in table_of(tcp)))
    checks.equal("UDP: rows, time and again", (wanted, True), (
        {r[1:] for r in table_of(udp)}, len(table_of(udp)) > len(wanted)))
    for name, sink in (("TCP", tcp), ("UDP", udp)):
        most = max(collections.Counter(r[0] for r in table_of(sink)).values())
        # Two ticks of a second each may fall into one second of the clock.
        checks.true(f"{name}: at most {most} rows in a second", most <= 2 * ROWS_A_SECOND, f"limit {ROWS_A_SECOND}")
    row = next(r for r in tcp.records() if r.get("sourceIPv4Prefix") == peer(9))
    checks.equal("all words of a row", ("peer-9", "id-9", "u9@example.org", "all, g2", "-", "-", "-", "-"), tuple(
        row[word] for word in ("virtualStationName", "virtualStationUUID", "peerUserName", "groupNames", "viaPeerName",
                               "resourceName", "networkName", "domainName")))
    where.generate(1, "--snat")
    flow = json.loads(viewer.text().splitlines()[0]) if viewer.process.wait(10) == 0 else {}
    who = int(flow.get("initiator", "peer-0")[len("peer-"):])
    checks.equal("peerflow live", (peer(who), f"id-{who}", f"u{who}@example.org", f"all, g{who % 7}"), tuple(
        flow.get(key) for key in ("source_address", "initiator_id", "initiator_user", "initiator_groups")))
    before = len(table_of(tcp))
    write_peers(peers, count, changed=5)
    daemon.reload()
    lib.wait_until(lambda: len(table_of(tcp)) >= before + len(wanted), 30, "the rows once more")
    checks.equal("after a change", (peer(5), 32, "renamed"), next(
        r[1:] for r in table_of(tcp)[before:] if r[1] == peer(5)))
    checks.equal("a collector of other templates", [], table_of(plain))
    for name, sink in (("TCP", tcp), ("UDP", udp), ("plain", plain)):
        stand.valid(checks, name, sink)
    checks.equal("exit status", 0, daemon.stop())


def large(checks, lab):
    """100 000 peers: the table takes its time, and flows do not wait for it."""
    where, flows = stand.Stand(lab, tracking=True), 20000
    peers = lab.directory / "peers"
    write_peers(peers, 100000)
    udp = where.udp()
    daemon = where.daemon([collector("udp", udp, template="full", template_refresh="2s")],
                          exporter="enterprise-number = 64512", netbird=NETBIRD.format(peers), await_sinks=[udp])
    lib.wait_until(lambda: table_of(udp), 30, "the first row")
    before = daemon.cpu()
    time.sleep(4)
    idle = daemon.cpu() - before
    made = where.generate(flows, "--rate", "5000")
    udp.wait_flows(made, 30)
    rows = table_of(udp)
    seconds = max(r[0] for r in rows) - min(r[0] for r in rows) + 1
    print(f"# large: {len(rows)} rows in {seconds} s; {idle / 4 * 1000:.2f} ms of a second for them and all else")
    checks.true("rows in a second", len(rows) <= ROWS_A_SECOND * (seconds + 1), f"{len(rows)} in {seconds} s")
    checks.equal("no row twice before all were there", len(rows), len({r[1:3] for r in rows}))
    stand.each_once(checks, "flows beside the table", udp.flows(), made)
    stand.valid(checks, "large", udp)
    checks.equal("exit status", 0, daemon.stop())


if __name__ == "__main__":
    sys.exit(stand.run((whole, large)))
