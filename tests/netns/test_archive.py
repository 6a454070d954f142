#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What passed a router stands in the archive on it: each flow once, with what the kernel counted and with names, whatever
happens to the daemon and to the disk. The files are read with a reader of their own, by tshark, and nfcapd has the same
sums.

PEERFLOW_KILLS and PEERFLOW_RATE are those of test_restart.py."""

import collections
import hashlib
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import time

import lib
import stand
import test_restart as restart
from stand import collector

MARK, TEMPLATES = re.compile(r"flows-\d{8}T\d{6}Z-(\d{6,})\.ipfix(\.columns|\.zst|\.part)?$"), 2
COMMON = {275: 9, 276: 8, 277: 1}      # strings about the initiator, the responder, the policy
PROPERTIES = 137
FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q", 16: "16s"}
ELEMENTS = {148: "flow", 8: "source", 12: "destination", 7: "source_port", 11: "destination_port", 4: "protocol",
            2: "packets", 1: "octets", (29305, 2): "reply_packets", (29305, 1): "reply_octets", 152: "start", 153: "end",
            136: "why", 239: "direction"}
COUNTERS = ("packets", "octets", "reply_packets", "reply_octets")
PEERS = "10.20.0.20 alice user=alice@example.org groups=staff\n10.30.0.30 database id=db1\n10.20.0.0/24 site-a\n"


class Files:
    """The files of an archive, in the order they were written."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def paths(self):
        """The most finished form of each."""
        best = {}
        for path in sorted(self.directory.glob("flows-*"), key=lambda p: len(p.name)):
            found = MARK.match(path.name)
            if found and (found[2] != ".part" or int(found[1]) not in best):
                best[int(found[1])] = path
        return [best[number] for number in sorted(best)]

    @staticmethod
    def octets(path):
        unpack = {".columns": [stand.PEERFLOW, "unpack"], ".zst": ["zstd", "-d", "-c", "-q"]}.get(path.suffix)
        if unpack:
            return subprocess.run([*unpack, path], check=True, capture_output=True).stdout
        return path.read_bytes()

    def validator(self):
        """Everything by the rules of the protocol; a file is a session."""
        judge = stand.validate.Validator(size=65535)
        for path in self.paths():
            octets, at = self.octets(path), 0
            while at < len(octets):
                length = struct.unpack_from("!H", octets, at + 2)[0]
                judge.message(path.name, "file", None, octets[at:at + length])
                at += max(length, 1)
        return judge

    def flows(self):
        """All flow records, each with the strings that its properties are, as dictionaries."""
        for path in self.paths():
            yield from Reading(self.octets(path)).flows()

    def chain(self):
        try:
            return (self.directory / "chain").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []


class Reading:
    """One file. Anything that is not as it should be is an error."""

    def __init__(self, octets):
        self.octets = octets
        self.templates, self.common = {}, {}
        self.sequence = collections.Counter()

    def flows(self):
        at, octets = 0, self.octets
        while at < len(octets):
            version, length, _, sequence, domain = struct.unpack_from("!HHIII", octets, at)
            assert version == 10 and at + length <= len(octets), f"no whole message at octet {at}"
            if struct.unpack_from("!H", octets, at + 16)[0] == TEMPLATES:
                self.templates, self.common = {}, {}
            assert sequence == self.sequence[domain], f"sequence at octet {at}"
            yield from self._sets(at + 16, at + length, domain)
            assert max(self.common, default=0) == len(self.common), "numbers of properties count from one"
            at += length

    def _sets(self, at, end, domain):
        while at < end:
            number, length = struct.unpack_from("!HH", self.octets, at)
            if number == TEMPLATES:
                self._learn(at + 4)
            elif number in COMMON:
                self._strings(at + 4, at + length, domain, COMMON[number])
            elif number in self.templates:
                names, layout = self.templates[number]
                body = self.octets[at + 4:at + length]
                self.sequence[domain] += len(body) // layout.size
                for values in layout.iter_unpack(body):
                    flow = dict(zip(names, values))
                    flow["who"], flow["whom"], flow["policy"] = (
                        self.common[flow[f"common{i}"]] if flow[f"common{i}"] else None for i in range(3))
                    yield flow
            elif number >= 256:
                self.sequence[domain] += self._others(number, at + 4, at + length)
            at += length

    def _learn(self, at):
        number, count = struct.unpack_from("!HH", self.octets, at)
        names, formats = [], "!"
        at += 4
        for i in range(count):
            element, length = struct.unpack_from("!HH", self.octets, at)
            at += 4
            if element & 0x8000:
                element = struct.unpack_from("!I", self.octets, at)[0], element & 0x7fff
                at += 4
            common = element == PROPERTIES and sum(name.startswith("common") for name in names)
            names.append(ELEMENTS.get(element, f"field{i}") if common is False else f"common{common}")
            formats += FORMATS[length]
        self.templates[number] = names, struct.Struct(formats)

    def _strings(self, at, end, domain, count):
        while at < end:
            number, = struct.unpack_from("!I", self.octets, at)
            assert number not in self.common, "a number of properties has one meaning"
            at += 4
            strings = []
            for _ in range(count):
                length = self.octets[at]
                at += 1
                if length == 255:
                    length, = struct.unpack_from("!H", self.octets, at)
                    at += 2
                strings.append(self.octets[at:at + length].decode())
                at += length
            self.common[number] = strings
            self.sequence[domain] += 1

    def _others(self, number, at, end):
        fixed = {279: 68, 280: 40, 285: 46}
        if number in fixed:
            return (end - at) // fixed[number]
        assert number == 282, f"data of template {number}"
        count = 0
        while at < end:
            at += 9 + self.octets[at + 8]
            count += 1
        return count


