#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who had that address and port, at that second? Peers behind a router that hands out the same few ports again and again.
What is true the packets say themselves: in each stands who sent it.

    sudo tests/netns/test_who.py [CASE ...]     PEERFLOWD, PEERFLOW: the programs, if not those in build/"""

import csv
import io
import json
import math
import random
import select
import socket
import subprocess
import sys
import time
import typing

import lib
import packets
import stand

OUTSIDE, SERVER, OTHER, PORT = "10.30.0.1", stand.SERVER, "10.30.0.31", 7000
PEERS = {f"10.20.0.{n}": f"peer-{n}" for n in range(20, 30)}
SOURCES = range(40000, 40050)
POOL = 700                          # translated ports, for 500 flows at a time
ROUNDS = 10
NAT = """table ip nat {{
    chain post {{
        type nat hook postrouting priority 100;
        oifname eth1 meta l4proto {{ tcp, udp }} snat to {outside}:20000-{last} random
        oifname eth1 snat to {outside}
    }}
}}
"""
NAMES = "status = off\nwireguard = off\npeers-file = {peers}\n"
SETTINGS = {f"net__netfilter__nf_conntrack_{name}": value for name, value in
            {"acct": 1, "timestamp": 1, "events": 1, "udp_timeout": 60, "udp_timeout_stream": 60}.items()}


class Question(typing.NamedTuple):
    port: int
    second: int
    peer: str                       # address and port that it was; "": nobody

    def line(self):
        return f"{OUTSIDE}:{self.port} udp {self.second}\n"


class World:
    """A router between ten peers and a server, whose daemon has names for them."""

    def __init__(self, lab, conntrack="active-timeout = 60", pool=POOL):
        self.lab, self.where = lab, stand.Stand(lab)
        self.where.sides()
        self.where.client.address("eth0", *(f"{a}/24" for a in PEERS if not a.endswith((".20", ".21", ".22"))))
        self.where.server.address("eth0", f"{OTHER}/24")
        self.where.router.nft(NAT.format(outside=OUTSIDE, last=20000 + pool - 1))
        self.where.router.sysctl(**SETTINGS)
        peers = lab.directory / "peers"
        peers.write_text("".join(f"{a} {name} user={name}@example.org\n" for a, name in PEERS.items())
                         + f"{SERVER} db\n", encoding="utf-8")
        text = self.where.configuration([], conntrack=f"flows = all\n{conntrack}", netbird=NAMES.format(peers=peers))
        self.configuration = text.replace("@RUN@", str(lab.directory / "run")) + "[archive]\nrotate = 10\n"
        self.archive = lab.directory / "run-state" / "archive"
        self.start()
        self.server = packets.opened(self.where.server, socket.SOCK_DGRAM, 0, SERVER, PORT)
        self.server.setsockopt(socket.SOL_SOCKET, stand.SO_RCVBUFFORCE, 8 << 20)

    def start(self):
        self.daemon = stand.Daemon(self.lab, self.where.router, self.configuration)

    def peer(self, address, port):
        return packets.opened(self.where.client, socket.SOCK_DGRAM, 0, address, port)

    def flush(self):
        """Ends all flows; when this returns none is left."""
        self.where.router.run("conntrack -F")
        return time.time()

    def ask(self, *options, text=None):
        """Exit status, what it prints, and what it complains of."""
        with self.where.router.entered():
            done = subprocess.run([stand.PEERFLOW, "who", "--config", str(self.daemon.path), *map(str, options)],
                                  input=text, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def answers(self, *options, text=None):
        """One object a question."""
        status, printed, complaint = self.ask("--archive", self.archive, "--format", "json", *options, text=text)
        return status, [json.loads(line) for line in printed.splitlines()], complaint

    def wait_archived(self, count):
        """Until the archive has so many flows that ended."""
        def there():
            done = subprocess.run([stand.PEERFLOW, "flows", "--archive", str(self.archive), "--count", "not reason active"],
                                  capture_output=True, text=True, check=False)
            return int(done.stdout or 0) >= count
        lib.wait_until(there, 60, f"{count} flows in the archive")


def held(answer):
    """Who held it, as the packets have it."""
    flow = answer["flow"]
    return f"{flow['source_address']}:{flow['source_port']}"


def serve(world, count):
    """Receives so many datagrams; by translated port, who sent them."""
    senders = {}
    end = time.monotonic() + 20
    while len(senders) < count and time.monotonic() < end:
        if select.select([world.server], [], [], 1)[0]:
            data, peer = world.server.recvfrom(200)
            assert peer[0] == OUTSIDE, peer
            senders[peer[1]] = data.decode()
            world.server.sendto(data * 2, peer)
    assert len(senders) == count, f"{len(senders)} of {count} datagrams came"
    return senders


def reuse(world, sockets):
    """One round: everybody sends, everything ends. Questions about a second of it and about one after it."""
    time.sleep(math.ceil(time.time()) + 0.01 - time.time())
    for (address, port), handle in sockets.items():
        handle.sendto(f"{address}:{port}".encode(), (SERVER, PORT))
    senders = serve(world, len(sockets))
    during = int(time.time())
    after = int(world.flush()) + 1
    lib.wait_until(lambda: time.time() >= after + 1, 10, "a second without flows")
    return ([Question(port, during, sender) for port, sender in senders.items()]
            + [Question(port, after, "") for port in senders])


def right(question, answer):
    """Exactly the one who sent it, or nobody."""
    return [held(a) for a in answer["answers"]] == ([question.peer] if question.peer else [])


def reused(checks, lab):
    """10 000 questions about ports that one peer had after the other, and about the seconds in between."""
    world = World(lab)
    sockets = {(address, port): world.peer(address, port) for address in PEERS for port in SOURCES}
    questions = [q for _ in range(ROUNDS) for q in reuse(world, sockets)]
    users = {}
    for question in questions:
        users.setdefault(question.port, set()).add(question.peer)
    world.wait_archived(ROUNDS * len(sockets))
    checks.equal("questions", 2 * ROUNDS * len(sockets), len(questions))
    checks.true("ports were reused by others", sum(len(u) > 3 for u in users.values()) > POOL // 2, users)
    random.Random(5).shuffle(questions)
    began = time.monotonic()
    status, answers, complaint = world.answers("--batch", text="".join(q.line() for q in questions))
    print(f"# {len(questions)} questions: {time.monotonic() - began:.2f} s")
    checks.equal("exit status, complaints", (0, ""), (status, complaint))
    checks.equal("an answer to each", len(questions), len(answers))
    wrong = [(q, a) for q, a in zip(questions, answers) if not right(q, a)]
    for question, answer in wrong[:3]:
        print(f"# {question}: {answer}")
    checks.equal("wrong answers", 0, len(wrong))
    checks.equal("nobody, rightly", len(questions) // 2, sum(not a["answers"] for a in answers))
    flows = [(a["answers"][0]["flow"], a["answers"][0]) for a in answers if a["answers"]]
    checks.equal("peers and users", 0, sum(
        (f["initiator"], f["initiator_user"]) != (PEERS[f["source_address"]], f"{PEERS[f['source_address']]}@example.org")
        for f, _ in flows))
    checks.equal("both tuples", 0, sum(
        (f["destination_address"], f["destination_port"], f["translated_source_address"], a["role"], a["open"], a["whole"])
        != (SERVER, PORT, OUTSIDE, "translated_source", False, True) for f, a in flows))
    checks.equal("what was sent both ways", 0, sum(
        f["octets_from_responder"] - 28 != 2 * (f["octets_from_initiator"] - 28) for f, _ in flows))
    one_by_one(checks, world, random.Random(6).sample(questions, 20))


def one_by_one(checks, world, questions):
    """The same without a list: the exit status says whether there was anybody, and a table says who."""
    wrong = []
    for question in questions:
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(question.second))
        status, text, _ = world.ask("--archive", world.archive, "--at", at, "-p", "udp", f"{OUTSIDE}:{question.port}")
        who = f"{PEERS[question.peer.split(':')[0]]} {question.peer} was translated to it" if question.peer else "nobody"
        if status != (not question.peer) or text.splitlines()[1].strip() != who:
            wrong.append((question, status, text))
    checks.equal("one by one", [], wrong)


def live(checks, lab):
    """Flows that are not over, with names of the daemon's last word, and after their end out of the archive."""
    world = World(lab)
    with world.peer("10.20.0.20", 40000) as one:
        one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
        port, = serve(world, 1)
        second = int(time.time())
        question = f"{OUTSIDE}:{port}"
        status, (answer,), complaint = world.answers("--live", question)
        checks.equal("open: exit status, complaints", (0, ""), (status, complaint))
        checks.equal("open: one", ["10.20.0.20:40000"], [held(a) for a in answer["answers"]])
        first = answer["answers"][0]
        checks.equal("open: names", ("peer-20", "peer-20@example.org", "db"), tuple(
            first["flow"].get(key) for key in ("initiator", "initiator_user", "responder")))
        checks.equal("open: still", (True, "translated_source"), (first["open"], first["role"]))
        checks.equal("open: octets", (16 + 28, 32 + 28), (first["flow"]["octets_from_initiator"],
                                                         first["flow"]["octets_from_responder"]))
        text = world.ask("--archive", world.archive, "--live", question)[1]
        checks.true("open: in words", ", still open\n" in text and "peer-20@example.org" in text, text)
        status, (answer,), _ = world.answers(question)
        checks.equal("an archive alone knows nothing of it", (1, []), (status, answer["answers"]))
        lib.wait_until(lambda: time.time() >= second + 2, 5, "the second is over")
        status, (answer,), _ = world.answers("--live", "--at", second, question)
        checks.equal("open: in the past", ["10.20.0.20:40000"], [held(a) for a in answer["answers"]])
        status, (answer,), _ = world.answers("--live", "--at", second - 2, question)
        checks.equal("not yet", (1, []), (status, answer["answers"]))
    world.flush()
    world.wait_archived(1)
    status, (answer,), _ = world.answers("--live", "--at", second, question)
    checks.equal("over: the same, once", [("10.20.0.20:40000", False)],
                 [(held(a), a["open"]) for a in answer["answers"]])
    status, (answer,), _ = world.answers("--live", question)
    checks.equal("over: nobody now", (1, []), (status, answer["answers"]))
    empty = lab.directory / "empty"
    empty.mkdir()
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
    with world.where.router.entered():
        done = subprocess.run([*nobody, stand.PEERFLOW, "who", "--live", "-a", str(empty), question],
                              capture_output=True, text=True, check=False)
    checks.equal("without rights: says so", (1, True), (done.returncode, "shown to root only" in done.stdout))


