# SPDX-License-Identifier: GPL-3.0-or-later
"""A router with the real daemon on it, collectors made of Python that it sends to, and what to drive them with.

    with lib.Lab() as lab:
        stand = Stand(lab)
        sink = stand.udp()
        daemon = stand.daemon([collector("one", sink)])
        stand.generate(100)
        flows = sink.wait_flows(100)
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

import lib

sys.path.insert(0, str(lib.REPOSITORY / "collector-test"))
import validate             # noqa: E402

BUILD = pathlib.Path(lib.PEERFLOWD).resolve().parent
PEERFLOW = os.environ.get("PEERFLOW", str(BUILD / "peerflow"))
CTGEN = os.environ.get("CTGEN", str(BUILD / "tests" / "bench" / "ctgen"))
TRAFFIC = os.environ.get("TRAFFIC", str(BUILD / "tests" / "traffic"))
PRELOAD = pathlib.Path(os.environ.get("PRELOAD", str(BUILD / "tests")))

SANITIZED = b"__asan_init" in pathlib.Path(lib.PEERFLOWD).read_bytes()
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35

ROUTER, COLLECTOR, COLLECTOR6 = "192.0.2.1", "192.0.2.2", "fd99::2"
CLIENT, SERVER, CLIENT6, SERVER6 = "10.20.0.20", "10.30.0.30", "fd20::20", "fd30::30"
NOBODY = 65534
TRACK = "table inet track { chain in { type filter hook input priority 0; ct state new accept; }\n}\n"


class Sink(threading.Thread):
    """A collector. It only keeps what comes; decoding is done by whoever asks, so that it never falls behind."""

    transport = None

    def __init__(self, namespace, address, port):
        super().__init__(daemon=True)
        self.namespace, self.address, self.port = namespace, address, port
        self.messages = []
        self.judge = validate.Validator(refresh=86400, size=1472)
        self._decoded = self._sorted = 0
        self._flows = []
        self._stopped = False
        self.socket = self._open()
        self.start()

    def _socket(self, kind):
        handle = self.namespace.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, kind)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        handle.bind((self.address, self.port))
        self.port = handle.getsockname()[1]
        handle.settimeout(0.05)
        return handle

    def records(self):
        """All records so far, options data too."""
        self.flows()
        return self.judge.records

    def flows(self):
        """All flow records so far."""
        while self._decoded < len(self.messages):
            self.judge.message(*self.messages[self._decoded])
            self._decoded += 1
        self._flows += [r for r in self.judge.records[self._sorted:] if not r["options"]]
        self._sorted = len(self.judge.records)
        return self._flows

    def wait_flows(self, count, seconds=20):
        with contextlib.suppress(TimeoutError):
            lib.wait_until(lambda: len(self.flows()) >= count, seconds, f"{count} flow records")
        return self.flows()

    def sequence(self, domain=77):
        """Of the last message with flows (IPFIX): the records sent before it."""
        numbers = (struct.unpack_from("!II", message[3], 8) for message in reversed(self.messages))
        return next((sequence for sequence, number in numbers if number == domain), 0)

    def violations(self):
        self.flows()
        return self.judge.violations

    def sessions(self):
        """The other ends, "address:port", in the order they came."""
        return list(dict.fromkeys(message[0] for message in list(self.messages)))

    def close(self):
        self._stopped = True
        self.join()
        self.socket.close()


class UdpSink(Sink):
    transport = "udp"

    def _open(self):
        handle = self._socket(socket.SOCK_DGRAM)
        handle.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        handle.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return handle

    def run(self):
        while not self._stopped:
            with contextlib.suppress(TimeoutError):
                data, control, _, peer = self.socket.recvmsg(65535, 64)
                seconds, nanoseconds = struct.unpack("qq", control[0][2])
                self.messages.append((f"{peer[0]}:{peer[1]}", "udp", seconds * 10**9 + nanoseconds, data))


class TcpSink(Sink):
    """reading: cleared, connections are accepted and then left alone; with a small buffer the sender notices soon.
    ends: how each session ended, "FIN" or an error."""

    transport = "tcp"

    def __init__(self, namespace, address, port, buffer=None):
        self._buffer = buffer
        self.reading = threading.Event()
        self.reading.set()
        self.ends = []
        self.accepted = 0
        self._connection = None
        super().__init__(namespace, address, port)

    def _open(self):
        handle = self._socket(socket.SOCK_STREAM)
        if self._buffer:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        handle.listen()
        return handle

    def run(self):
        while not self._stopped:
            with contextlib.suppress(TimeoutError):
                self._connection, peer = self.socket.accept()
                self.accepted += 1
                self._serve(f"{peer[0]}:{peer[1]}")

    def _serve(self, session):
        self._connection.settimeout(0.05)
        buffer, end = b"", None
        while not end and not self._stopped:
            if not self.reading.wait(0.05):
                continue
            try:
                data = self._connection.recv(1 << 20)
                end = None if data else "FIN"
                buffer = self._split(session, buffer + data)
            except TimeoutError:
                pass
            except OSError as error:
                end = error.strerror
        if end:
            self.ends.append(end + (f" after {len(buffer)} octets of a message" if buffer else ""))
        self._connection.close()

    def _split(self, session, buffer):
        offset = 0
        while len(buffer) - offset >= 4:
            length = int.from_bytes(buffer[offset + 2:offset + 4], "big")
            if length < 16 or len(buffer) - offset < length:
                break
            self.messages.append((session, "tcp", None, buffer[offset:offset + length]))
            offset += length
        return buffer[offset:]

    def reset(self):
        """Ends the session there is with RST."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