class Reader(restart.Reader):
    """Sums of what the archive holds, by flow, as test_restart.py has them of a collector."""

    def __init__(self, directory):
        super().__init__(None, None)
        self.files = Files(directory)

    def read(self):
        for flow in self.files.flows():
            assert flow["direction"] == 1
            self._take((flow["flow"], flow["source"], flow["destination"], flow["source_port"], flow["destination_port"],
                        flow["protocol"], *(flow[name] for name in COUNTERS), flow["start"], flow["end"], flow["why"], 1))


def archive_of(daemon):
    return Files(f"{daemon.run}-state/archive")


def archive_status(where, daemon):
    said = where.router.run([stand.PEERFLOW, "status", "--json", "--socket", str(daemon.run / "status")])
    return json.loads(said)["archive"]


def settle(where, daemon):
    """All flows are in files."""
    try:
        lib.wait_until(lambda: archive_status(where, daemon)["flows_waiting"] == 0, 60, "all is written")
    except TimeoutError as error:
        raise RuntimeError(f"{archive_status(where, daemon)}\n{daemon.text()}") from error


def totals(flows):
    return tuple(sum(f[name] for f in flows) for name in COUNTERS)


def sides(where):
    where.sides()
    where.router.nft(restart.RULES)
    where.router.sysctl(**{f"net__netfilter__nf_conntrack_{key}": 1 for key in ("acct", "timestamp", "events")},
                        **{f"net__netfilter__nf_conntrack_{key}": value for key, value in restart.TIMEOUTS.items()})


def nfcapd_sums(text):
    """Of all its files: it begins another one at the full hour."""
    return tuple(sum(map(int, re.findall(rf"^{word}: (\d+)", text, re.MULTILINE))) for word in ("Packets", "Bytes"))


def files(checks, lab):
    """Real flows through NAT, in files that others read, with names, and with the sums that nfcapd has."""
    where = stand.Stand(lab)
    sides(where)
    peers = lab.directory / "peers"
    peers.write_text(PEERS, encoding="utf-8")
    directory = lab.directory / "nfcapd"
    directory.mkdir()
    nfcapd = lab.start(where.collector, "nfcapd", "-w", directory, "-p", "4739", "-t", "3600")
    nfcapd.wait_for("Startup nfcapd")
    daemon = where.daemon([collector("nfcapd", (stand.COLLECTOR, 4739))],
                          netbird=f"peers-file = {peers}\nstatus = off\nwireguard = off\n[archive]\nrotate = 3s\n")
    lab.start(where.server, stand.TRAFFIC, "serve", stand.SERVER, "7000", "--time", "3600").wait_for("")
    time.sleep(0.5)
    said = where.client.run([stand.TRAFFIC, "send", stand.SERVER, "7000", "--udp", "1500", "--tcp", "500", "--rate",
                             "400", "--time", "20", "--source", stand.CLIENT, "--source", "10.20.0.21"])
    print(f"# {said.strip()[:200]}")
    lib.wait_until(lambda: not any("src=10.20." in line for line in where.router.conntrack()), 60, "all flows ended")
    time.sleep(1)
    checks.equal("files: the daemon ends", 0, daemon.stop())
    nfcapd.stop()
    kept = archive_of(daemon)
    flows = [flow for flow in kept.flows() if flow["source"] >> 16 == 10 << 8 | 20]
    packets, octets, reply_packets, reply_octets = totals(flows)
    shown = "".join(subprocess.run(["nfdump", "-r", path, "-I"], capture_output=True, text=True, check=False).stdout
                    for path in directory.glob("nfcapd.*"))
    print(f"# {len(kept.paths())} files, {len(flows)} flows, {packets} and {reply_packets} packets")
    checks.true("files: several of them", len(kept.paths()) > 1, f"{kept.paths()}")
    checks.true("files: hundreds of flows", len(flows) > 1000, f"{len(flows)}")
    everything = totals(list(kept.flows()))
    checks.equal("files: packets and octets of nfcapd", (everything[0] + everything[2], everything[1] + everything[3]),
                 nfcapd_sums(shown))
    checks.equal("files: none is open", [], [p.name for p in kept.paths() if p.suffix == ".part"])
    judge = kept.validator()
    checks.equal("files: violations of the protocol", [], [v for v in judge.violations if v[0] != "O2"][:3])
    names = collections.Counter((flow["who"] or ["-"] * 9)[1] for flow in flows)
    users = {(flow["who"] or ["-"] * 9)[3] for flow in flows if flow["source"] & 255 == 20}
    checks.equal("files: who it was", ({"alice", "site-a"}, {"alice@example.org"}), (set(names), users))
    told = sum(r["template"] in COMMON for r in judge.records)
    checks.true("files: names are told once", 2 <= told <= 6 * len(kept.paths()), f"{told} times")
    tshark(checks, lab, kept)


