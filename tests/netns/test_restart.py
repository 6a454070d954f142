#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""peerflowd is killed with SIGKILL again and again while thousands of flows a second pass the router's NAT, short ones and
long ones, and is started again by a supervisor that keeps its socket as a service manager does. In the end, for each
flow that the kernel tells of, the records at each collector add up to exactly what the kernel counted, and exactly one
of them is the flow's last.

PEERFLOW_KILLS sets how often it is killed (8), PEERFLOW_RATE how many short flows begin in a second (2000)."""

import array
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import lib
import stand

TOOLS = pathlib.Path(os.environ.get("TRAFFIC", str(stand.BUILD / "tests" / "traffic"))).parent
TRUTH, STRIKE = str(TOOLS / "truth"), str(TOOLS / "strike")
KILLS = int(os.environ.get("PEERFLOW_KILLS", "8"))
RATE = int(os.environ.get("PEERFLOW_RATE", "2000"))
LONG = 100                  # flows that go on all the time
ACTIVE = 2                  # seconds between two records of them

TIMEOUTS = {"udp_timeout": 1, "udp_timeout_stream": 3, "tcp_timeout_time_wait": 1, "tcp_timeout_close": 1,
            "tcp_timeout_fin_wait": 2, "tcp_timeout_close_wait": 2, "tcp_timeout_last_ack": 2}

RULES = """table ip nat {
  chain postrouting { type nat hook postrouting priority 100; oifname "eth1" masquerade; }
}
"""

# All fields of fixed length and the same for every kind of flow, so that they are read as fast as they come.
TEMPLATE = "protocol ipfix\n" + "".join(
    f"template {300 + i} {kind}\n" for i, kind in enumerate(
        f"{family}{nat}{icmp}{biflow}" for biflow in ("", " biflow") for family in ("ipv4", "ipv6")
        for nat in ("", " nat") for icmp in ("", " icmp"))) + """
