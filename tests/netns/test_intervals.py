#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the sum over all records of a long flow what the kernel counted, whatever happens on the way: restarts, zeroed
counters, accounting switched off, a full pool, flows that vanish, clocks that are set?

Datagrams of known sizes through a router that translates them; the active timeout is a second. What the two ends sent
is the truth, and the kernel's counters are compared with it.

    sudo tests/netns/test_intervals.py [CASE ...]   PEERFLOWD: the program, if not build/peerflowd; KILLS: how often it
                                                    is killed (6); MINUTES: how long "lasting" lasts (0.25); CLOCK=real:
                                                    "clocks" sets the clock of this machine, not the daemon's alone"""

import collections
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import struct
import sys
import time

import lib
import stand
from stand import collector

NAT = """
table ip nat {
  chain postrouting { type nat hook postrouting priority 100; oifname "eth1" masquerade; }
}
table inet quiet {
  chain in { type filter hook prerouting priority raw; iifname "exp0" notrack;
  }
  chain out { type filter hook output priority raw; oifname "exp0" notrack;
  }
}
"""
SETTINGS = ("acct", "timestamp", "events")
PORT = 7000
ENTERPRISE = "enterprise-number = 32473"
QUICK = "active-timeout = 1\nreap-share = 100\n"
NO_COUNTERS, NO_START, LOST_END, RESET, PARTIAL = 1, 2, 4, 8, 16
KILLS = int(os.environ.get("KILLS", "6"))
MINUTES = float(os.environ.get("MINUTES", "0.25"))
REAL_CLOCK = os.environ.get("CLOCK") == "real"
ACTIVE, LACK_OF_RESOURCES = 2, 5
HEADERS = 28

SOL_NETLINK, NETLINK_BROADCAST_ERROR, NETLINK_NETFILTER, DESTROY = 270, 4, 12, 3

Counted = collections.namedtuple("Counted", "packets octets")
ENTRY = re.compile(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) packets=(\d+) bytes=(\d+) .*?"
                   r"packets=(\d+) bytes=(\d+) .*\bid=(\d+)")


class Flow:
    """Datagrams between a client and the server behind the router."""

    def __init__(self, world, port):
        self.world, self.port = world, port
        self.sent = {1: Counted(0, 0), 2: Counted(0, 0)}
        self.peer = None
        self.socket = world.where.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((stand.CLIENT, port))
        self.socket.settimeout(3)

    def _count(self, direction, payload):
        packets, octets = self.sent[direction]
        self.sent[direction] = Counted(packets + 1, octets + payload + HEADERS)

    def ask(self, *sizes):
        for size in sizes:
            self.socket.sendto(bytes(size), (stand.SERVER, PORT))
            data, self.peer = self.world.server.recvfrom(65535)
            assert len(data) == size
            self._count(1, size)

    def answer(self, *sizes):
        for size in sizes:
            self.world.server.sendto(bytes(size), self.peer)
            assert len(self.socket.recv(65535)) == size
            self._count(2, size)

    def talk(self):
        self.ask(*(random.randrange(1000) for _ in range(random.randrange(1, 4))))
        self.answer(*(random.randrange(1000) for _ in range(random.randrange(0, 4))))


