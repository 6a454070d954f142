#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is no flow lost when there is more than anybody can take, and does the router never pay for that?

    sudo tests/netns/test_overload.py [CASE ...]    PEERFLOWD: the program, if not build/peerflowd
                                                    LONG=1: with the numbers of a campaign"""

import collections
import contextlib
import os
import pathlib
import re
import signal
import socket
import struct
import sys
import threading
import time

import lib
import packets
import stand
import test_kernel
from stand import collector

LONG = bool(os.environ.get("LONG"))
MAX = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_max")
TABLE = 262144              # entries that the table shall take, where it takes more
NETLINK_NETFILTER, GROUP_DESTROY, CTA_ID, NLA_TYPE_MASK = 12, 1 << 2, 12, 0x3fff


def dropped(daemon, what):
    """How many flow ends were lost, by what the daemon said, and whether it said so without reserve."""
    numbers = re.findall(what + r" (at least )?(\d+) flow ends?\b", daemon.text())
    return sum(int(number) for _, number in numbers), not any(vague for vague, _ in numbers)


def statistics(where):
    """What connection tracking counted in the router, over all processors."""
    with where.router.entered():
        names, *lines = pathlib.Path("/proc/net/stat/nf_conntrack").read_text(encoding="ascii").splitlines()
    rows = [[int(word, 16) for word in line.split()] for line in lines]
    return {name: sum(row[i] for row in rows) for i, name in enumerate(names.split())}


class Count(threading.Thread):
    """Watches how many entries the router's table has, until it is stopped or the lab is gone."""

    def __init__(self, where):
        super().__init__(daemon=True)
        with where.router.entered():
            self._file = os.open("/proc/sys/net/netfilter/nf_conntrack_count", os.O_RDONLY)
        self._stopped = threading.Event()
        self.most = 0
        self.start()

    def now(self):
        return int(os.pread(self._file, 32, 0))

    def run(self):
        with contextlib.suppress(OSError):
            while not self._stopped.wait(0.002):
                self.most = max(self.most, self.now())

    def stop(self):
        self._stopped.set()
        self.join()
        os.close(self._file)


@contextlib.contextmanager
def table_size():
    """The size of the table, which is the same for all namespaces: one that can be filled, and afterwards the old."""
    before = MAX.read_text(encoding="ascii")
    try:
        if int(before) > TABLE or int(before) == 0:
            MAX.write_text(str(TABLE), encoding="ascii")
        yield int(MAX.read_text(encoding="ascii"))
    finally:
        if MAX.read_text(encoding="ascii") != before:
            MAX.write_text(before, encoding="ascii")


def fill(where, count, *options):
    """Makes entries that stay."""
    return where.generate(count, "--window", str(count), "--keep", *options)


def tcp_stand(lab, conntrack=""):
    """A daemon and one collector that loses nothing."""
    where = test_kernel.quiet_stand(lab)
    sink = where.tcp()
    daemon = where.daemon([collector("one", sink, records="biflow", queue="1G")], conntrack=conntrack)
    lib.wait_until(lambda: sink.accepted, 10, "the collector's session")
    return where, sink, daemon


def quiet(checks, lab):
    """On a router where nothing else happens: ends are told within two seconds, by default."""
    where = test_kernel.quiet_stand(lab)
    sink = where.udp()
    daemon = where.daemon([collector("one", sink, records="biflow")], await_sinks=[sink])
    where.router.sysctl(net__netfilter__nf_conntrack_udp_timeout=1)
    lags = []
    for number in range(20 if LONG else 5):
        before = len(sink.messages)
        test_kernel.exchange(where, port=7100 + number)
        lib.wait_until(lambda: len(sink.messages) > before, 10, "the flow")     # pylint: disable=cell-var-from-loop
        arrived = sink.messages[before][2] / 1e9
        ended = max(r["flowEndMilliseconds"] for r in sink.flows()) / 1000
        lags.append(arrived - ended - 1)
        time.sleep(number * 0.37 % 1)       # so that it ends at any moment between two sweeps
    lags.sort()
    print(f"# told after expiry: {lags[0]:.2f} to {lags[-1]:.2f} s")
    # All but one, as a machine with other work may halt for a second, too.
    checks.true("ends are told within two seconds of their expiry", lags[-2] < 2, f"took {lags}")
    checks.equal("exit status", 0, daemon.stop())