def tshark(checks, lab, kept):
    """Nothing is malformed, and names are there, in the first file with flows of alice."""
    for path in kept.paths():
        octets = kept.octets(path)
        if b"alice" in octets:
            break
    plain = lab.directory / "plain.ipfix"
    plain.write_bytes(octets)
    shown = subprocess.run(["tshark", "-r", plain, "-V"], capture_output=True, text=True, check=True).stdout
    checks.equal("tshark: all flows", len(list(Reading(octets).flows())), shown.count("Flow Id:"))
    checks.true("tshark: names, and nothing malformed", "User Name: alice" in shown and "alformed" not in shown,
                shown[-2000:])


class Trial(restart.Trial):
    """That of test_restart.py, with an archive."""

    archive = ""

    def _configuration(self):
        return super()._configuration() + f"[archive]\npath = {self.directory}/archive\nrotate = 2s\n{self.archive}\n"

    def judge(self, checks, what):
        super().judge(checks, what)
        truth, _ = restart.read_truth(self.truth_path)
        reader = Reader(f"{self.directory}/archive")
        reader.read()
        print(f"# {what}, archive: {reader.records} records in {len(reader.files.paths())} files")
        restart.compare(checks, f"{what}, archive", truth, reader)


def killed(checks, lab):
    """SIGKILL at random moments under load: no flow is missing in the archive, and none is there twice."""
    seed = int(os.environ.get("SEED", str(random.randrange(10**6))))
    chance = random.Random(seed)
    trial = Trial(lab)
    print(f"# SEED={seed}, {restart.KILLS} kills, {restart.RATE} flows/s")
    trial.supervisor.start()
    trial.traffic()
    for _ in range(restart.KILLS):
        time.sleep(chance.uniform(0, 3))
        trial.supervisor.kill(chance)
        time.sleep(chance.choice((0, chance.uniform(0, 1))))
        trial.supervisor.start()
    time.sleep(1)
    trial.settle()
    checks.equal("killed: exit status of the last", 0, trial.supervisor.stop())
    restart.nothing_lost(checks, "killed", trial)
    trial.judge(checks, "killed")


def ended(checks, lab):
    """Restarts in order."""
    chance = random.Random(int(os.environ.get("SEED", "1")))
    trial = Trial(lab)
    trial.supervisor.start()
    trial.traffic()
    for _ in range(3):
        time.sleep(chance.uniform(0, 3))
        checks.equal("ended: exit status", 0, trial.supervisor.stop())
        trial.supervisor.start()
    trial.settle()
    checks.equal("ended: exit status of the last", 0, trial.supervisor.stop())
    restart.nothing_lost(checks, "ended", trial)
    trial.judge(checks, "ended")


