#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does peerflowd take a new configuration while it runs, and keep the old one if the new one is no good?

    sudo tests/netns/test_reload.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import re
import shutil
import struct
import sys

import lib
import stand
from stand import collector


def collectors(checks, lab):
    """One is added, one removed, one changed, two stay as they are."""
    where = stand.Stand(lab)
    same, same_tcp, gone, changed, new = where.udp(), where.tcp(), where.tcp(), where.udp(), where.udp()
    stay = [collector("same", same), collector("same-tcp", same_tcp)]
    daemon = where.daemon([*stay, collector("gone", gone), collector("changed", changed)],
                          await_sinks=[same, same_tcp, gone, changed])
    first = where.generate(500)
    for sink in (same, same_tcp, gone, changed):
        sink.wait_flows(first)
    checks.true("reload is accepted", daemon.reload(where.configuration(
        [collector("new", new), collector("changed", changed, protocol="netflow9"), *stay])), daemon.text())
    lib.wait_until(lambda: new.messages and len(changed.sessions()) == 2, 10, "new sessions")
    second = where.generate(700)
    for name, sink, expected in (("same", same, first + second), ("same-tcp", same_tcp, first + second),
                                 ("new", new, second), ("changed", changed, first + second), ("gone", gone, first)):
        checks.equal(f"{name}: flows", expected, len(sink.wait_flows(expected)))
    checks.equal("kept: sessions of UDP and TCP", (1, 1), (len(same.sessions()), len(same_tcp.sessions())))
    checks.equal("kept: no TCP session ended", [], same_tcp.ends)
    checks.equal("removed: end of its TCP session", ["FIN"], gone.ends)
    checks.equal("changed: its two sessions", 2, len(changed.sessions()))
    checks.equal("changed: protocol of each session", [10, 9], [
        struct.unpack_from("!H", next(m[3] for m in changed.messages if m[0] == s))[0] for s in changed.sessions()])
    checks.equal("told the service manager", ["READY=1", "RELOADING=1", "READY=1"],
                 [s for s in daemon.read_states() if not s.startswith("MONOTONIC")])
    checks.equal("complaints", [], daemon.lines("lost") + daemon.lines("stays as it was"))
    checks.equal("exit status", 0, daemon.stop())
    for name, sink in (("same", same), ("same-tcp", same_tcp), ("new", new), ("changed", changed), ("gone", gone)):
        stand.valid(checks, name, sink)


def refused(checks, lab):
    """Whatever is wrong: one warning, and everything as before."""
    where = stand.Stand(lab)
    templates, peers = lab.directory / "templates", lab.directory / "peers"
    shutil.copytree(lib.TEMPLATES, templates)
    peers.write_text("10.128.0.0/16 before\n", encoding="utf-8")
    udp, tcp, other = where.udp(), where.tcp(), where.udp()
    groups = [collector("udp", udp), collector("tcp", tcp)]

    def configuration(more=(), **sections):
        return where.configuration([*groups, *more], exporter="enterprise-number = 64512", **{
            "netbird": f"peers-file = {peers}", "conntrack": "protocols = udp", **sections}).replace(
                f"template-directory = {lib.TEMPLATES}", f"template-directory = {templates}")

    daemon = where.daemon(groups, exporter="enterprise-number = 64512", await_sinks=[udp, tcp])
    checks.true("a good file", daemon.reload(configuration()), daemon.text())
    good = (templates / "default.template").read_text(encoding="utf-8")
    total = 0
    trials = (
        ("a mistake", lambda: configuration() + "nonsense\n"),
        ("a mistake after good groups", lambda: configuration([collector("new", other)]) + "[collector udp]\n"),
        ("an empty group", lambda: configuration() + "[collector x]\n"),
        ("labels", lambda: configuration(conntrack="labels = yes\nprotocols = tcp")),
        ("too much for the filter", lambda: configuration(conntrack="protocols = " + ",".join(
            str(n) for n in range(100, 140)))),
        ("a bad peers-file", lambda: (peers.write_text("10.128.0.0/33 after\n", encoding="utf-8"),
                                      configuration([collector("new", other)]))[1]),
        ("no peers-file", lambda: configuration(netbird="peers-file = /nowhere/peers")),
        ("a bad template", lambda: ((templates / "default.template").write_text(good + "nonsense\n", encoding="utf-8"),
                                    configuration([collector("new", other)]))[1]),
        ("a template of the other protocol", lambda: configuration([collector("new", other, template="nfdump")])),
        ("no such template", lambda: configuration([collector("new", other, template="none")])),
    )
    for what, write in trials:
        def said():
            """What the log has about the configuration; sources of names and the mesh speak up when they like."""
            return [line for line in daemon.lines() if not re.search("names from|mesh", line)]

        warnings = len(daemon.lines("configuration stays as it was"))
        before = len(said())
        checks.true(f"{what}: refused", not daemon.reload(write()),
                    f"expected a warning, got {said()[before:]}")
        checks.equal(f"{what}: one line in the log", (warnings + 1, before + 1),
                     (len(daemon.lines("configuration stays as it was")), len(said())))
        where.generate(10, "--tcp")
        total += where.generate(40)
        stand.each_once(checks, f"{what}: flows go on, UDP", udp.wait_flows(total), total)
        stand.each_once(checks, f"{what}: flows go on, TCP", tcp.wait_flows(total), total)
        (templates / "default.template").write_text(good, encoding="utf-8")
        peers.write_text("10.128.0.0/16 before\n", encoding="utf-8")
    daemon.path.unlink()
    checks.true("no file: refused", not daemon.reload(), daemon.text())
    checks.equal("nothing went to the new collector", 0, len(other.messages))
    checks.equal("names stay", {"before"}, {r.get("userName") for r in udp.flows()})
    checks.equal("filter stays: protocols", {17}, {r["protocolIdentifier"] for r in udp.flows()})
    checks.equal("sessions", (1, 1), (len(udp.sessions()), len(tcp.sessions())))
    checks.true("a good file again", daemon.reload(configuration([collector("new", other)])), daemon.text())
    lib.wait_until(lambda: other.messages, 10, "templates at the new collector")
    more = where.generate(10)
    stand.each_once(checks, "a good file again: flows at the new collector", other.wait_flows(more), more)
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "UDP", udp)
    stand.valid(checks, "TCP", tcp)