def stopped(checks, lab):
    """The daemon is stopped for five seconds while flows end: all of them are told afterwards, and once."""
    flows = 200000 if LONG else 30000
    where, sink, daemon = tcp_stand(lab, "" if LONG else "receive-buffer = 4M")
    expected = fill(where, flows)
    daemon.process.send_signal(signal.SIGSTOP)
    where.router.run("conntrack -F")
    count = Count(where)
    time.sleep(5)
    held = count.now()
    daemon.process.send_signal(signal.SIGCONT)
    stand.each_once(checks, "stopped", sink.wait_flows(expected, 120), expected)
    checks.true("the kernel held some for us", held > flows / 3, f"held {held}")
    lib.wait_until(lambda: count.now() < 100, 10, "the table is empty")
    count.stop()
    print(f"# {held} of {flows} waited in the table")
    checks.equal("nothing is said to be lost", [], daemon.lines("dropped") + daemon.lines("given up"))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "stopped", sink)


class Traffic(threading.Thread):
    """Conversations through the router, each a flow of its own: none of their packets may be lost."""

    def __init__(self, where):
        super().__init__(daemon=True)
        self._where = where
        self._stopped = threading.Event()
        self.done, self.failure = 0, None
        self.start()

    def run(self):
        while not self._stopped.is_set() and not self.failure:
            try:
                port = 20000 + self.done % 20000
                packets.udp(self._where.client, (stand.CLIENT, port), (stand.SERVER, 9000), self._where.server,
                            (stand.SERVER, 9000))
                self.done += 1
            except OSError as error:
                self.failure = f"after {self.done}: {error}"

    def stop(self):
        self._stopped.set()
        self.join()


def nearly_full(checks, lab, size, wait):
    where, sink, daemon = tcp_stand(lab, "receive-buffer = 1M")
    before = statistics(where)
    daemon.process.send_signal(signal.SIGSTOP)
    made = fill(where, int(size * 0.6))
    time.sleep(1)
    where.router.run("conntrack -F")
    count = Count(where)
    held = count.now()
    traffic = Traffic(where)
    time.sleep(wait)
    # Together with the dead ones these are more than the table takes.
    made += fill(where, int(size * 0.6), "--tcp")
    time.sleep(0.5)
    traffic.stop()
    count.stop()
    print(f"# {held} waited; {traffic.done} conversations; the table was filled to {count.most / size:.1%}")
    after = statistics(where)
    checks.true("the kernel held many for us", held > size * 0.5, f"held {held}")
    checks.equal("packets the router dropped, entries it threw out", [0, 0], [
        after[name] - before[name] for name in ("drop", "early_drop")])
    checks.true("conversations went on", traffic.done and not traffic.failure, f"got {traffic.failure}")
    checks.true("there was room all the time", count.most < size, f"filled to {count.most} of {size}")
    daemon.process.send_signal(signal.SIGCONT)
    checks.true("said", stand.wait_time(daemon, "filling up", 10), daemon.text())
    where.router.run("conntrack -F")
    checks.true("reliable again", stand.wait_time(daemon, "delivered reliably again", 30), daemon.text())
    last = fill(where, 5000, "--ipv6")
    where.router.run("conntrack -F")
    lib.wait_until(lambda: sum("sourceIPv6Address" in r for r in sink.flows()) >= last, 60, "the last flows")
    checks.equal("exit status", 0, daemon.stop())
    lost, exact = dropped(daemon, "meanwhile the kernel dropped")
    flows = sink.flows()
    made += last + traffic.done
    stand.each_once(checks, "what came", flows, made - lost if exact else len(flows))
    # Where ends come in the very moment in which the fuse blows, a few may be lost that nobody can count.
    checks.true("what came and what was said to be lost", 0 <= made - lost - len(flows) <= (0 if exact else 100),
                f"made {made}, came {len(flows)}, said to be lost {lost}{'' if exact else ' at least'}")
    print(f"# {len(flows)} flows came, {lost} were lost and said to be; {daemon.lines('filling up')[0][-40:]}")
    stand.valid(checks, "nearly full", sink)


def fuse(checks, lab):
    """The same with a table that comes near its maximum: the fuse blows, and how many were lost is told to the flow."""
    with table_size() as size:
        nearly_full(checks, lab, size, 2)