def reload(checks, lab):
    """Another directory, none, and back again: each flow is in one of them, once, unless there was none."""
    where = stand.Stand(lab, tracking=True)
    sink = where.udp()
    one, two = lab.directory / "one", lab.directory / "two"

    def configuration(archive):
        return where.configuration([collector("sink", sink), f"[archive]\n{archive}\n"])

    daemon = stand.Daemon(lab, where.router, configuration(f"path = {one}"))
    made = []
    for archive in (f"path = {one}", f"path = {two}", f"path = {two}\nsync = flow", "enabled = no", f"path = {one}"):
        checks.true(f"reload: {archive!r}", daemon.reload(configuration(archive)), daemon.text())
        made.append(where.generate(300))
        sink.wait_flows(sum(made))
        time.sleep(0.5)
    checks.equal("reload: what the status says", ("keeping", str(one)),
                 tuple(archive_status(where, daemon)[key] for key in ("state", "path")))
    checks.true("reload: a wrong value is refused", not daemon.reload(configuration("rotate = never")), daemon.text())
    checks.equal("reload: the daemon ends", 0, daemon.stop())
    first, second = ([flow["flow"] for flow in Files(path).flows()] for path in (one, two))
    checks.equal("reload: flows in each", (made[0] + made[4], made[1] + made[2]), (len(first), len(second)))
    checks.equal("reload: none twice", len(first) + len(second), len(set(first) | set(second)))
    checks.equal("reload: the collector has all", sum(made), len(sink.flows()))


def unpack(path, *options):
    return subprocess.run([stand.PEERFLOW, "unpack", *options, path], capture_output=True, check=False)


def sums(kept):
    """What the chain says of each file, by its number."""
    return {int(number): digest for number, _, _, digest, _ in (line.split() for line in kept.chain())}


def forms(checks, lab):
    """What is compressed in either form is given back octet for octet, and the other form stays when it is changed."""
    where = stand.Stand(lab, tracking=True)

    def configuration(form):
        return where.configuration([f"[archive]\npath = {lab.directory}/kept\nrotate = 1s\ncompress = {form}\n"])

    kept, made = Files(lab.directory / "kept"), 0
    daemon = stand.Daemon(lab, where.router, configuration("zstd"))
    for form, suffix in (("zstd", ".zst"), ("columns", ".columns")):
        checks.true(f"forms: {form}", daemon.reload(configuration(form)), daemon.text())
        made += where.generate(1000)
        lib.wait_until(lambda suffix=suffix: kept.paths() and kept.paths()[-1].suffix == suffix, 30, "it is compressed")
    settle(where, daemon)
    checks.equal("forms: the daemon ends", 0, daemon.stop())
    paths, digests = kept.paths(), sums(kept)
    checks.equal("forms: both are there", {".zst", ".columns"}, {p.suffix for p in paths} - {".ipfix"})
    flows = [flow["flow"] for flow in kept.flows()]
    checks.equal("forms: each flow once", (made, made), (len(flows), len(set(flows))))
    counted = subprocess.run([stand.PEERFLOW, "flows", "--count", "--archive", kept.directory], capture_output=True,
                             text=True, check=True).stdout
    checks.equal("forms: peerflow reads both", made, int(counted))
    checks.equal("forms: unpacked, their sums are those of the chain", {},
                 {p.name: digests[int(MARK.match(p.name)[1])] for p in paths
                  if hashlib.sha256(unpack(p).stdout).hexdigest() != digests[int(MARK.match(p.name)[1])]})
    checks.equal("forms: zstd gives back the same", [], [p.name for p in paths if p.suffix == ".zst"
                                                          and unpack(p).stdout != kept.octets(p)])


def expired(checks, lab):
    """Files go when they are too old, and the chain says so."""
    where = stand.Stand(lab, tracking=True)
    daemon = where.daemon([], netbird="[archive]\nrotate = 1s\nretain = 3s\n")
    kept = archive_of(daemon)
    for _ in range(3):
        where.generate(100)
        time.sleep(1.2)
    before = kept.paths()
    checks.true("expired: there were files", before, "there were none")
    lib.wait_until(lambda: not [p for p in kept.paths() if p.suffix != ".part"], 30, "all are removed")
    status = archive_status(where, daemon)
    checks.equal("expired: counted", (len(before), 0, 0),
                 tuple(status[key] for key in ("expired_age", "expired_size", "expired_disk")))
    checks.equal("expired: in the chain", len(before), len([line for line in kept.chain() if " expired age " in line]))
    daemon.stop()


def full(checks, lab):
    """A disk that is far too small: the oldest files go, collectors notice nothing, and what is there can be read."""
    where = stand.Stand(lab, tracking=True)
    sink = where.udp()
    disk = lab.directory / "disk"
    disk.mkdir()
    wrap = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=384k none {disk} && exec "$@"', "sh"]
    archive = f"[archive]\npath = {disk}/archive\nrotate-size = 64K\nrotate = 1h\n"
    daemon = where.daemon([collector("sink", sink), archive], wrap=wrap)
    seen = Files(f"/proc/{daemon.process.pid}/root{disk}/archive")
    made = sum(where.generate(2000) for _ in range(30) if not time.sleep(0.1))
    checks.equal("full: the collector has all", made, len(sink.wait_flows(made)))
    status = lib.wait_until(lambda: (now := archive_status(where, daemon))["octets_waiting"] == 0 and now, 30,
                            "all is written")
    print(f"# {made} flows, {status['octets_written']} octets written, {status['expired_disk']} files removed")
    checks.true("full: files were removed", status["expired_disk"] > 0, str(status))
    checks.true("full: more was written than there is room for", status["octets_written"] > 1 << 20, str(status))
    flows = [flow["flow"] for flow in seen.flows()]
    checks.true("full: what is left can be read", 100 < len(set(flows)) == len(flows), f"{len(flows)}")
    checks.equal("full: the daemon goes on", None, daemon.process.poll())
    daemon.stop()


