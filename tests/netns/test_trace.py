#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where did it go? Two sites, both of whose routers masquerade, and hosts behind each that use the same source ports
again and again: is each connection followed from end to end, and none mistaken for another?

What is true the hosts say themselves: whoever asks writes into the connection who it is, whoever is asked writes down
which address and port that came from.

    sudo tests/netns/test_trace.py [CASE ...]   PEERFLOWD, PEERFLOW: the programs, if not those in build/"""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import typing
import xml.etree.ElementTree

import lib
import stand

sys.path.insert(0, str(lib.REPOSITORY / "collector-test"))

HOSTS = 6                           # behind each router
PORTS = range(40000, 40040)         # the same for all of them
ROUNDS = 20                         # how often each host uses each port
DATAGRAMS = range(41000, 41040)     # source ports used once by each host
TCP, UDP = 6, 17
SERVICE, SILENT, CLOSED, BARRED = 5432, 5433, 5434, 5435
AHEAD = 2000                        # ms
TIMES = {152, 153}                  # IANA: flowStartMilliseconds, flowEndMilliseconds
PECULIAR = ("flowId", "biflowDirection", "flowDirection")   # that hardly another exporter has
STOP = 1016                         # conntrackStopMilliseconds, of the exporter's own
MASQUERADE = """table ip nat {
    chain post {
        type nat hook postrouting priority 100;
        oifname { "wt0", "eth0" } masquerade
    }
}
"""
BAR = f"""table ip bar {{
    chain forward {{
        type filter hook forward priority 0;
        tcp dport {BARRED} drop
    }}
}}
"""
SETTINGS = {"net__ipv4__ip_forward": 1} | {f"net__netfilter__nf_conntrack_{name}": value for name, value in {
    "acct": 1, "timestamp": 1, "events": 1, "tcp_timeout_time_wait": 20, "udp_timeout": 60,
    "udp_timeout_stream": 60}.items()}


class Truth(typing.NamedTuple):
    protocol: int
    client: tuple                   # address and port, before any translation
    server: tuple
    seen: tuple                     # what the client was to the server


class Site:
    """A router, and a network behind it where servers write down who asked them."""

    def __init__(self, sites, key, number):
        self.sites, self.key, self.number = sites, key, number
        self.router, self.lan = sites.lab.namespace(f"router-{key}"), sites.lab.namespace(f"lan-{key}")
        sites.lab.wire(self.router, "eth0", self.lan, "eth0")
        self.hosts = [f"10.{number}.0.{n}" for n in range(30, 30 + HOSTS)]
        self.router.address("eth0", f"10.{number}.0.1/24")
        self.lan.address("eth0", *(f"{host}/24" for host in self.hosts))
        self.lan.route(f"default via 10.{number}.0.1")
        # Ports are to be used again at once, and not by whoever the host remembers.
        self.lan.sysctl(net__ipv4__tcp_max_tw_buckets=0, net__ipv4__ip_local_port_range="50000 60000")
        self.router.sysctl(**SETTINGS)
        self.router.nft(MASQUERADE)
        self.seen = {}              # by name of the connection
        self.running = True
        self.threads = []

    def start(self):
        self.daemon = stand.Daemon(self.sites.lab, self.router, (
            f"[exporter]\nobservation-domain-name = site-{self.key}\ntemplate-directory = {lib.TEMPLATES}\n"
            f"live-socket = @LIVE@\nruntime-directory = @RUN@\nstate-directory = @RUN@-state\n"
            f"[conntrack]\nflows = all\n[netbird]\nstatus = off\nwireguard = off\n"
            + "".join(self.sites.groups(self))))
        self.archive = pathlib.Path(f"{self.daemon.run}-state/archive")

    def serve(self):
        """Servers at two of the hosts."""
        for host in self.hosts[:2]:
            listening = self.lan.socket(socket.AF_INET, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, SERVICE))
            listening.listen(512)
            datagrams = self.lan.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind((host, SERVICE))
            for handle, work in ((listening, self._accept), (datagrams, self._receive)):
                handle.settimeout(0.2)
                self.threads.append(threading.Thread(target=work, args=(handle,), daemon=True))
                self.threads[-1].start()

    def _accept(self, listening):
        while self.running:
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection, peer = listening.accept()
                with connection:
                    connection.settimeout(10)
                    name, octets = struct.unpack("!II", read(connection, 8))
                    read(connection, octets)
                    self.seen[name] = peer
                    connection.sendall(bytes(50 + name % 700))
        listening.close()

    def _receive(self, datagrams):
        while self.running:
            with contextlib.suppress(TimeoutError):
                data, peer = datagrams.recvfrom(2000)
                self.seen[struct.unpack("!I", data[:4])[0]] = peer
                datagrams.sendto(data, peer)
        datagrams.close()

    def close(self):
        self.running = False
        for thread in self.threads:
            thread.join()


def read(connection, octets):
    data = b""
    while len(data) < octets:
        more = connection.recv(octets - len(data))
        if not more:
            raise ConnectionError("ended too soon")
        data += more
    return data


class Sites:
    """Both of them, and the tunnel in between."""

    def __init__(self, lab, groups=lambda site: ()):
        self.lab, self.groups = lab, groups
        self.a, self.b = Site(self, "a", 20), Site(self, "b", 21)
        lab.wire(self.a.router, "wt0", self.b.router, "wt0")
        for site, other, address in ((self.a, self.b, 1), (self.b, self.a, 2)):
            site.router.address("wt0", f"100.90.0.{address}/16")
            site.router.route(f"10.{other.number}.0.0/24 via 100.90.0.{3 - address}")
        self.asked = {}             # by name of the connection: Truth without what the server saw
        self._name = 0
        self._lock = threading.Lock()

    def start(self):
        for site in (self.a, self.b):
            site.start()
            site.serve()

    def name(self, protocol, client, server):
        with self._lock:
            self._name += 1
            self.asked[self._name] = Truth(protocol, client, server, None)
            return self._name

    def call(self, site, other, host, port, number):
        """A connection; what is sent differs from that of any other with these ports."""
        server = (other.hosts[number % 2], SERVICE)
        octets = 100 + 7 * (number % 211) + 1500 * (number % 3)
        name = self.name(TCP, (host, port), server)
        with site.lan.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.settimeout(20)
            client.bind((host, port))
            client.connect(server)
            client.sendall(struct.pack("!II", name, octets) + bytes(octets))
            while client.recv(65536):
                pass

    def post(self, site, other, host, port):
        server = (other.hosts[port % 2], SERVICE)
        name = self.name(UDP, (host, port), server)
        with site.lan.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.bind((host, port))
            client.sendto(struct.pack("!I", name) + bytes(name % 1200), server)
            client.recv(2000)

    def busy(self, site, other, host):
        """All that one host does. Each use of a port is another size."""
        for use in range(ROUNDS):
            for port in PORTS:
                self.call(site, other, host, port, use * len(PORTS) + port - PORTS[0] + use)
        for port in DATAGRAMS:
            self.post(site, other, host, port)

    def traffic(self):
        """10 000 connections, each host by itself."""
        failed = []

        def work(*arguments):
            try:
                self.busy(*arguments)
            except OSError as error:
                failed.append((arguments[2], error))
        threads = [threading.Thread(target=work, args=(site, other, host), daemon=True)
                   for site, other in ((self.a, self.b), (self.b, self.a)) for host in site.hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return failed

    def truth(self):
        seen = self.a.seen | self.b.seen
        return [truth._replace(seen=seen[name]) for name, truth in self.asked.items()]

    def end(self):
        """Everything ends and is kept. The exit statuses."""
        for site in (self.a, self.b):
            site.router.run("conntrack -F")
            site.close()
        time.sleep(1)
        return [site.daemon.stop() for site in (self.a, self.b)]


def trace(*options):
    """Exit status, what it prints, and what it says besides."""
    done = subprocess.run([stand.PEERFLOW, "trace", *map(str, options)], capture_output=True, text=True, check=False,
                          env={**os.environ, "TZ": "UTC"})
    return done.returncode, done.stdout, done.stderr


def paths(*options):
    status, text, said = trace("--format", "json", *options)
    return status, [json.loads(line) for line in text.splitlines()], said


def both(archives):
    return [option for archive in archives for option in ("--archive", archive)]


def end_of(one, which):
    return one[f"{which}_address"], one.get(f"{which}_port")


def found(path):
    """What the path says of a connection, as the truth has it."""
    first, last = path["hops"][0], path["hops"][-1]
    return Truth(path["protocol_number"], end_of(first["before"], "source"), end_of(first["before"], "destination"),
                 end_of(last["after"], "source"))


def one_connection(path):
    """Do both hops tell of the same packets?"""
    return all(path["hops"][0][f"{what}_from_{who}"] == path["hops"][1][f"{what}_from_{who}"]
               for what in ("octets", "packets") for who in ("initiator", "responder"))


def routers(path):
    return tuple(hop["router"] for hop in path["hops"])


def check_paths(checks, what, sites, answer, ahead):
    status, all_paths, said = answer
    print(f"# {what}: {said.strip()}")
    truth = collections.Counter(sites.truth())
    tcp = [path for path in all_paths if path["hops"][0]["before"].get("destination_port") == SERVICE]
    checks.equal(f"{what}: exit status", 0, status)
    checks.equal(f"{what}: paths", truth.total(), len(tcp))
    checks.equal(f"{what}: joined", truth.total(), sum(routers(p) in {("site-a", "site-b"), ("site-b", "site-a")}
                                                       for p in tcp))
    checks.equal(f"{what}: none ambiguous", 0, sum(p["verdict"] == "ambiguous" for p in tcp))
    checks.equal(f"{what}: joined wrongly", 0, sum(len(p["hops"]) == 2 and not one_connection(p) for p in tcp))
    wrong = collections.Counter(map(found, tcp)) - truth
    checks.equal(f"{what}: not what the hosts saw", [], list(wrong.items())[:3])
    verdicts_ = collections.Counter(p["verdict"] for p in tcp)
    checks.equal(f"{what}: datagrams answered", len(DATAGRAMS) * 2 * HOSTS, verdicts_.pop("answered", 0))
    # A host that forgets a connection at once answers what comes late with a reset, as told.
    checks.true(f"{what}: verdicts", set(verdicts_) <= {"closed", "reset"} and verdicts_["reset"] < len(tcp) // 50,
                verdicts_)
    clocks = [p["legs"][0]["clock_ms"] * (1 if routers(p)[0] == "site-a" else -1) for p in tcp if p["legs"]]
    checks.true(f"{what}: clocks", clocks and all(abs(ms - ahead) < 100 for ms in clocks), clocks[:3])
    checks.equal(f"{what}: nothing lost on the way", 0, sum(
        leg["packets_lost_there"] or leg["packets_lost_back"] for p in tcp for leg in p["legs"]))


def plain(site, directory):
    """The files of a site's archive, not compressed."""
    directory.mkdir()
    for name in sorted(site.archive.iterdir()):
        if name.suffix == ".columns":
            subprocess.run([stand.PEERFLOW, "unpack", "-o", directory / name.stem, name], check=True)
        elif ".ipfix" in name.suffixes:
            shutil.copy(name, directory / name.name)
    return directory


