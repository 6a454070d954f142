#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""peerflow check: does it say what is well and what is not, and how the mesh runs, on hosts where we know?

    sudo tests/netns/test_check.py [CASE ...]     PEERFLOWD: the program, if not build/peerflowd"""

import hashlib
import json
import re
import signal
import struct
import subprocess
import sys
import time

import lib
import stand
import wireguard
from stand import collector

RULES = "table ip netbird { chain netbird-mangle-prerouting { type filter hook prerouting priority -150; }\n}\n"
OLD_NAMES = "table ip mangle { chain NETBIRD-RT-PRE { }\n}\n"


def check(where, path, wrap=()):
    """What it says: subject to (word, text); and its exit status."""
    program = where.lab.start(where.router, *wrap, stand.PEERFLOW, "check", "--config", path)
    status = program.process.wait(120)
    lines = [line for line in program.text().splitlines() if not line.startswith("peerflow check: ")]
    said = {line[7:31].strip(): (line[:5].strip(), line[33:]) for line in lines}
    if any(line[5:7] != "  " or line[31:33] != "  " for line in lines):
        raise RuntimeError(f"not aligned: {lines}")
    return said, status


def configuration(where, groups, **sections):
    path, text = where.lab.directory / "check.conf", where.configuration(groups, **sections)
    for word in ("LIVE", "RUN", "STATE"):
        text = text.replace(f"@{word}@", str(where.lab.directory / word.lower()))
    path.write_text(text, encoding="utf-8")
    return path


def client(where, kernel, up=True):
    """A command as NetBird's, which says that much."""
    path = where.lab.directory / "netbird"
    status = {"daemonStatus": "Connected" if up else "NeedsLogin", "netbirdIp": "100.90.0.1/16" if up else "",
              "usesKernelInterface": kernel, "peers": {"details": None}, "fqdn": "router-a.netbird.selfhosted"}
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(status)}\nEND\n", encoding="ascii")
    path.chmod(0o755)
    return f"status = command\ncommand = {path}\n"


def well(checks, lab):
    """A daemon at work."""
    where = stand.Stand(lab, tracking=True)
    udp, tcp = where.udp(), where.tcp()
    daemon = where.daemon([collector("one", udp), collector("two", tcp, source_address=stand.ROUTER)],
                          netbird="interface = exp0\nstatus = off\n")
    said, status = check(where, daemon.path)
    checks.equal("exit status", 0, status)
    checks.equal("nothing is wrong", [], [s for s, (word, _) in said.items() if word == "WRONG"])
    for subject, text in (
            ("configuration", rf"{daemon.path} is good"), ("peerflowd", "runs and listens at "),
            ("rights", "CAP_NET_ADMIN"), ("connection tracking", r"\d+ of at most \d+ entries$"),
            ("nf_conntrack_acct", "is 1$"), ("nf_conntrack_timestamp", "is 1$"), ("nf_conntrack_events", "is 1$"),
            ("mesh", "The mesh's interface exp0 is an ordinary one"),
            ("collector one", rf"{stand.COLLECTOR} port {udp.port} does not refuse"),
            ("collector two", rf"{stand.COLLECTOR} port {tcp.port} takes connections"),
            ("runtime-directory", "can be written$"), ("state-directory", "can be written$")):
        word, shown = said.get(subject, ("", ""))
        checks.true(subject, word == "ok" and re.search(text, shown), f"expected ok {text!r} got {word} {shown!r}")
    checks.equal("the collector got one empty datagram", 1, len([m for m in udp.messages if not m[3]]))
    where.router.sysctl(net__netfilter__nf_conntrack_acct=0)
    said, status = check(where, daemon.path)
    checks.equal("a setting that was switched off", ("WRONG", 1), (said["nf_conntrack_acct"][0], status))
    daemon.stop()
    said, status = check(where, daemon.path)
    checks.equal("the daemon ended", ("WRONG", "note", 1), (said["peerflowd"][0], said["nf_conntrack_acct"][0], status))