def shared(checks, lab):
    """One translated port for two servers at once: both are shown. Any port, any end, and echoes."""
    world = World(lab, pool=1)
    other = packets.opened(world.where.server, socket.SOCK_DGRAM, 0, OTHER, PORT)
    with world.peer("10.20.0.20", 40000) as one, world.peer("10.20.0.21", 40000) as two, other:
        one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
        port, = serve(world, 1)
        two.sendto(b"10.20.0.21:40000", (OTHER, PORT))
        _, peer = other.recvfrom(200)
        checks.equal("the same port for both", (OUTSIDE, port), peer)
        world.where.client.run(f"ping -c 1 -W 2 -e 4242 -I 10.20.0.22 {SERVER}")
        second = int(time.time())
        for live_, options in (("open", ["--live"]), ("over", [])):
            if not options:
                world.flush()
                world.wait_archived(3)
            both = {"10.20.0.20:40000", "10.20.0.21:40000"}
            _, (answer,), _ = world.answers(*options, "--at", second, f"{OUTSIDE}:{port}")
            checks.equal(f"{live_}: both", both, {held(a) for a in answer["answers"]})
            _, (answer,), _ = world.answers(*options, "--at", second, "-p", "udp", OUTSIDE)
            checks.equal(f"{live_}: of the address", both, {held(a) for a in answer["answers"]})
            _, (answer,), _ = world.answers(*options, "--at", second, "10.20.0.21")
            checks.equal(f"{live_}: the source", [("10.20.0.21:40000", "source")],
                         [(held(a), a["role"]) for a in answer["answers"]])
            _, (answer,), _ = world.answers(*options, "--at", second, f"{OTHER}:{PORT}")
            checks.equal(f"{live_}: the destination", [("10.20.0.21:40000", "destination")],
                         [(held(a), a["role"]) for a in answer["answers"]])
            _, (answer,), _ = world.answers(*options, "--at", second, "-p", "icmp", OUTSIDE)
            checks.equal(f"{live_}: an echo", ["10.20.0.22"], [a["flow"]["source_address"] for a in answer["answers"]])
            for number, found in ((4242, ["10.20.0.22"]), (4243, [])):
                _, (answer,), _ = world.answers(*options, "--at", second, "-p", "icmp", f"{OUTSIDE}:{number}")
                checks.equal(f"{live_}: an echo by its id {number}", found,
                             [a["flow"]["source_address"] for a in answer["answers"]])