def names(checks, lab):
    """The peers file is read again with the configuration, and so is a changed template."""
    where = stand.Stand(lab)
    templates, peers = lab.directory / "templates", lab.directory / "peers"
    shutil.copytree(lib.TEMPLATES, templates)
    sink, other = where.udp(), where.udp()
    mine = templates / "mine.template"
    mine.write_text("protocol ipfix\n" + "".join(
        f"template {n} {kind}\n" for n, kind in enumerate((f"{v}{i}{t}" for v in ("ipv4", "ipv6") for i in ("", " icmp")
                                                          for t in ("", " nat")), 700)) + "sourceIPv4Address\n"
                    "sourceIPv6Address\nprotocolIdentifier\nuserName\n", encoding="utf-8")

    def configuration(name):
        peers.write_text(f"10.128.0.0/16 {name}\n", encoding="utf-8")
        return where.configuration([collector("one", sink), collector("two", other, template=str(mine))],
                                   netbird=f"peers-file = {peers}")

    daemon = where.daemon([], netbird="")
    for round_, name in enumerate(("first", "zweiter-ä", "third"), 1):
        checks.true(f"{name}: reload", daemon.reload(configuration(name)), daemon.text())
        if round_ == 1:
            lib.wait_until(lambda: sink.messages and other.messages, 10, "templates")
        where.generate(10)
        records = sink.wait_flows(10 * round_)[10 * (round_ - 1):]
        checks.equal(f"{name}: names of the new flows", [name] * 10, [r["userName"] for r in records])
        other.wait_flows(10 * round_)
    checks.equal("same session", 1, len(sink.sessions()))
    checks.equal("same session with a template of one's own", 1, len(other.sessions()))
    mine.write_text(mine.read_text(encoding="utf-8").replace("template 7", "template 8").replace(
        "protocolIdentifier", "octetDeltaCount"), encoding="utf-8")
    checks.true("changed template: reload", daemon.reload(), daemon.text())
    lib.wait_until(lambda: len(other.sessions()) == 2, 10, "a session with the changed template")
    where.generate(10)
    records = other.wait_flows(40)[30:]
    checks.equal("changed template: what new flows have", {("octetDeltaCount" in r, "protocolIdentifier" in r)
                                                           for r in records}, {(True, False)})
    checks.equal("changed template: the other session stays", 1, len(sink.sessions()))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "unchanged template", sink)
    stand.valid(checks, "changed template", other)