def wrong(checks, lab):
    """One thing at a time."""
    where = stand.Stand(lab)
    none = "interface = exp0\nstatus = off\nwireguard = off\n"
    good = [collector("a", (stand.ROUTER, 9))]
    for what, groups, sections, subject, pattern in (
            ("a port where nobody listens", good, {}, "collector a", f"{stand.ROUTER} port 9: Connection refused"),
            ("the same over TCP", [collector("a", (stand.ROUTER, 9), transport="tcp")], {}, "collector a",
             "Connection refused"),
            ("no way to the collector", [collector("a", ("2001:db8::1", 9))], {}, "collector a", "Network is unreachable"),
            ("a name that nobody has", [collector("a", ("collector.invalid", 9))], {}, "collector a",
             "collector.invalid: "),
            ("an address that is not ours", [collector("a", (stand.COLLECTOR, 9), source_address="192.0.2.99")], {},
             "collector a", "Cannot assign requested address"),
            ("a mistake in the file", [], {"exporter": "nonsense = 1"}, "configuration", "nonsense"),
            ("a template that is missing", [collector("a", (stand.ROUTER, 9), template="nothing")], {}, "configuration",
             "nothing.template"),
            ("no interface", [], {"netbird": "status = off\ninterface = wt7\n"}, "mesh", "There is no interface wt7"),
            ("a command that fails", [], {"netbird": "interface = exp0\nstatus = command\ncommand = /bin/false\n"},
             "names from netbird", "command: ")):
        said, status = check(where, configuration(where, groups, **{"netbird": none, **sections}))
        word, text = said.get(subject, ("", ""))
        checks.true(what, word == "WRONG" and pattern in text, f"expected WRONG {pattern!r} got {word} {text!r}")
        checks.equal(f"{what}: exit status", 1, status)
    said, _ = check(where, configuration(where, [], netbird=none), ("setpriv", "--bounding-set=-net_admin"))
    checks.equal("rights", "WRONG", said["rights"][0])
    said, _ = check(where, configuration(where, [], netbird=none).with_name("absent.conf"))
    checks.true("no file", "No such file" in said["configuration"][1], f"got {said['configuration']}")


def modes(checks, lab):
    """Every way that a mesh runs, on interfaces of the real wireguard-go."""
    where = stand.Stand(lab)
    tunnels = wireguard.Interface(lab, where.router, "wt0", 51820)
    off, kernel, program = "status = off\n", client(where, True), client(where, False)
    for what, rules, netbird, interface, word, pattern in (
            ("wireguard-go without NetBird", "", off, "wt0", "ok", "belongs to a program such as wireguard-go"),
            ("an ordinary interface", "", off, "exp0", "ok", "is an ordinary one"),
            ("nothing", "", off, "wt1", "WRONG", "There is no interface wt1 and no NetBird"),
            ("a router in NetBird's process", "", program, "wt0", "WRONG", "routes inside its own process"),
            ("netstack", "", program, "wt1", "WRONG", "NetBird runs without an interface"),
            ("another interface", "", kernel, "wt1", "WRONG", "not with the interface wt1"),
            ("wireguard-go with rules", RULES, program, "wt0", "ok", "with its rules in the kernel"),
            ("rules by iptables' names", OLD_NAMES, program, "wt0", "ok", "with its rules in the kernel"),
            ("rules, but another interface", RULES, program, "wt1", "WRONG", "not with the interface wt1")):
        # The command says what it was told last.
        if netbird is kernel:
            client(where, True)
        if netbird is program:
            client(where, False)
        where.router.nft("flush ruleset\n" + rules)
        said, _ = check(where, configuration(where, [], netbird=f"interface = {interface}\n{netbird}"), tunnels.wrap)
        shown = said["mesh"]
        checks.true(what, shown[0] == word and pattern in shown[1], f"expected {word} {pattern!r} got {shown}")
    client(where, False, up=False)
    where.router.nft("flush ruleset\n")
    said, _ = check(where, configuration(where, [], netbird=f"interface = wt1\n{program}"))
    checks.true("a client that is not logged in", "There is no interface wt1 and no NetBird" in said["mesh"][1],
                f"got {said['mesh']}")