def joined(checks, lab):
    """A flow that was told of every second is one answer, whatever second is asked for, and has all it sent."""
    world = World(lab, conntrack="active-timeout = 1\nreap-share = 100")
    seconds = []
    with world.peer("10.20.0.20", 40000) as one:
        for _ in range(5):
            one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
            port, = serve(world, 1)
            seconds.append(int(time.time()))
            time.sleep(1.1)
        end = world.flush()
    world.wait_archived(1)
    text = "".join(f"{OUTSIDE}:{port} udp {second}\n" for second in [*seconds, int(end) + 1, seconds[0] - 1])
    time.sleep(2)
    _, answers, complaint = world.answers("--batch", text=text)
    checks.equal("complaints", "", complaint)
    checks.equal("one each, then nobody", [1] * 5 + [0, 0], [len(a["answers"]) for a in answers])
    flows = [a["answers"][0] for a in answers if a["answers"]]
    checks.equal("all it sent", {(5 * 44, 5, 5 * 60, 5, True)}, {
        (f["flow"]["octets_from_initiator"], f["flow"]["packets_from_initiator"], f["flow"]["octets_from_responder"],
         f["flow"]["packets_from_responder"], f["whole"]) for f in flows})
    _, printed, _ = world.ask("--archive", world.archive, "--batch", "--format", "csv", text=text)
    rows = list(csv.DictReader(io.StringIO(printed)))
    checks.equal("as CSV", ["translated_source"] * 5 + ["nobody"] * 2, [row["role"] for row in rows])
    checks.equal("CSV: fields", set(), {key for row in rows for key in row if key is None})