def collector(name, sink, **options):
    """A group of the configuration; keys with _ for the dash. sink may be an (address, port)."""
    if isinstance(sink, Sink):
        options = {"host": sink.address, "port": sink.port, "transport": sink.transport, **options}
    else:
        options = {"host": sink[0], "port": sink[1], **options}
    return f"[collector {name}]\n" + "".join(f"{k.replace('_', '-')} = {v}\n" for k, v in options.items())


def place(configuration, live, run):
    """The configuration with paths of its own."""
    return configuration.replace("@LIVE@", str(live)).replace("@RUN@", str(run))


class Daemon:
    """peerflowd in a namespace; what it tells the service manager is kept in states, but for descriptors."""

    number = 0

    def __init__(self, lab, namespace, configuration, wrap=(), environment=None, wait=True):
        Daemon.number += 1
        self.path = lab.directory / f"daemon-{Daemon.number}.conf"
        self.live = lab.directory / f"live-{Daemon.number}"
        self.run = lab.directory / f"run-{Daemon.number}"
        notify = lab.directory / f"notify-{Daemon.number}"
        self.states = []
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(notify))
        self._notify.settimeout(0.02)
        self.write(configuration)
        self.program = lab.start(namespace, *wrap, lib.PEERFLOWD, "--config", self.path,
                                 environment={"NOTIFY_SOCKET": str(notify), **(environment or {})})
        self.process = self.program.process
        if wait:
            self.wait_state("READY=1", 1)

    def write(self, configuration):
        self.path.write_text(place(configuration, self.live, self.run), encoding="utf-8")

    def text(self):
        return self.program.text()

    def lines(self, word=""):
        return [line for line in self.text().splitlines() if word in line]

    def lost(self, collector, why=""):
        """How many flow records of a collector are said to be lost."""
        text = self.text()
        said = re.findall(f"collector {collector}: .*{why}.*lost (?:at least )?([0-9]+) flow", text)
        return sum(map(int, said))

    def left(self, collector):
        """How many flow records stay for the next start."""
        said = re.findall(f"collector {collector}: ([0-9]+) flow records were waiting and stay", self.text())
        return sum(map(int, said))

    def read_states(self):
        with contextlib.suppress(TimeoutError):
            while True:
                said = self._notify.recv(4096).decode().split("\n")
                self.states += [line for line in said if not line.startswith("FD")]
        return self.states

    def wait_state(self, state, count, seconds=10):
        def said():
            if self.read_states().count(state) >= count:
                return True
            if self.process.poll() is not None:
                raise RuntimeError(f"peerflowd ended with {self.process.returncode}: {self.text()}")
            return False
        lib.wait_until(said, seconds, f"peerflowd says {state}")

    def reload(self, configuration=None):
        """Returns when it has been read; False if it was refused."""
        if configuration is not None:
            self.write(configuration)
        ready, good = self.read_states().count("READY=1"), len(self.lines("configuration read again"))
        self.process.send_signal(signal.SIGHUP)
        self.wait_state("READY=1", ready + 1)
        return len(self.lines("configuration read again")) > good

    def stop(self, number=signal.SIGTERM, seconds=10):
        status = self.program.stop(number, seconds)
        self.read_states()
        return status

    def cpu(self):
        """Seconds of all threads."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def resident(self, what="VmHWM"):
        """KiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith(what)))