def told(checks, lab):
    """The daemon says how the mesh runs once, and again when that changes."""
    where = stand.Stand(lab)
    tunnel = wireguard.Interface(lab, where.router, "wt0", 51820)
    command = client(where, False)
    daemon = where.daemon([], netbird=f"interface = wt0\n{command}refresh = 1s\n", wrap=tunnel.wrap)
    blind, seeing = "routes inside its own process", "with its rules in the kernel"
    checks.true("blind: in the log", stand.wait_time(daemon, blind, 10), f"got {daemon.text()}")
    status = json.loads(where.router.run([stand.PEERFLOW, "status", "--json", "--socket",
                                           str(daemon.run / "status")]))
    checks.equal("blind: in the status", "userspace-router", status["daemon"]["mesh"])
    where.router.nft(RULES)
    where.router.ip("link add other type veth peer name another")        # links change when NetBird sets up its own
    checks.true("seeing: in the log", stand.wait_time(daemon, seeing, 10), f"got {daemon.text()}")
    where.router.ip("link del other")
    where.router.ip("link del wt0")
    checks.true("the interface is gone", stand.wait_time(daemon, "not with the interface wt0", 10), f"got {daemon.text()}")
    checks.equal("each is said once", [1, 1], [len(daemon.lines(words)) for words in (blind, seeing)])


def tunnel(checks, lab):
    """wireguard-go tells who is behind which prefix."""
    where = stand.Stand(lab)
    one = wireguard.Interface(lab, where.router, "wt0", 51820)
    path = configuration(where, [], netbird="status = off\n")
    said, _ = check(where, path, one.wrap)
    checks.equal("without peers", ("ok", "0 prefixes from WireGuard's socket of wt0"), said["names from wireguard"])
    other = wireguard.Interface(lab, where.collector, "wt0", 51820)
    one.peer(other, "100.90.0.2/32", "10.30.0.0/24", "fd12::2/128")
    said, _ = check(where, path, one.wrap)
    checks.equal("with one", ("ok", "3 prefixes from WireGuard's socket of wt0"), said["names from wireguard"])
    said, _ = check(where, path)
    checks.true("where its socket cannot be seen", said["names from wireguard"][0] == "note"
                and "wt0 is not the kernel's WireGuard" in said["names from wireguard"][1],
                f"got {said['names from wireguard']}")
    one.program.process.send_signal(19)     # SIGSTOP: it listens, and is silent
    said, status = check(where, path, one.wrap)
    one.program.process.send_signal(18)
    checks.true("silent", said["names from wireguard"][0] == "WRONG" and "no whole answer in time"
                in said["names from wireguard"][1] and status == 1, f"got {said['names from wireguard']}")


class Archive:
    """Files with a chain, by the words of chain.h and not by its code."""

    def __init__(self, directory):
        self.directory, self.head, self.lines = directory, "0" * 64, []
        directory.mkdir()

    def add(self, number, *words):
        line = " ".join((f"{number:06}", self.name(number), *words)) + " "
        self.head = hashlib.sha256((self.head + line).encode()).hexdigest()
        self.lines.append(line + self.head)
        (self.directory / "chain").write_text("\n".join(self.lines) + "\n", encoding="ascii")

    @staticmethod
    def name(number):
        return f"flows-20261122T14{number:02}00Z-{number:06}.ipfix"

    def keep(self, number):
        octets = struct.pack("!HHIII", 10, 16, 1700000000, 0, 7) * number
        (self.directory / self.name(number)).write_bytes(octets)
        self.add(number, str(len(octets)), hashlib.sha256(octets).hexdigest())

    def check(self, *options):
        done = subprocess.run([stand.PEERFLOW, "check", "--archive", self.directory, *options], capture_output=True,
                              text=True, check=False)
        return done.returncode, done.stdout.splitlines(), done.stderr