flowId
sourceIPv4Address
destinationIPv4Address
sourceTransportPort
destinationTransportPort
protocolIdentifier
packetDeltaCount
octetDeltaCount
reversePacketDeltaCount
reverseOctetDeltaCount
flowStartMilliseconds
flowEndMilliseconds
flowEndReason
biflowDirection
sourceIPv6Address
destinationIPv6Address
icmpTypeCodeIPv4
icmpTypeCodeIPv6
"""
UNIFLOW = struct.Struct("!QIIHHBQQQQBB")
BIFLOW = struct.Struct("!QIIHHBQQQQQQBB")
TRUE_ROW = struct.Struct("@5Q3I2HI4x")

LIMIT = 100000              # ms between the start of a flow and the end of its last record, whatever the clocks do
END_ACTIVE = 2


class Supervisor:
    """Starts peerflowd and keeps the descriptors it stores (FDSTORE), for the next one (LISTEN_FDS)."""

    def __init__(self, lab, namespace, configuration):
        self.lab, self.namespace = lab, namespace
        self.path = lab.directory / "restart.conf"
        self.path.write_text(configuration, encoding="utf-8")
        self.address = lab.directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.address))
        self.socket.settimeout(0.05)
        self.stored = {}
        self.states = []
        self.struck = 0
        self.program = None
        self.programs = []

    def listen(self):
        """Takes what has been said so far."""
        with contextlib.suppress(TimeoutError):
            while True:
                text, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 8)
                self._take(dict(line.split("=", 1) for line in text.decode().split("\n")), descriptors)

    def _take(self, said, descriptors):
        self.states.append(said)
        if "FDSTOREREMOVE" in said and said["FDNAME"] in self.stored:
            os.close(self.stored.pop(said["FDNAME"]))
        if "FDSTORE" in said:
            assert said["FDPOLL"] == "0", "a pending ENOBUFS would close the socket"
            self.stored[said["FDNAME"]] = descriptors.pop()
        for descriptor in descriptors:
            os.close(descriptor)

    def start(self, wait=True):
        self.listen()
        self.states.clear()
        self.program = Handed(self.namespace, self.path, self.lab.directory / f"peerflowd-{len(self.programs)}.log",
                              self.address, self.stored)
        self.programs.append(self.program)
        self.lab.adopt(self.program)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def is_ready():
            self.listen()
            if self.program.process.poll() is not None:
                raise RuntimeError(f"peerflowd ended with {self.program.process.returncode}: {self.program.text()}")
            return any("READY" in said for said in self.states)
        lib.wait_until(is_ready, 20, "peerflowd is ready")

    def pause(self, chance):
        """When it goes on it has much to do: thousands of flows ended while it was stopped."""
        self.program.process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.2, 1))
        self.program.process.send_signal(signal.SIGCONT)

    def kill(self, chance):
        """At any time, or some instructions after it has received or sent something."""
        if chance.random() < 0.5:
            self.pause(chance)
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0, 0.03))
            self.program.process.kill()
        else:
            steps = int(10 ** chance.uniform(0, 5))
            said = subprocess.run([STRIKE, str(self.program.process.pid), "--call",
                                   chance.choice(("recvmmsg", "sendmmsg")), "--times", str(chance.randrange(1, 8)),
                                   "--steps", str(steps)], stdout=subprocess.PIPE, check=False).stdout
            self.struck += said == b"struck\n"
        self.program.process.wait()
        self.listen()

    def stop(self):
        """In order; returns the exit status."""
        self.program.process.terminate()
        status = self.program.process.wait(20)
        self.listen()
        return status

    def text(self):
        return "".join(program.text() for program in self.programs)


class Handed(lib.Program):
    """peerflowd with descriptors from its predecessor. Only a shell knows its own number before it becomes it."""

    def __init__(self, namespace, configuration, log, notify, stored):
        number = len(stored)
        source = [os.dup(fd) for fd in stored.values()]

        def place():
            lib.die_with_parent()
            for i, fd in enumerate(source):
                os.dup2(fd, 100 + i)
            for i in range(number):
                os.dup2(100 + i, 3 + i, inheritable=True)

        listen = {"LISTEN_FDS": str(number), "LISTEN_FDNAMES": ":".join(stored)} if number else {}
        self.name, self.log = "peerflowd", log
        with namespace.entered(), open(log, "wb") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", lib.PEERFLOWD, "--config", str(configuration)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent, process_group=0,
                preexec_fn=place, pass_fds=range(3, 3 + number),
                env={**os.environ, "TZ": "UTC", "NOTIFY_SOCKET": str(notify), **listen})
        for fd in source:
            os.close(fd)


def is_of_client(source):
    """Not so an answer that comes late, on a busy machine: the kernel has forgotten the flow, and begins one of the server's."""
    return source >> 16 == 10 << 8 | 20


