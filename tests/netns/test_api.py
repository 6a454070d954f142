#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""NetBird's management server as a source of names: what it tells of flows, how it is asked, and that nothing it
answers does any harm.

    sudo tests/netns/test_api.py [CASE ...]       PEERFLOWD: the program, if not build/peerflowd"""

import re
import sys
import time

import lib
import management
import stand

# The bundle of certificates that libcurl of Debian trusts, replaced in a mount namespace of its own.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TRUST = ("unshare", "--mount", "sh", "-c", f'mount --bind "$1" {BUNDLE} && shift && exec "$@"', "sh")


def token(lab, text=management.TOKEN, mode=0o600, name="token"):
    path = lab.directory / name
    path.write_text(text + "\n", encoding="ascii")
    path.chmod(mode)
    return path


def netbird(url, token_file, refresh="10s"):
    return f"interface = exp0\nstatus = off\nwireguard = off\napi-url = {url}\napi-token-file = {token_file}\n" \
           f"api-refresh = {refresh}\n"


def small_account():
    account = management.Account()
    account.peer("alice-laptop", "100.90.0.7", "fd12:3456:789a:1::7", "alice@example.com", ["engineers"])
    account.peer("router-a", "100.90.0.1")
    account.network("site-a", "router-a", [("crm-db", "host", "10.20.0.20/32", ["crm"]),
                                           ("lan", "subnet", "10.20.0.0/24", [])])
    account.policy("eng-to-crm", ["engineers"], ["crm"], "tcp", [443])
    return account


def ask(where, url, token_file, wrap=()):
    """The line that "peerflow check" has about the server, and how long it took."""
    path, text = where.lab.directory / "check.conf", where.configuration([], netbird=netbird(url, token_file))
    for word in ("LIVE", "RUN", "STATE"):
        text = text.replace(f"@{word}@", str(where.lab.directory / word.lower()))
    path.write_text(text, encoding="utf-8")
    began = time.monotonic()
    program = where.lab.start(where.router, *wrap, stand.PEERFLOW, "check", "--config", path)
    program.process.wait(120)
    lines = [line for line in program.text().splitlines() if "names from api" in line]
    if len(lines) != 1:
        raise RuntimeError(f"expected one line about the server: {program.text()}")
    return re.sub(r"^(\w+) +names from api +", r"\1 ", lines[0]), time.monotonic() - began


def tls(checks, lab):
    """Who the server is, is checked: the authority and the name."""
    where = stand.Stand(lab)
    authority, stranger = management.certify(lab.directory, "authority"), management.certify(lab.directory, "stranger")
    right = management.certify(lab.directory, "127.0.0.1", authority)
    wrong_name = management.certify(lab.directory, "127.0.0.2", authority)
    strange = management.certify(lab.directory, "127.0.0.3", stranger)
    trust = (*TRUST, str(authority[0]))
    for what, certificate, wrap, address, expected in (
            ("a server that is trusted", right, trust, "127.0.0.1",
             r"ok 2 peers, 2 resources, 1 policies from https://127\.0\.0\.1:\d+$"),
            ("another's certificate", wrong_name, trust, "127.0.0.1", r"WRONG .*/api/users: SSL peer certificate"),
            ("an unknown authority", strange, trust, "127.0.0.3", r"WRONG .*/api/users: SSL peer certificate"),
            ("an authority that this host does not trust", right, (), "127.0.0.1",
             r"WRONG .*/api/users: SSL peer certificate")):
        server = management.Server(where.router, address, small_account(), certificate)
        line, _ = ask(where, server.url, token(lab), wrap)
        checks.true(what, re.match(expected, line), f"expected {expected!r} got {line!r}")
        checks.equal(f"{what}: the token was sent", expected.startswith("ok"), bool(server.asked))
        server.close()


def answers(checks, lab):
    """Whatever the server answers: one line that says what is wrong, soon, and nothing but reading calls."""
    where = stand.Stand(lab)
    account = small_account()
    deep = b'[{"id":' + b"[" * 3_000_000
    for what, path, way, expected in (
            ("well", None, None, r"ok 2 peers, 2 resources, 1 policies from http://127\.0\.0\.1:\d+$"),
            ("users are not to be seen", "/api/users", management.refuse(403), r"ok 2 peers.*; users: HTTP 403$"),
            ("an old server", "/api/networks/routers", management.refuse(404), r"ok 2 peers.*; routers: HTTP 404$"),
            ("a token that expired", "/api/users", management.refuse(401), r"WRONG .*HTTP 401: the token is not valid"),
            ("no rights at all", "/api/peers", management.refuse(403), r"WRONG .*HTTP 403: the token's user may not"),
            ("another server", "/api/peers", management.refuse(404), r"WRONG .*HTTP 404: no management server"),
            ("too often", "/api/peers", management.refuse(429, Retry_After="7"), r"WRONG .*HTTP 429: asked too often$"),
            ("ill", "/api/policies", management.refuse(500), r"WRONG .*/api/policies: HTTP 500$"),
            ("elsewhere", "/api/peers", management.refuse(301, Location="http://127.0.0.9/"), r"WRONG .*: HTTP 301$"),
            ("a page", "/api/peers", management.say(b"<html>"), r"WRONG .*no list in JSON: something else"),
            ("an error as if it were well", "/api/peers", management.say(b'{"message":"x","code":500}'),
             r"WRONG .*no list in JSON: something else"),
            ("cut", "/api/peers", management.say(b'[{"id":"x"}', 100), r"WRONG .*: Transferred a partial file$"),
            ("without its end", "/api/peers", management.say(b'[{"id":"x"}'), r"WRONG .*its end is missing$"),
            ("not UTF-8", "/api/peers", management.say(b'[{"id":"\xff\xfe"}]'), r"WRONG .*no JSON: unable to decode"),
            ("a terminal's control codes", "/api/peers", management.say(b'[\x1b[31m]'), r"WRONG .*/api/peers: no "),
            ("deeply nested", "/api/peers", management.say(deep + b"]" * 3_000_000 + b"}]"), r"WRONG .*no JSON: maximum"),
            ("nulls", "/api/peers", management.say(b"null"), r"ok 0 peers"),
            ("other types", "/api/peers", management.say(b'[1,"x",null,[],{"ip":{},"groups":7,"id":[]}]'), r"ok 0 peers"),
            ("one endless element", "/api/peers", management.huge, r"WRONG .*an element is too long$"),
            ("a connection torn down", "/api/peers", management.reset, r"WRONG .*/api/peers: ")):
        server = management.Server(where.router, "127.0.0.1", account)
        if path:
            server.ways[path] = way
        line, took = ask(where, server.url, token(lab))
        checks.true(f"{what}: the line", re.search(expected, line), f"expected {expected!r} got {line!r}")
        checks.true(f"{what}: text only", line.isprintable(), f"got {line!r}")
        checks.true(f"{what}: soon", took < 20, f"took {took:.1f} s")
        checks.equal(f"{what}: methods", {"GET"}, {method for _, method, _, _ in server.asked})
        server.close()


def tokens(checks, lab):
    """A token that others may read is not used."""
    where = stand.Stand(lab)
    server = management.Server(where.router, "127.0.0.1", small_account())
    for what, path, expected in (
            ("open to others", token(lab, mode=0o644, name="open"), r"WRONG .*open: others may read or change it"),
            ("empty", token(lab, "", name="empty"), r"WRONG .*empty: holds no token"),
            ("absent", lab.directory / "absent", r"WRONG .*absent: No such file")):
        line, _ = ask(where, server.url, path)
        checks.true(what, re.match(expected, line), f"expected {expected!r} got {line!r}")
    checks.equal("nothing was asked", [], server.asked)
    line, _ = ask(where, server.url, token(lab, "nbp_another", name="another"))
    checks.true("another token", "HTTP 401" in line, f"got {line!r}")
    server.close()


def size(checks, lab):
    """A hundred thousand peers."""
    where = stand.Stand(lab)
    account = management.Account()
    account.fill(100_000)
    server = management.Server(where.router, "127.0.0.1", account)
    for path in ("/api/users", "/api/peers"):
        server.text(path)
    line, took = ask(where, server.url, token(lab))
    octets = len(server.text("/api/peers"))
    checks.true("a hundred thousand peers", line.startswith("ok 100000 peers, "), f"got {line!r}")
    checks.true("a hundred thousand peers: soon", took < 60 * PATIENCE, f"took {took:.1f} s")
    print(f"# {octets >> 20} MiB, {took:.1f} s")
    server.close()


PATIENCE = 5 if stand.SANITIZED else 1     # the sanitizers take their time, above all when a large process ends
NETWORK = "10.128.0.0/16"       # where the flows that stand.generate() makes come from


class Bench:
    """A daemon that asks a server, and a collector."""

    def __init__(self, lab, account, ways=None, refresh="10s"):
        self.where = stand.Stand(lab)
        self.server = management.Server(self.where.router, "127.0.0.1", account)
        self.server.ways.update(ways or {})
        self.sink, self.total = self.where.udp(), 0
        self.token = token(lab)
        self.daemon = self.where.daemon([stand.collector("one", self.sink)], await_sinks=[self.sink],
                                        netbird=netbird(self.server.url, self.token, refresh))

    def names(self, count=5):
        """What flows that end now are called."""
        self.total += self.where.generate(count)
        return {r.get("userName") for r in self.sink.wait_flows(self.total)[-count:]}

    def said(self, text, seconds=40):
        return stand.wait_time(self.daemon, text, seconds)

    def close(self, checks):
        began = time.monotonic()
        checks.equal("exit status", 0, self.daemon.stop(seconds=60))
        checks.true("the end is not put off", time.monotonic() - began < 4 * PATIENCE, f"took {time.monotonic() - began:.1f} s")
        self.server.close()


def site_account():
    account = small_account()
    account.network("site", "router-a", [("everybody", "subnet", NETWORK, [])])
    return account


def life(checks, lab):
    """A server that is busy, then well, then ill, then silent; and a token that changes hands."""
    bench = Bench(lab, site_account(), {"/api/users": management.refuse(429, Retry_After="15")})
    checks.true("busy: said", bench.said("names from api: ") and bench.said("HTTP 429"), bench.daemon.text())
    checks.equal("busy: nobody has a name", {"-"}, bench.names())
    bench.server.ways.clear()
    checks.true("well: said", bench.said("names from api: 2 peers, 3 resources, 1 policies"), bench.daemon.text())
    first, second = (when for when, _, path, _ in bench.server.asked if path == "/api/users")
    checks.true("left alone for as long as it wanted", 14.9 < second - first < 25, f"{second - first:.1f} s")
    lib.wait_until(lambda: bench.names() == {"router-a"}, 10, "a name")
    bench.token.chmod(0o644)
    asked = len(bench.server.asked)
    checks.true("an open token: said", bench.said("others may read or change it"), bench.daemon.text())
    checks.equal("an open token: is not sent", asked, len(bench.server.asked))
    checks.equal("an open token: names stay", {"router-a"}, bench.names())
    bench.token.chmod(0o600)
    bench.server.account.networks[-1]["name"] = "renamed"
    bench.server.account.peers[1]["name"] = "router-x"
    bench.server.changed()
    lib.wait_until(lambda: bench.names() == {"router-x"}, 40, "the new name")
    bench.server.ways["/api/peers"] = management.refuse(500)
    checks.true("ill: said", bench.said("HTTP 500; what it said at"), bench.daemon.text())
    checks.equal("ill: names stay", {"router-x"}, bench.names())
    bench.server.ways["/api/users"] = management.silence
    asked = len(bench.server.asked)
    lib.wait_until(lambda: len(bench.server.asked) > asked, 40, "the next question")
    checks.equal("silent: names stay", {"router-x"}, bench.names())
    checks.equal("only reading calls", {"GET"}, {method for _, method, _, _ in bench.server.asked})
    bench.close(checks)
    stand.valid(checks, "life", bench.sink)


def beside(checks, lab):
    """Flows never wait: while a hundred thousand peers are read, and while a server floods us, all come, and soon."""
    account = site_account()
    account.fill(100_000)
    for what, way, expected in (("a hundred thousand peers", None, "names from api: 100002 peers"),
                                ("a flood", management.huge, "an element is too long")):
        bench = Bench(lab, account, {"/api/peers": way} if way else None)
        made, slowest = 0, 0
        end = time.monotonic() + 90 * PATIENCE
        while expected not in bench.daemon.text() and time.monotonic() < end:
            began = time.monotonic()
            made += bench.where.generate(200)
            bench.sink.wait_flows(made)
            slowest = max(slowest, time.monotonic() - began)
        checks.true(f"{what}: said", expected in bench.daemon.text(), bench.daemon.text())
        checks.true(f"{what}: slowest of the flows", slowest < 3 * PATIENCE, f"{slowest:.2f} s")
        stand.each_once(checks, what, bench.sink.flows(), made)
        print(f"# {what}: {made} flows, the slowest after {slowest:.2f} s, {bench.daemon.resident() >> 10} MiB at most")
        bench.close(checks)


CASES = (tls, answers, tokens, size, life, beside)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