def domain(checks, lab):
    """Another Observation Domain means new sessions; another live socket moves; receive-buffer is taken."""
    where = stand.Stand(lab)
    sink = where.udp()
    daemon = where.daemon([collector("one", sink)], await_sinks=[sink])
    first = where.generate(10)
    sink.wait_flows(first)
    other = lab.directory / "live-elsewhere"
    text = where.configuration([collector("one", sink)], conntrack="receive-buffer = 1M").replace(
        "observation-domain-id = 77", "observation-domain-id = 198.51.100.7").replace("@LIVE@", str(other))
    checks.true("reload", daemon.reload(text), daemon.text())
    lib.wait_until(lambda: len(sink.sessions()) == 2, 10, "a new session")
    checks.equal("live socket: old, new", (False, True), (daemon.live.exists(), other.exists()))
    second = where.generate(10)
    checks.equal("domains of the flows", {77: first, 0xc6336407: second}, {
        d: sum(r["domain"] == d for r in sink.wait_flows(first + second)) for d in (77, 0xc6336407)})
    viewer = stand.viewer(lab, where, other, "--format", "csv", "--count", "5")
    checks.true("reload with a viewer", daemon.reload(text.replace("1M", "2M")), daemon.text())
    where.generate(5)
    checks.equal("a viewer notices nothing of a reload", 0, viewer.process.wait(10))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "one", sink)


def under_load(checks, lab):
    """Twenty reloads while flows end: an unchanged collector gets each of them once, and filters hold at once."""
    where = stand.Stand(lab)
    same, same_tcp, new = where.udp(), where.tcp(), where.udp()
    stay = [collector("same", same), collector("same-tcp", same_tcp)]
    variants = [where.configuration([*stay, *more], conntrack=conntrack) for more in ([], [collector("new", new)])
                for conntrack in ("", "ignore = 10.200.0.0/16, fd00:1::/32", "protocols = udp, tcp, 99",
                                  "marks = 0, 0x77", "receive-buffer = 32M")]
    daemon = where.daemon(stay, await_sinks=[same, same_tcp])
    load = lab.start(where.router, stand.CTGEN, "--count", "60000", "--window", "500", "--rate", "8000")
    good = [daemon.reload(variants[n % len(variants)]) for n in range(20)]
    during = load.process.poll() is None
    load.process.wait(30)
    checks.equal("twenty reloads under load: all taken", [True] * 20, good)
    checks.true("twenty reloads under load: it lasted", during, "expected the load to outlast the reloads")
    for name, sink in (("UDP", same), ("TCP", same_tcp)):
        stand.each_once(checks, f"twenty reloads under load, {name}", sink.wait_flows(60000), 60000)
        checks.equal(f"twenty reloads under load, {name}: sessions", 1, len(sink.sessions()))
        stand.valid(checks, f"twenty reloads under load, {name}", sink)
    stand.valid(checks, "twenty reloads under load, the other", new)
    checks.equal("losses said", [], daemon.lines("dropped") + daemon.lines("lost"))
    checks.equal("exit status", 0, daemon.stop())


def filters(checks, lab):
    """A filter that a reload leaves in force has no moment in which it is open."""
    where = stand.Stand(lab)
    sink, marker = where.udp(), where.udp()
    stay = collector("same", sink)
    ignoring = "ignore = 10.128.0.0/16"
    daemon = where.daemon([stay], await_sinks=[sink], conntrack=ignoring)
    load = lab.start(where.router, stand.CTGEN, "--count", "12000", "--window", "200", "--rate", "8000")
    variants = [where.configuration([stay], conntrack=text) for text in
                (f"{ignoring}, 10.200.0.0/16", f"{ignoring}\nprotocols = udp, tcp", f"{ignoring}\nmarks = 0", ignoring)]
    good = [daemon.reload(variants[n % len(variants)]) for n in range(20)]
    load.process.wait(30)
    checks.equal("twenty reloads: all taken", [True] * 20, good)
    # A flow that passes comes after all that should not have.
    checks.true("filter off", daemon.reload(where.configuration([stay, collector("marker", marker)])), daemon.text())
    lib.wait_until(lambda: marker.messages, 10, "templates at the marker")
    where.generate(7)
    records = marker.wait_flows(7)
    checks.equal("after the filter is gone: flows at the new collector", 7, len(records))
    checks.equal("ignored flows that slipped through", 0, len(sink.wait_flows(7)) - 7)
    checks.equal("exit status", 0, daemon.stop())


CASES = (collectors, refused, names, domain, under_load, filters)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