def incomplete(checks, lab):
    """Nobody is an answer for times of which there is a record: before the first, after the last, and while the daemon was
    away, it says that there may have been somebody."""
    world = World(lab, conntrack="active-timeout = 2")
    with world.peer("10.20.0.20", 40000) as one:
        one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
        serve(world, 1)
        world.flush()
        world.wait_archived(1)
        began = time.time()
        lib.wait_until(lambda: time.time() >= int(began) + 1, 5, "the first second is over")
        one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
        port, = serve(world, 1)
        known = int(time.time())
        world.flush()
        world.wait_archived(2)
        time.sleep(4)
        checks.equal("stopped", 0, world.daemon.stop())
        one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
        away_port, = serve(world, 1)
        away = int(time.time())
        world.flush()
        time.sleep(1)
        world.start()
        world.daemon.program.wait_for("did not run")
        one.sendto(b"10.20.0.20:40000", (SERVER, PORT))
        serve(world, 1)
        world.flush()
        world.wait_archived(3)

    def doubts(at, asked, *options):
        status, printed, _ = world.ask("--format", "json", *options, "--at", at, f"{OUTSIDE}:{asked}")
        answer = json.loads(printed)
        return status, len(answer["answers"]), [text.split(" (")[0] for text in answer["incomplete"]]
    lib.wait_until(lambda: doubts(away, away_port)[2], 20, "the archive says that the daemon was away")
    checks.equal("a time that is known", (0, 1, []), doubts(known, port))
    status, found, why = doubts(away, away_port)
    checks.equal("while it was away: nobody", (1, 0), (status, found))
    checks.true("while it was away: why", len(why) == 1 and why[0].startswith("peerflow did not run"), why)
    checks.equal("before the first", (1, 0, [f"{world.archive} does not reach back so far; it begins"]),
                 doubts(known - 3600, port))
    time.sleep(2)
    checks.equal("after the last, of an archive that may be a copy",
                 (1, 0, ["the archive has nothing of so late a time; it ends"]),
                 doubts("now", port, "--archive", world.archive))
    checks.equal("after the last, of the daemon's", (1, 0, []), doubts("now", port))
    text = world.ask("--at", away, f"{OUTSIDE}:{away_port}")[1]
    checks.true("in words", "  nobody\n  may be incomplete: peerflow did not run" in text, text)


if __name__ == "__main__":
    sys.exit(stand.run([reused, live, shared, joined, incomplete]))