class World:
    """A router that translates, with what is needed on both sides of it, and one flow after the other."""

    def __init__(self, lab):
        self.lab = lab
        self.where = stand.Stand(lab)
        self.where.router.nft(NAT)
        self.where.sides()
        self.switch(**dict.fromkeys(SETTINGS, 1), udp_timeout=3600, udp_timeout_stream=3600)
        self.server = self.where.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind((stand.SERVER, PORT))
        self.server.settimeout(3)
        self.flows = {}
        self.sink = self.where.udp()
        self.daemons = []

    def switch(self, **names):
        self.where.router.sysctl(**{f"net__netfilter__nf_conntrack_{name}": value for name, value in names.items()})

    def flow(self):
        port = 40000 + len(self.flows)
        self.flows[port] = Flow(self, port)
        return self.flows[port]

    def daemon(self, conntrack="", environment=None):
        """The first, or one that takes over the memory of those before."""
        run = self.lab.directory / "run"
        where, group = self.where, collector("one", self.sink, template="full")
        configuration = where.configuration([group], exporter=ENTERPRISE, conntrack=QUICK + conntrack)
        messages = len(self.sink.messages)
        daemon = stand.Daemon(self.lab, where.router, configuration.replace("@RUN@", str(run)),
                              environment=environment)
        self.daemons.append(daemon)
        lib.wait_until(lambda: len(self.sink.messages) > messages, 10, "templates at the collector")
        return daemon

    def said(self, text, seconds=10):
        with contextlib.suppress(TimeoutError):
            lib.wait_until(lambda: re.search(text, self.text()), seconds, text)
        return re.search(text, self.text())

    def text(self):
        return "".join(daemon.text() for daemon in self.daemons)

    def kernel(self):
        """{port: (id, {direction: Counted})}, without flows that nobody counts."""
        entries = {}
        for line in self.where.router.conntrack():
            if found := ENTRY.search(line):
                entries[int(found[3])] = (int(found[9]), {1: Counted(int(found[5]), int(found[6])),
                                                          2: Counted(int(found[7]), int(found[8]))})
        return entries

    def status(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as handle:
            handle.connect(str(self.lab.directory / "run" / "status"))
            with handle.makefile() as document:
                return json.load(document)

    def records(self):
        """{port: [record, ...]} in the order they came."""
        found = collections.defaultdict(list)
        for record in self.sink.flows():
            port = "sourceTransportPort" if record["biflowDirection"] == 1 else "destinationTransportPort"
            found[record[port]].append(record)
        return found

    def sums(self):
        return {port: {way: Counted(sum(r["packetDeltaCount"] for r in records if r["biflowDirection"] == way),
                                    sum(r["octetDeltaCount"] for r in records if r["biflowDirection"] == way))
                       for way in (1, 2)} for port, records in self.records().items()}

    def wait_told(self, flow, seconds=10):
        """Until all that was sent is in records, which takes no end of the flow."""
        with contextlib.suppress(TimeoutError):
            lib.wait_until(lambda: self.sums().get(flow.port) == flow.sent, seconds, f"records of {flow.port}")
        return self.sums().get(flow.port) == flow.sent

    def end(self):
        """Ends all flows there are."""
        self.where.router.run("conntrack -F")

    def final(self, port):
        return [r for r in self.records()[port] if r["flowEndReason"] != ACTIVE and r["biflowDirection"] == 1]

    def wait_ended(self, flows=None, seconds=20):
        flows = self.flows.values() if flows is None else flows
        with contextlib.suppress(TimeoutError):
            lib.wait_until(lambda: all(self.final(flow.port) for flow in flows), seconds, "the last records")

    def check(self, checks, what, flows=None):
        """Everything that is true of any long flow once it has ended."""
        flows = list(self.flows.values() if flows is None else flows)
        self.wait_ended(flows)
        sums, records = self.sums(), self.records()
        checks.equal(f"{what}: octets and packets there and back", {f.port: f.sent for f in flows},
                     {f.port: sums.get(f.port) for f in flows})
        checks.equal(f"{what}: each flow ends once", [1] * len(flows), [len(self.final(f.port)) for f in flows])
        checks.equal(f"{what}: one flowId each", [1] * len(flows),
                     [len({r["flowId"] for r in records[f.port]}) for f in flows])
        wrong = [r for f in flows for r in records[f.port] if r["flowStartMilliseconds"] > r["flowEndMilliseconds"]]
        checks.equal(f"{what}: records that end before they start", [], wrong)
        self.check_chain(checks, what, flows, records)

    def check_chain(self, checks, what, flows, records):
        """A record starts where the one before it ended, the last one not later than that."""
        broken, idle = [], []
        for flow in flows:
            until = None
            for record in records[flow.port]:
                active = record["flowEndReason"] == ACTIVE
                start, end = record["flowStartMilliseconds"], record["flowEndMilliseconds"]
                if until and (start > until[1] or (active and start not in until)):
                    broken.append((flow.port, until, start))
                if active and not record["packetDeltaCount"]:
                    idle.append(record)
                # Two records of one moment, there and back, have the same times.
                until = (start, end)
        checks.equal(f"{what}: records that do not start where the one before ended", [], broken)
        checks.equal(f"{what}: intervals in which nothing moved", [], idle)

    def close(self, checks, what):
        checks.equal(f"{what}: exit status", 0, self.daemons[-1].stop())
        stand.valid(checks, what, self.sink)


def beats(world, flows, seconds):
    """They talk, not all at once, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        random.choice(flows).talk()
        time.sleep(0.01)


def intervals(checks, lab):
    """Some flows talk all the time, one only answers, one falls silent."""
    world = World(lab)
    world.daemon()
    flows = [world.flow() for _ in range(10)]
    silent, answers = world.flow(), world.flow()
    for flow in flows + [silent, answers]:
        flow.ask(100)
    for _ in range(50):
        beats(world, flows, 0.1)
        answers.answer(50)
    checks.true("all is told before the flows end", world.wait_told(silent) and world.wait_told(answers), world.sums())
    kernel = world.kernel()
    checks.equal("the kernel counted what was sent", {f.port: f.sent for f in world.flows.values()},
                 {port: counted for port, (_, counted) in kernel.items()})
    world.end()
    world.check(checks, "intervals")
    records = world.records()
    checks.equal("the kernel's id is the upper half of flowId", {port: entry[0] for port, entry in kernel.items()},
                 {port: of_flow[0]["flowId"] >> 32 for port, of_flow in records.items()})
    checks.true("flows that talk are told of again and again", all(
        sum(r["flowEndReason"] == ACTIVE and r["biflowDirection"] == 1 for r in records[f.port]) >= 3 for f in flows),
        {f.port: len(records[f.port]) for f in flows})
    checks.equal("a flow that is silent is told of once, and that it ended", 2, len(records[silent.port]))
    checks.equal("of one that only answers, the asking side is told of at the begin and the end", 2,
                 sum(r["biflowDirection"] == 1 for r in records[answers.port]))
    checks.true("and the answers in between", sum(r["biflowDirection"] == 2 for r in records[answers.port]) >= 3,
                records[answers.port])
    gaps = [r["recordGaps"] for of_flow in records.values() for r in of_flow]
    checks.equal("nothing is missing, and none says so", 0, sum(gaps))
    world.close(checks, "intervals")


def restarted(checks, lab):
    """In the middle of flows the daemon is stopped in order, and goes on with them."""
    world = World(lab)
    flows = [world.flow() for _ in range(5)]
    for _ in range(3):
        daemon = world.daemon()
        beats(world, flows, 2.5)
        checks.equal("exit status of one before", 0, daemon.stop())
        beats(world, flows, 0.5)
    world.daemon()
    beats(world, flows, 1.5)
    world.end()
    world.check(checks, "restarted", flows)
    records = world.records()
    checks.equal("what the first daemon had not seen is not counted twice, nor marked", {0},
                 {r["recordGaps"] for of_flow in records.values() for r in of_flow})
    world.close(checks, "restarted")


def killed(checks, lab):
    """In the middle of flows the daemon is killed, at any moment, and goes on with them."""
    world = World(lab)
    flows = [world.flow() for _ in range(20)]
    for _ in range(KILLS):
        daemon = world.daemon()
        beats(world, flows, random.uniform(0.2, 2.5))
        daemon.stop(signal.SIGKILL)
        beats(world, flows, 0.1)
    world.daemon()
    beats(world, flows, 1.5)
    world.end()
    world.check(checks, "killed", flows)
    checks.true("some were reported before", all(len(r) > 4 for r in world.records().values()),
                {port: len(r) for port, r in world.records().items()})
    world.close(checks, "killed")


def zeroed(checks, lab):
    """conntrack -L -z: exact if nothing came since the last look; and in any case marked and announced."""
    world = World(lab)
    world.daemon()
    quiet, busy, young = world.flow(), world.flow(), world.flow()
    for flow in (quiet, busy):
        flow.ask(*(500,) * 20)
        flow.answer(500)
        checks.true(f"{flow.port} is told", world.wait_told(flow), world.sums())
    young.ask(10)
    quiet.ask(300)
    time.sleep(3)               # looks at all of it
    busy.ask(100)
    world.where.router.run("conntrack -L -z")
    quiet.ask(1, 2, 3)
    busy.ask(1)
    quiet.answer(4)
    time.sleep(3)
    world.end()
    world.check(checks, "zeroed", [quiet])
    world.wait_ended()
    records, sums = world.records(), world.sums()
    checks.true("the flow that was busy just then is short of no more than came since the last look",
                busy.sent[1].packets - 1 <= sums[busy.port][1].packets <= busy.sent[1].packets,
                f"sent {busy.sent}, told {sums[busy.port]}")
    checks.equal("their records are marked", [True, True],
                 [any(r["recordGaps"] & RESET for r in records[f.port]) for f in (quiet, busy)])
    checks.true("it is said", world.said("somebody zeroed the kernel's counters of [1-9] flows?"), world.text())
    world.close(checks, "zeroed")


def uncounted(checks, lab):
    """Accounting is switched off and on: flows from before count on, those of that time are marked."""
    world = World(lab)
    world.daemon()
    before = world.flow()
    before.ask(100)
    world.switch(acct=0)
    between = world.flow()
    for _ in range(20):
        before.talk()
        between.talk()
        time.sleep(0.1)
    world.switch(acct=1)
    after = world.flow()
    for _ in range(20):
        before.talk()
        after.talk()
        time.sleep(0.1)
    world.end()
    world.check(checks, "uncounted", [before, after])
    world.wait_ended([between])
    of_between = world.records()[between.port]
    checks.equal("a flow that nobody counted is told of once, and marked", [(ACTIVE, False, NO_COUNTERS)],
                 [(ACTIVE, r["flowEndReason"] == ACTIVE, r["recordGaps"]) for r in of_between
                  if r["biflowDirection"] == 1])
    world.close(checks, "uncounted")


def lasting(checks, lab):
    """Flows in whose middle everything happens that can happen on a router."""
    world = World(lab)
    daemon = world.daemon()
    flows = [world.flow() for _ in range(3)]

    def zero():
        # What came since the last look would be lost.
        checks.true("all is told before the counters are zeroed", all(world.wait_told(f) for f in flows), world.sums())
        world.where.router.run("conntrack -L -z")

    part = MINUTES * 60 / 5
    for happens in (lambda: daemon.stop(), lambda: daemon.stop(signal.SIGKILL), zero,
                    lambda: world.switch(acct=0), lambda: world.switch(acct=1)):
        beats(world, flows, part)
        happens()
        if daemon.process.poll() is not None:
            daemon = world.daemon()
    beats(world, flows, 2)
    kernel = world.kernel()
    world.end()
    world.check(checks, f"{MINUTES:g} minutes", flows)
    gaps = {r["recordGaps"] for f in flows for r in world.records()[f.port]}
    checks.equal("only that counters were zeroed is marked", {0, RESET}, gaps)
    checks.true("the kernel had counted less, for it was zeroed", all(
        0 < kernel[f.port][1][1].packets < f.sent[1].packets for f in flows), kernel)
    for f in flows:
        print(f"    {f.sent[1].packets} packets there, {f.sent[2].packets} back in {len(world.records()[f.port])} records")
    world.close(checks, "lasting")


def there_before(checks, lab):
    """Flows that were there before the daemon: counted from the first look, or from their start."""
    for setting in ("first-look", "start"):
        world = World(lab)
        old = world.flow()
        old.ask(*(700,) * 10)
        old.answer(700)
        if setting == "first-look":
            old.sent = {1: Counted(0, 0), 2: Counted(0, 0)}
        world.daemon(f"count-from = {setting}")
        time.sleep(1)           # looks
        new = world.flow()
        for _ in range(20):
            old.talk()
            new.talk()
            time.sleep(0.1)
        world.end()
        world.check(checks, setting)
        marks = {(port, r["recordGaps"]) for port, records in world.records().items() for r in records}
        checks.equal(f"{setting}: only the flow that was there is marked, if at all",
                     {(old.port, PARTIAL if setting == "first-look" else 0), (new.port, 0)}, marks)
        world.close(checks, setting)


def full(checks, lab):
    """More long flows than the pool may have: the rest is reported whole at its end, and that is said."""
    world = World(lab)
    world.daemon("max-long-flows = 2")
    flows = [world.flow() for _ in range(6)]
    beats(world, flows, 4)
    early = [f for f in flows if world.records()[f.port]]
    checks.equal("so many are reported in intervals", 2, len(early))
    checks.true("it is said", world.said("no room for the counters of [1-4] flows?"), world.text())
    told = world.status()["long_flows"]
    checks.equal("and stands in the status", (2, 2, 4), (told["known"], told["most"], told["no_room"]))
    world.end()
    world.check(checks, "full")
    checks.equal("records of the others, there and back", [2] * 4,
                 [len(world.records()[f.port]) for f in flows if f not in early])
    world.close(checks, "full")


def vanished(checks, lab):
    """An entry that is made while events are off ends without a word."""
    world = World(lab)
    world.daemon()
    flow, other = world.flow(), world.flow()
    world.switch(events=0)
    flow.talk()
    world.switch(events=1)
    for _ in range(10):
        flow.talk()
        other.talk()
        time.sleep(0.2)
    time.sleep(2)               # looks at all of it
    world.where.router.run(f"conntrack -D -p udp --orig-port-src {flow.port}")
    world.check(checks, "vanished", [flow])
    checks.equal("its last record says so", [(LACK_OF_RESOURCES, LOST_END)],
                 [(r["flowEndReason"], r["recordGaps"]) for r in world.final(flow.port)])
    checks.true("it is said", world.said("the kernel forgot 1 flow without a word"), world.text())
    checks.equal("the one that is still there has not ended", [], world.final(other.port))
    other.talk()
    world.end()
    world.check(checks, "not vanished", [other])
    world.close(checks, "vanished")


def filtered(checks, lab):
    """Flows that another configuration leaves out are not taken for lost."""
    world = World(lab)
    daemon = world.daemon()
    flows = [world.flow() for _ in range(3)]
    beats(world, flows, 3)
    told = {port: len(records) for port, records in world.records().items()}
    checks.true("they are reported", len(told) == 3, told)
    configuration = daemon.path.read_text(encoding="utf-8")
    checks.true("left out", daemon.reload(configuration.replace(QUICK, QUICK + "ignore = 10.20.0.0/16\n")), daemon.text())
    time.sleep(4)               # more than two sweeps
    world.end()
    time.sleep(0.5)
    checks.equal("nothing is said of their ends", [], [r for port in world.flows for r in world.final(port)])
    checks.equal("nor of any gap", 0, world.status()["long_flows"]["gone"])
    checks.equal("none is known any more", 0, world.status()["long_flows"]["known"])
    world.close(checks, "filtered")


def clocks(checks, lab):
    """The clock is set, an hour forth and an hour back, twice, while flows go on, begin and end."""
    world = World(lab)
    shift = lab.directory / "shift"
    offset = time.time() - time.monotonic()

    def turn(seconds):
        if REAL_CLOCK:
            time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset + seconds)
            return
        with open(shift, "r+b" if shift.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    turn(0)
    world.daemon(environment=None if REAL_CLOCK else {
        "LD_PRELOAD": str(stand.PRELOAD / "shift_clock.so"), "SHIFT_CLOCK": str(shift),
        "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
    flows = [world.flow() for _ in range(3)]
    ended = []
    for hours in (0, 1, 0, -1, 1, -1, 0):
        turn(hours * 3600)
        brief = world.flow()
        beats(world, flows + [brief], 2.2)
        world.where.router.run(f"conntrack -D -p udp --orig-port-src {brief.port}")
        ended.append(brief)
    world.end()
    world.wait_ended()
    sums, records = world.sums(), world.records()
    checks.equal("clocks: octets and packets there and back", {p: f.sent for p, f in world.flows.items()}, sums)
    checks.equal("clocks: each flow ends once", [1] * len(world.flows), [len(world.final(p)) for p in world.flows])
    checks.equal("clocks: records that end before they start", [], [
        r for of_flow in records.values() for r in of_flow
        if r["flowStartMilliseconds"] > r["flowEndMilliseconds"]])
    checks.equal("clocks: one flowId each", [1] * len(world.flows),
                 [len({r["flowId"] for r in records[p]}) for p in world.flows])
    checks.true("flows that talk are told of all the time", all(len(records[f.port]) > 10 for f in flows),
                {f.port: len(records[f.port]) for f in flows})
    checks.equal("clocks: exit status", 0, world.daemons[-1].stop())


def listener(router, reliable, room):
    """One more that the kernel tells of the ends of flows."""
    handle = router.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
    handle.setsockopt(SOL_NETLINK, NETLINK_BROADCAST_ERROR, reliable)
    handle.setsockopt(socket.SOL_SOCKET, stand.SO_RCVBUFFORCE, room)
    handle.bind((0, 1 << (DESTROY - 1)))
    return handle


def count_messages(handle):
    count = 0
    with contextlib.suppress(BlockingIOError):
        while handle.recv(65536):
            count += 1
    return count


def told_again(checks, lab):
    """Beside a stuck listener the kernel tells of each end again and again; each flow is reported once."""
    world = World(lab)
    daemon = world.daemon()
    long = world.flow()
    beats(world, [long], 2.5)
    # One reads, if late; the other asks for reliable delivery, has hardly any room and never reads.
    with contextlib.closing(listener(world.where.router, 0, 256 << 20)) as patient, \
            contextlib.closing(listener(world.where.router, 1, 2048)):
        made = world.where.generate(3000)
        time.sleep(3)           # the first time again is a second later
        world.end()
        time.sleep(2)
        told = count_messages(patient)
    checks.true("the kernel told of ends again", told > made + 50, f"{told} messages of {made} flows")
    world.check(checks, "told again", [long])
    others = [r for r in world.sink.wait_flows(made + 2) if r["sourceTransportPort"] != long.port
              and r["destinationTransportPort"] != long.port]
    stand.each_once(checks, "told again", others, made)
    checks.true("what was told again is counted", world.status()["flows"]["duplicates"] > 50, world.status()["flows"])
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "told again", world.sink)


if __name__ == "__main__":
    random.seed()
    sys.exit(stand.run((intervals, restarted, killed, zeroed, uncounted, lasting, there_before, full, vanished, filtered,
                        clocks, told_again)))