def stuck(checks, lab):
    """A disk on which nothing can be removed: the gap is said, and the archive goes on when there is room."""
    where = stand.Stand(lab, tracking=True)
    sink = where.udp()
    disk = lab.directory / "disk"
    disk.mkdir()
    wrap = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=256k none {disk} && exec "$@"', "sh"]
    daemon = where.daemon([collector("sink", sink), f"[archive]\npath = {disk}/archive\nrotate = 1h\n"], wrap=wrap)
    inside = pathlib.Path(f"/proc/{daemon.process.pid}/root{disk}")
    room = os.statvfs(inside)
    (inside / "ballast").write_bytes(bytes(max(room.f_bavail * room.f_bsize - (40 << 10), 0)))
    made = 0
    while archive_status(where, daemon)["state"] != "failing" and made < 20000:
        made += where.generate(500)
        time.sleep(0.3)
    checks.equal("stuck: it is said", "failing", archive_status(where, daemon)["state"])
    made += sum(where.generate(10000) for _ in range(18))      # more than the queue and the journal hold
    checks.equal("stuck: the collector has all", made, len(sink.wait_flows(made, 60)))
    lib.wait_until(lambda: "the archive did not take" in daemon.text(), 10, "the gap is said")
    subprocess.run(["nsenter", "-m", f"--target={daemon.process.pid}", "mount", "-o", "remount,size=64m", disk],
                   check=True)
    lib.wait_until(lambda: archive_status(where, daemon)["state"] == "keeping", 20, "it goes on")
    settle(where, daemon)
    made_later = where.generate(1000)
    sink.wait_flows(made + made_later)
    settle(where, daemon)
    time.sleep(1.5)
    seen = Files(inside / "archive")
    flows = [flow["flow"] for flow in seen.flows()]
    gaps = [r for r in seen.validator().records if r["template"] == 285]
    missed = sum(r["notSentFlowTotalCount"] for r in gaps)
    print(f"# {made} + {made_later} flows, {len(flows)} kept, {missed} told as missing in {len(gaps)} records")
    checks.equal("stuck: none is there twice", len(flows), len(set(flows)))
    checks.equal("stuck: what is missing is told in the archive", made + made_later, len(flows) + missed)
    daemon.stop()


def refused(checks, lab):
    """A directory that cannot be used is said, and the rest works; so is one that another daemon uses."""
    where = stand.Stand(lab, tracking=True)
    sink = where.udp()
    daemon = where.daemon([collector("sink", sink), "[archive]\npath = /proc/nowhere/archive\n"])
    text = daemon.text()
    checks.true("refused: said", re.search(r"\[archive\]: /proc/nowhere.*; flows are not kept", text), text)
    status = archive_status(where, daemon)
    checks.equal("refused: in the status", ("not-open", True), (status["state"], "/proc/nowhere" in status["trouble"]))
    made = where.generate(100)
    checks.equal("refused: collectors work", made, len(sink.wait_flows(made)))
    checks.equal("refused: the daemon ends", 0, daemon.stop())
    shared = f"[archive]\npath = {lab.directory}/shared\n"
    first, second = where.daemon([], netbird=shared), where.daemon([], netbird=shared)
    checks.equal("refused: a directory that another daemon writes to", ("keeping", "not-open"),
                 tuple(archive_status(where, daemon)["state"] for daemon in (first, second)))
    checks.true("refused: and why", "another peerflowd writes to this archive" in second.text(), second.text())
    first.stop()
    second.stop()
    daemon = where.daemon([], netbird="[archive]\nenabled = no\n")
    where.generate(100)
    checks.equal("refused: nothing is touched when it is off", ("off", False),
                 (archive_status(where, daemon)["state"], pathlib.Path(f"{daemon.run}-state/archive").exists()))
    daemon.stop()


if __name__ == "__main__":
    sys.exit(stand.run([files, killed, ended, reload, forms, expired, full, stuck, refused]))