def fuse_at_once(checks, lab):
    """And within the second after which the kernel tries to deliver for the second time."""
    with table_size() as size:
        nearly_full(checks, lab, size, 0)


class Listener(threading.Thread):
    """Another listener, as the mesh's own client is: counts each flow's end."""

    def __init__(self, where):
        super().__init__(daemon=True)
        self._socket = where.router.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, GROUP_DESTROY))
        self._socket.setsockopt(socket.SOL_SOCKET, stand.SO_RCVBUFFORCE, 16 << 20)
        self._socket.settimeout(0.1)
        self._stopped = threading.Event()
        self.ends = collections.Counter()
        self.start()

    @staticmethod
    def identity(message):
        at = 20
        while at + 4 <= len(message):
            length, kind = struct.unpack_from("=HH", message, at)
            if kind & NLA_TYPE_MASK == CTA_ID:
                return message[at + 4:at + 8]
            at += (length + 3) & ~3
        return None

    def run(self):
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                message = self._socket.recv(4096)
                # The id alone is a hash; the tuples begin the message.
                self.ends[self.identity(message), message[20:100]] += 1

    def stop(self):
        self._stopped.set()
        self.join()
        self._socket.close()


def beside(checks, lab):
    """Another listener hears of each end once, as long as nothing is out of the ordinary."""
    where, sink, daemon = tcp_stand(lab)
    listener = Listener(where)
    made = where.generate(40000 if LONG else 10000, "--rate", "5000")
    made += fill(where, 10000, "--tcp")
    where.router.run("conntrack -F")
    stand.each_once(checks, "peerflow's", sink.wait_flows(made, 60), made)
    lib.wait_until(lambda: len(listener.ends) >= made, 20, "the other's")
    time.sleep(2)
    listener.stop()
    checks.equal("the other's: each once", (made, made), (len(listener.ends), sum(listener.ends.values())))
    checks.equal("exit status", 0, daemon.stop())


def guardians(where):
    """Processes named peerflow-fuse in the router."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "comm").read_text(encoding="ascii") == "peerflow-fuse\n" and os.stat(
                    path / "ns/net").st_ino == os.fstat(where.router.fd).st_ino:
                found.append(int(path.name))
    return found


def guardian(checks, lab):
    """There is one as long as there is a daemon, and no reliable delivery without it."""
    where, sink, daemon = tcp_stand(lab)
    first = guardians(where)
    checks.equal("one guardian", 1, len(first))
    descriptors = sorted(os.readlink(f"/proc/{first[0]}/fd/{fd}") for fd in os.listdir(f"/proc/{first[0]}/fd"))
    checks.equal("what it holds", ["/proc/sys/net/netfilter/nf_conntrack_count",
                                   "/proc/sys/net/netfilter/nf_conntrack_max", "socket", "socket", "socket"],
                 [name.split(":")[0] for name in descriptors])
    os.kill(first[0], signal.SIGKILL)
    checks.true("killed: said", stand.wait_time(daemon, "delivered plainly", 5), daemon.text())
    checks.true("killed: reliable again", stand.wait_time(daemon, "delivered reliably again", 30), daemon.text())
    second = guardians(where)
    checks.true("another one", len(second) == 1 and second != first, f"got {second} after {first}")
    made = fill(where, 1000)
    where.router.run("conntrack -F")
    stand.each_once(checks, "flows", sink.wait_flows(made), made)
    for option in ("reliable = no", ""):
        checks.true(f"reload with {option or 'the defaults'}", daemon.reload(where.configuration(
            [collector("one", sink, records="biflow", queue="1G")], conntrack=option)), daemon.text())
        lib.wait_until(lambda o=option: len(guardians(where)) == (not o), 5, "guardians as configured")
    daemon.process.send_signal(signal.SIGKILL)
    lib.wait_until(lambda: not guardians(where), 5, "the daemon is killed: its guardian is gone")
    checks.equal("exit status", -signal.SIGKILL, daemon.stop())
    other = where.daemon([collector("one", sink, records="biflow")])
    checks.equal("another daemon: one guardian", 1, len(guardians(where)))
    checks.equal("exit status", 0, other.stop())
    checks.equal("no guardian is left", [], guardians(where))


CASES = (quiet, stopped, fuse, fuse_at_once, beside, guardian)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