class Reader:
    """Sums of what a collector was told, by flow."""

    def __init__(self, sink, layout):
        self.sink, self.layout = sink, layout
        self.sums = collections.defaultdict(lambda: [0, 0, 0, 0])
        self.finals = collections.Counter()
        self.records = 0
        self.strange = []

    def read(self):
        for _, _, _, message in self.sink.messages:
            self._read_message(message)

    def _read_message(self, message):
        at = 16
        while at < len(message):
            number, length = struct.unpack_from("!HH", message, at)
            if number >= 300 and number < 400:
                body = message[at + 4:at + length]
                for values in self.layout.iter_unpack(body[:len(body) // self.layout.size * self.layout.size]):
                    self._take(values)
            at += length

    def _take(self, values):
        flow, source, destination, source_port, destination_port, protocol, *counters, begin, end, why, direction = values
        self.records += 1
        if not begin <= end <= begin + LIMIT * 1000:
            self.strange.append((values, "ends before it begins"))
        if direction == 2:
            source, destination = destination, source
            source_port, destination_port = destination_port, source_port
        if not is_of_client(source):
            return
        key = flow, source, destination, source_port, destination_port, protocol
        place = 2 if direction == 2 else 0
        for i, value in enumerate(counters):
            self.sums[key][place + i] += value
        if why != END_ACTIVE and direction == 1:
            self.finals[key] += 1


def read_truth(path):
    """What each flow counted, and how often the kernel told of it more than once."""
    flows, again = {}, 0
    for start, packets, octets, reply_packets, reply_octets, number, *tuple_, protocol in TRUE_ROW.iter_unpack(
            path.read_bytes()):
        if not is_of_client(tuple_[0]):
            continue
        key = (number << 32 ^ start // 1000000 & 0xffffffff, *tuple_, protocol)
        counted = [packets, octets, reply_packets, reply_octets]
        assert flows.setdefault(key, counted) == counted, "the kernel says two things of one flow"
        again += flows[key] is not counted
    return flows, again


class LongFlows(threading.Thread):
    """Flows of a few datagrams a second each, which end only when this does."""

    def __init__(self, namespace):
        super().__init__(daemon=True)
        self.sockets = [namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(LONG)]
        for handle in self.sockets:
            handle.connect((stand.SERVER, 7000))
            handle.setblocking(False)
        self.ended = threading.Event()
        self.start()

    def run(self):
        chance = random.Random(1)
        while not self.ended.wait(0.2):
            for handle in self.sockets:
                for _ in range(chance.randrange(3)):
                    with contextlib.suppress(OSError):
                        handle.send(b"x" * chance.randrange(1, 7))      # echoed
                        handle.recv(4096)

    def end(self):
        self.ended.set()
        self.join()


class Trial:
    """A router with NAT and traffic over it, two collectors, the truth, and a supervised peerflowd."""

    def __init__(self, lab):
        self.lab = lab
        self.where = where = stand.Stand(lab)
        where.sides()
        where.client.address("eth0", *(f"10.20.0.{n}/24" for n in range(40, 48)))
        where.router.sysctl(**{f"net__netfilter__nf_conntrack_{key}": 1 for key in ("acct", "timestamp", "events")},
                            **{f"net__netfilter__nf_conntrack_{key}": value for key, value in TIMEOUTS.items()})
        where.router.nft(RULES)
        self.udp, self.tcp = where.udp(), where.tcp()
        self.truth_path = lab.directory / "truth"
        self.truth = lab.start(where.router, TRUTH, self.truth_path)
        self.truth.wait_for("ready")
        self.directory = lab.memory()
        self.supervisor = Supervisor(lab, where.router, self._configuration())
        self.server = lab.start(where.server, stand.TRAFFIC, "serve", stand.SERVER, "7000", "--time", "3600")

    def _configuration(self):
        template = self.lab.directory / "restart.template"
        template.write_text(TEMPLATE, encoding="utf-8")
        return (f"[exporter]\nobservation-domain-id = 77\ntemplate-directory = {lib.TEMPLATES}\nlive-socket = off\n"
                f"status-socket = off\nruntime-directory = {self.directory}\nstate-directory = off\n"
                f"[conntrack]\nactive-timeout = {ACTIVE}s\nflows = all\n"
                + stand.collector("udp", self.udp, template=template)
                + stand.collector("tcp", self.tcp, template=template, records="biflow", retry="1s"))

    def traffic(self):
        """Short flows, for ever, and long ones."""
        sources = [word for n in (20, *range(40, 48)) for word in ("--source", f"10.20.0.{n}")]
        self.long = LongFlows(self.where.client)
        self.short = self.lab.start(
            self.where.client, stand.TRAFFIC, "send", stand.SERVER, "7000", "--udp", "10000000", "--tcp", "2000000",
            "--rate", str(RATE), "--time", "3600", "--ports", "2000-62000", *sources, "--datagrams", "1-4", "--answered",
            "0-4", "--size", "8-400", "--answer", "1-700", "--request", "8-3000", "--response", "0-9000")

    def settle(self):
        """Ends the traffic, and returns when all flows have ended."""
        self.long.end()
        self.short.stop()
        self.server.stop()
        lib.wait_until(lambda: not any("src=10.20." in line for line in self.where.router.conntrack()), 120,
                       "all flows have ended")
        time.sleep(1)

    def judge(self, checks, what):
        self.truth.stop()
        figures = json.loads(self.truth.text().splitlines()[-1])
        checks.equal(f"{what}: the truth is whole", 0, figures["overruns"])
        truth, again = read_truth(self.truth_path)
        print(f"# {what}: {len(truth)} flows, of which the kernel told again {again} times, "
              f"{sum(value[0] + value[2] for value in truth.values())} packets")
        checks.true(f"{what}: thousands of flows", len(truth) > 500 * KILLS, f"got {len(truth)}")
        for name, sink, layout in (("UDP", self.udp, UNIFLOW), ("TCP", self.tcp, BIFLOW)):
            reader = Reader(sink, layout)
            reader.read()
            print(f"# {what}, {name}: {reader.records} records in {len(sink.messages)} messages of "
                  f"{len(sink.sessions())} sessions")
            compare(checks, f"{what}, {name}", truth, reader)


def compare(checks, what, truth, reader):
    missing = [key for key in truth if key not in reader.sums]
    others = [key for key in reader.sums if key not in truth]
    differ = [key for key in truth if key in reader.sums and truth[key] != reader.sums[key]]
    ends = [key for key in truth if reader.finals[key] != 1]
    for name, keys in (("missing", missing), ("unknown", others), ("another sum", differ), ("not one end", ends)):
        for key in keys[:3]:
            print(f"#   {name}: {key} truth {truth.get(key)} told {reader.sums.get(key)} "
                  f"last records {reader.finals[key]}")
    checks.equal(f"{what}: flows that are missing, that nobody saw, with another sum, without one end", (0, 0, 0, 0),
                 (len(missing), len(others), len(differ), len(ends)))
    for i, name in enumerate(("packets", "octets", "reply packets", "reply octets")):
        checks.equal(f"{what}: all {name}", sum(v[i] for v in truth.values()), sum(v[i] for v in reader.sums.values()))
    checks.equal(f"{what}: strange records", [], reader.strange[:3])


def nothing_lost(checks, what, trial):
    lost = [line for line in trial.supervisor.text().splitlines() if "lost" in line or "missing" in line]
    checks.equal(f"{what}: losses in the log", [], lost[:5])


def killed(checks, lab):
    """SIGKILL at random moments, now and then before it is ready; the next one starts at once or a moment later."""
    seed = int(os.environ.get("SEED", str(random.randrange(10**6))))
    chance = random.Random(seed)
    trial = Trial(lab)
    print(f"# SEED={seed}, {KILLS} kills, {RATE} flows/s")
    trial.supervisor.start()
    checks.equal("killed: the socket is stored", ["conntrack"], list(trial.supervisor.stored))
    trial.traffic()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, 3))
        trial.supervisor.kill(chance)
        time.sleep(chance.choice((0, chance.uniform(0, 1))))
        trial.supervisor.start(wait=False)
        if chance.random() < 0.4:
            time.sleep(chance.uniform(0, 0.1))
            trial.supervisor.kill(chance)
            trial.supervisor.start()
        else:
            trial.supervisor.wait_ready()
    time.sleep(1)
    trial.settle()
    checks.equal("killed: exit status of the last", 0, trial.supervisor.stop())
    print(f"# {len(trial.supervisor.programs)} processes, {trial.supervisor.struck} killed between two instructions that "
          "matter")
    nothing_lost(checks, "killed", trial)
    trial.judge(checks, "killed")


def ended(checks, lab):
    """The same with SIGTERM: a restart in order."""
    chance = random.Random(int(os.environ.get("SEED", "1")))
    trial = Trial(lab)
    trial.supervisor.start()
    trial.traffic()
    for _ in range(max(KILLS // 2, 1)):
        time.sleep(chance.uniform(0, 3))
        checks.equal("ended: exit status", 0, trial.supervisor.stop())
        time.sleep(chance.uniform(0, 1))
        trial.supervisor.start()
    trial.settle()
    checks.equal("ended: exit status of the last", 0, trial.supervisor.stop())
    nothing_lost(checks, "ended", trial)
    trial.judge(checks, "ended")


if __name__ == "__main__":
    sys.exit(stand.run([killed, ended]))