def archived(checks, lab):
    """An archive, and what somebody may do to it."""
    archive = Archive(lab.directory / "kept")
    for number in (1, 2, 3):
        archive.keep(number)
    (archive.directory / archive.name(1)).unlink()
    archive.add(1, "expired", "age")
    middle = archive.head
    archive.keep(4)
    sound = [f"ok     {archive.directory}: 3 files with 144 octets of messages, 1 more expired, 0 open",
             f"       head of the chain {archive.head}"]
    checks.equal("sound", (0, sound, ""), archive.check())
    checks.equal("with a head of the log", (0, sound, ""), archive.check("--head", middle))
    status, lines, _ = archive.check("--head", "1" * 64)
    checks.equal("with one that never was", (65, f"wrong  chain: {'1' * 64} is not in it: what led to it was removed or "
                                             "changed"), (status, lines[0]))
    path = archive.directory / archive.name(3)
    octets = path.read_bytes()
    path.write_bytes(octets[:16] + b"\x00\x09" + octets[18:])
    status, lines, errors = archive.check()
    checks.equal("an octet is another", (65, [f"wrong  {path.name}: octet 16: not an IPFIX message",
                                              f"wrong  {path.name}: was changed: its sum is not the one it had when it was "
                                              "closed"]), (status, lines[:2]))
    checks.equal("how many", "peerflow check: 2 things are wrong\n", errors)
    path.unlink()
    status, lines, errors = archive.check()
    checks.equal("it is gone", (65, f"wrong  {path.name}: is not there: somebody removed it"), (status, lines[0]))
    checks.equal("one", "peerflow check: 1 thing is wrong\n", errors)
    (archive.directory / "chain").unlink()
    checks.equal("no chain", (66, []), archive.check()[:2])


def written(checks, lab):
    """The archive of a daemon: at work, killed, and ended by the next one."""
    where = stand.Stand(lab, tracking=True)
    path = lab.directory / "flows"

    def check_it(what):
        done = subprocess.run([stand.PEERFLOW, "check", "--archive", path], capture_output=True, text=True, check=False)
        files = int((re.search(r": (\d+) files with", done.stdout) or (0, 0))[1])
        checks.true(what, done.returncode == 0 and files >= 1,
                    f"got {done.returncode} {done.stdout} {done.stderr}")
        return files

    def begin():
        daemon = where.daemon([], netbird=f"status = off\nwireguard = off\n[archive]\npath = {path}\nrotate = 1s\n")
        for _ in range(4):
            where.generate(2000)
            time.sleep(0.7)
        return daemon

    daemon = begin()
    check_it("at work")
    where.generate(2000)
    daemon.stop(signal.SIGKILL)
    files = check_it("killed")
    daemon = begin()
    more = check_it("at work again")
    checks.true("goes on", more > files, f"{files}, then {more} files")
    checks.equal("ends", 0, daemon.stop())
    check_it("ended")
    heads = [line.split()[-1] for line in daemon.lines("head of the chain")]
    done = subprocess.run([stand.PEERFLOW, "check", "--archive", path, "--head", heads[0]], capture_output=True,
                          check=False)
    checks.equal("a head of the log", 0, done.returncode)
    checks.equal("no file is open", [], list(path.glob("*.part")))
    for file in sorted(path.glob("flows-*")):
        octets = file.read_bytes()
        at = len(octets) // 2
        file.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1:])
    done = subprocess.run([stand.PEERFLOW, "check", "--archive", path], capture_output=True, text=True, check=False)
    named = set(re.findall(r"wrong  (flows-[^:]*): ", done.stdout))
    checks.equal("every file that was changed is named", (65, {file.name for file in path.glob("flows-*")}),
                 (done.returncode, named))


CASES = (well, wrong, modes, told, tunnel, archived, written)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