def template_fields(body, options):
    """Of a Template Set: (id, octets of a record, offsets of times)."""
    at = 0
    while len(body) - at >= 4:
        number, count = struct.unpack_from("!HH", body, at)
        at += 6 if options else 4
        offset, times = 0, []
        for _ in range(count):
            element, octets = struct.unpack_from("!HH", body, at)
            own = bool(element & 0x8000)
            at += 8 if own else 4
            if element in TIMES or (own and element & 0x7fff == STOP):
                times.append(offset)
            offset += octets
        yield number, 0 if options else offset, times


def shift(path, ms):
    """As if a router had written it whose clock is so far ahead."""
    data = bytearray(path.read_bytes())
    templates, at = {}, 0
    while at < len(data):
        octets, export_time = struct.unpack_from("!xxHI", data, at)
        struct.pack_into("!I", data, at + 4, export_time + ms // 1000)
        place = at + 16
        while place < at + octets:
            kind, length = struct.unpack_from("!HH", data, place)
            body = place + 4
            if kind in (2, 3):
                for number, record, times in template_fields(data[body:place + length], kind == 3):
                    templates[number] = record, times
            elif templates.get(kind, (0, ()))[1]:
                record, times = templates[kind]
                for start in range(body, place + length - record + 1, record):
                    for offset in times:
                        value, = struct.unpack_from("!Q", data, start + offset)
                        struct.pack_into("!Q", data, start + offset, value + ms if value else 0)
            place += length
        at += octets
    path.write_bytes(data)


def ten_thousand(checks, lab):
    """All are joined, and rightly; the same if one clock is two seconds ahead, or behind."""
    sites = Sites(lab)
    sites.start()
    checks.equal("connections that failed", [], sites.traffic())
    checks.equal("exit statuses", [0, 0], sites.end())
    truth = sites.truth()
    checks.equal("connections", 2 * HOSTS * (len(PORTS) * ROUNDS + len(DATAGRAMS)), len(truth))
    checks.true("ports clashed", sum(t.seen[1] != t.client[1] for t in truth) > len(truth) // 20,
                collections.Counter(t.seen[1] != t.client[1] for t in truth))
    tuples = collections.Counter((t.protocol, t.client, t.server) for t in truth)
    checks.true("tuples were used again", max(tuples.values()) >= ROUNDS // 2, max(tuples.values()))
    check_paths(checks, "clocks agree", sites, paths(*both([sites.a.archive, sites.b.archive])), 0)
    for what, ms in (("ahead", AHEAD), ("behind", -AHEAD)):
        directory = plain(sites.b, lab.directory / f"site-b-{what}")
        for name in directory.iterdir():
            shift(name, ms)
        check_paths(checks, f"site B 2 s {what}", sites, paths(*both([sites.a.archive, directory])), ms)
    ask_for_one(checks, sites, truth)


def ask_for_one(checks, sites, truth):
    """Of all of them, those of one host and port, by what it was at any place."""
    archives = both([sites.b.archive, sites.a.archive])
    one = next(t for t in truth if t.client[0] == sites.a.hosts[3] and t.protocol == TCP and t.client[1] == PORTS[7])
    wanted = collections.Counter(t for t in truth if t.client == one.client and t.protocol == TCP)
    query = f"src host {one.client[0]} and src port {one.client[1]} and tcp"
    status, answer, _ = paths(*archives, query)
    checks.equal("one host and port: exit status", 0, status)
    checks.equal("one host and port: paths", wanted, collections.Counter(map(found, answer)))
    checks.equal("one host and port: joined", {2}, {len(p["hops"]) for p in answer})
    text = f"tcp {one.seen[0]}:{one.seen[1]} -> {one.server[0]}:{one.server[1]}"
    wanted = collections.Counter(t for t in truth if (t.protocol, t.seen, t.server) == (TCP, one.seen, one.server))
    _, answer, _ = paths(*archives, "--tuple", text)
    checks.equal("what the server saw: paths", wanted, collections.Counter(map(found, answer)))
    _, text, _ = trace(*archives, "--limit", 1, query)
    checks.true("in words", text.splitlines()[0].endswith(": answered and closed in order") and all(
        word in text for word in ("  site-a ", "    after ", "    tunnel  nothing lost", "  site-b ")), text)
    _, text, _ = trace(*archives, "--format", "svg", "--limit", 3, query)
    checks.equal("a picture is XML", "{http://www.w3.org/2000/svg}svg", xml.etree.ElementTree.fromstring(text).tag)
    _, text, _ = trace(*archives, "--format", "dot", "--limit", 3, query)
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tplain"], input=text, capture_output=True, text=True, check=False)
        checks.equal("dot takes it", (0, ""), (done.returncode, done.stderr))
    checks.true("dot: three rows", text.count("subgraph") == 3, text)
    for what, options in (("format", ("--format", "gif")), ("slack", ("--slack", "soon")), ("limit", ("-n", "-1")),
                          ("tuple", ("--tuple", "here")), ("archives", both([sites.a.archive] * 65))):
        status, text, said = trace(*options)
        checks.true(f"a wrong {what}: says so", status == 64 and not text and what in said, (status, said))
    status, text, said = trace(*archives, "src host 192.0.2.77")
    checks.equal("no such flow", (1, "", "peerflow trace: no archive has such a flow\n"), (status, text, said))


def verdicts(checks, lab):
    """What is said of connections that went wrong, each in another way."""
    sites = Sites(lab)
    sites.b.router.nft(BAR)
    sites.start()
    host, server = sites.a.hosts[2], sites.b.hosts[0]
    silent = sites.b.lan.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((server, SILENT))
    for number in range(5):         # by which the clocks are measured
        sites.call(sites.a, sites.b, host, 42000 + number, number)
    for kind, port, ports in ((socket.SOCK_STREAM, CLOSED, 43001), (socket.SOCK_STREAM, BARRED, 43002),
                              (socket.SOCK_DGRAM, SILENT, 43003)):
        with sites.a.lan.socket(socket.AF_INET, kind) as client, contextlib.suppress(ConnectionError, TimeoutError):
            client.bind((host, ports))
            client.settimeout(0.5)
            client.connect((server, port))
            client.send(b"anybody there?")
            client.recv(100)
    time.sleep(0.5)
    checks.equal("exit statuses", [0, 0], sites.end())
    silent.close()
    archives = both([sites.a.archive, sites.b.archive])
    for port, verdict, hops, words in (
            (42000, "closed", 2, "answered and closed in order"),
            (43001, "refused", 2, "reached site-b, refused by the host (RST)"),
            (43002, "not_seen", 1, "left site-a, never seen at site-b"),
            (43003, "no_reply", 2, "reached site-b, no reply from the host")):
        status, answer, _ = paths(*archives, f"src port {port}")
        checks.equal(words, (0, [(verdict, words, hops)]),
                     (status, [(p["verdict"], p["words"], len(p["hops"])) for p in answer]))
    directory = lab.directory / "site-a-lost"
    directory.mkdir()
    for name in sorted(sites.a.archive.glob("*.ipfix*")):
        shutil.copy(name, directory)
    torn = max(plain(sites.b, lab.directory / "site-b-torn").iterdir(), key=lambda name: name.stat().st_size)
    torn.write_bytes(torn.read_bytes()[:-7])
    status, answer, said = paths(*both([directory, torn]))
    checks.true("a torn archive: says so, shows the rest", status == 65 and torn.name in said and answer,
                (status, said))


def foreign(checks, lab):
    """What a site's collector kept is a hop, too: nfdump's JSON, and IPFIX with a record for each direction."""
    if not shutil.which("nfcapd"):
        checks.skip("foreign", "no nfcapd")
        return
    sinks = {}
    plain_template = lab.directory / "plain.template"
    plain_template.write_text("".join(line for line in (pathlib.Path(lib.TEMPLATES) / "default.template").read_text(
        encoding="utf-8").splitlines(True) if line.strip() not in PECULIAR), encoding="utf-8")

    def groups(site):
        if site.key == "b":
            sinks["b"] = stand.UdpSink(site.router, "127.0.0.1", 4740)
            return (stand.collector("nfdump", ("127.0.0.1", 4739), transport="udp"),
                    stand.collector("file", sinks["b"], template=plain_template, reply_tuple="wire"))
        return ()
    sites = Sites(lab, groups)
    kept = lab.directory / "nfcapd"
    kept.mkdir()
    nfcapd = lab.start(sites.b.router, "nfcapd", "-w", kept, "-p", "4739", "-t", "3600")
    nfcapd.wait_for("Startup nfcapd")
    sites.start()
    for number in range(40):
        sites.call(sites.a, sites.b, sites.a.hosts[number % HOSTS], 44000 + number // HOSTS, number)
    checks.equal("exit statuses", [0, 0], sites.end())
    nfcapd.stop()
    files = lab.directory / "site-b.json"
    with open(files, "wb") as out:
        subprocess.run(["nfdump", "-q", "-R", str(kept), "-o", "json"], stdout=out, check=True,
                       env={**os.environ, "TZ": "UTC"})
    stream = lab.directory / "site-b.ipfix"
    stream.write_bytes(b"".join(message[3] for message in sinks["b"].messages))
    truth = collections.Counter(sites.truth())
    for what, archive in (("nfdump's JSON", files), ("IPFIX uniflows", stream)):
        status, answer, said = paths(*both([sites.a.archive, archive]), f"src net 10.20.0.0/24 and port {SERVICE}")
        print(f"# {what}: {said.strip()}")
        checks.equal(f"{what}: exit status", 0, status)
        checks.equal(f"{what}: joined", {("site-a", "site-b"): 40}, dict(collections.Counter(map(routers, answer))))
        checks.equal(f"{what}: rightly", truth, collections.Counter(map(found, answer)))
        checks.equal(f"{what}: both directions", 40, sum(len(p["hops"]) == 2 and one_connection(p) for p in answer))


CASES = (ten_thousand, verdicts, foreign)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