class Stand:
    """router and collector, and on demand a client and a server on both sides of the router."""

    def __init__(self, lab, tracking=False):
        self.lab = lab
        self.router, self.collector = lab.namespace("router"), lab.namespace("collector")
        lab.wire(self.router, "exp0", self.collector, "eth0")
        self.router.address("exp0", f"{ROUTER}/24", "192.0.2.11/24", "fd99::1/64")
        self.collector.address("eth0", *(f"192.0.2.{n}/24" for n in range(2, 10)), f"{COLLECTOR6}/64")
        self.router.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        self.ports = iter(range(4739, 5000))
        self.client = self.server = None
        if tracking:
            self.router.nft(TRACK)

    def sides(self):
        self.client, self.server = self.lab.namespace("client"), self.lab.namespace("server")
        self.lab.wire(self.client, "eth0", self.router, "eth0")
        self.lab.wire(self.router, "eth1", self.server, "eth0")
        self.router.address("eth0", "10.20.0.1/24", "fd20::1/64")
        self.router.address("eth1", "10.30.0.1/24", "fd30::1/64")
        self.client.address("eth0", *(f"10.20.0.{n}/24" for n in (20, 21, 22)), f"{CLIENT6}/64")
        self.server.address("eth0", f"{SERVER}/24", f"{SERVER6}/64")
        self.client.route("default via 10.20.0.1", "default via fd20::1")
        self.server.route("default via 10.30.0.1", "default via fd30::1")

    def udp(self, address=COLLECTOR, port=None):
        return UdpSink(self.collector, address, port or next(self.ports))

    def tcp(self, address=COLLECTOR, port=None, buffer=None):
        return TcpSink(self.collector, address, port or next(self.ports), buffer)

    def configuration(self, groups, exporter="", conntrack="flows = all", netbird=""):
        return (f"[exporter]\nobservation-domain-id = 77\ntemplate-directory = {lib.TEMPLATES}\nlive-socket = @LIVE@\n"
                f"runtime-directory = @RUN@\nstate-directory = @RUN@-state\n{exporter}\n[conntrack]\n{conntrack}\n"
                f"[netbird]\n{netbird}\n" + "\n".join(groups))

    def daemon(self, groups, wrap=(), environment=None, await_sinks=(), wait=True, **sections):
        """A daemon with this configuration; it has sent something to each of await_sinks when this returns."""
        before = [(sink, len(sink.messages)) for sink in await_sinks]
        daemon = Daemon(self.lab, self.router, self.configuration(groups, **sections), wrap, environment, wait)
        for sink, messages in before:
            lib.wait_until(lambda s=sink, m=messages: len(s.messages) > m, 10, f"templates at {sink.address}")
        return daemon

    def generate(self, count, *options):
        """Makes entries in the kernel's table and deletes them. Returns how many there were."""
        return json.loads(self.router.run([CTGEN, "--count", str(count), *options]))["made"]


def viewer(lab, where, socket_path, *options):
    """peerflow live, connected: the daemon takes viewers in its main loop, and does so before it hears of a signal that
    comes later."""
    program = lab.start(where.router, PEERFLOW, "live", "--socket", socket_path, *options)
    lib.wait_until(lambda: program.process.poll() is not None or str(socket_path) in where.router.run(
        "ss -Hx state connected"), 5, "the viewer is connected")
    return program


def ends(record):
    """What tells one direction of a flow from another."""
    family = "IPv6" if "sourceIPv6Address" in record else "IPv4"
    return (record[f"source{family}Address"], record.get("sourceTransportPort"), record[f"destination{family}Address"],
            record.get("destinationTransportPort"), record["protocolIdentifier"])


def each_once(checks, what, records, expected):
    """Are there as many different flows as expected, and none of them twice?"""
    times = collections.Counter((r.get("flowId"), r.get("flowStartMilliseconds"), *ends(r)) for r in records)
    twice = [key for key, n in times.items() if n > 1]
    for key in twice[:5]:
        print(f"# twice: {key}")
    checks.equal(f"{what}: each flow once", (expected, 0), (len(times), len(twice)))


def valid(checks, what, sink):
    """Does everything the sink got follow the rules of the protocol?"""
    for rule, where, text in sink.violations()[:5]:
        print(f"# {rule} {where}: {text}")
    checks.equal(f"{what}: violations of the protocol", 0, len(sink.violations()))


def wait_time(daemon, text, seconds):
    """True as soon as the daemon's log holds text."""
    with contextlib.suppress(TimeoutError):
        lib.wait_until(lambda: text in daemon.text(), seconds, text)
    return text in daemon.text()


def run(cases):
    """Runs all cases, or those named on the command line, each in a lab of its own."""
    names = {case.__name__: case for case in cases}
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave configurations and logs behind")
    parser.add_argument("case", nargs="*", metavar="CASE", help=f"one of {', '.join(names)} (default: all)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.case if name not in names]:
        parser.error(f"no case {unknown[0]}")
    checks = lib.Checks()
    for name in arguments.case or names:
        began = time.monotonic()
        try:
            with lib.Lab(arguments.keep) as lab:
                names[name](checks, lab)
        except (Exception, subprocess.SubprocessError):     # pylint: disable=broad-except
            checks.true(name, False, f"expected no error, got {traceback.format_exc()}")
        print(f"# {name}: {time.monotonic() - began:.1f} s", flush=True)
    status = checks.end()
    return status if checks.passed or checks.failed or not checks.skipped else 0
