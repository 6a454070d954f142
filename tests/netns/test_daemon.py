#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does peerflowd start, or say in one line why not, and does it end in order?

    sudo tests/netns/test_daemon.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import os
import pathlib
import random
import re
import signal
import stat
import subprocess
import sys
import time

import lib
import stand
from stand import collector

NOBODY = ("10.99.99.99", 4739)          # no route
MIB = 1 << 20


def attempt(where, configuration, *wrap, environment=None, arguments=None, seconds=10):
    """Runs the daemon to its end: (exit status, lines on standard error, standard output). It is stopped if it runs."""
    path = where.lab.directory / "attempt.conf"
    if configuration is not None:
        path.write_text(stand.place(configuration, where.lab.directory / "live", where.lab.directory / "run"),
                        encoding="utf-8")
    command = [*wrap, lib.PEERFLOWD, *(arguments if arguments is not None else ("--config", str(path)))]
    with where.router.entered():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env={**os.environ, **(environment or {})})
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
        err += "ran until it was stopped\n"
    return process.returncode, err.splitlines(), out


def refuses(checks, what, result, status, pattern):
    """One line that matches, and the exit status."""
    checks.equal(f"{what}: exit status", status, result[0])
    checks.true(f"{what}: one line says why", len(result[1]) == 1 and re.search(pattern, result[1][0]),
                f"expected one line like {pattern!r}, got {result[1]!r}")


BAD = (
    ("unknown key", "[exporter]\nliev-socket = /x\n", r"attempt.conf:2: \[exporter\] liev-socket = /x: .*live-socket"),
    ("unknown group", "[expotrer]\n", r"attempt.conf:1: .*\[expotrer\].*"),
    ("bad value", "[collector a]\nhost = 192.0.2.2\nport = 0\n",
     r"attempt.conf:3: \[collector a\] port = 0: .*1.*65535"),
    ("bad transport", "[collector a]\nhost = 192.0.2.2\ntransport = sctp\n",
     r"attempt.conf:3: \[collector a\] transport = sctp: .*udp.*tcp"),
    ("no host", "[collector a]\nport = 1\n", r"attempt.conf:1: \[collector a\].*host"),
    ("collector twice", "[collector a]\nhost = ::1\n[collector a]\nhost = ::1\n",
     r"attempt.conf:3: \[collector a\]: .*twice.*line 1"),
    ("NetFlow v9 over TCP", "[collector a]\nhost = ::1\ntransport = tcp\nprotocol = netflow9\n",
     r"attempt.conf:3: \[collector a\] transport = tcp: .*NetFlow v9"),
    ("reserved enterprise number", "[exporter]\nenterprise-number = 29305\n",
     r"attempt.conf:2: \[exporter\] enterprise-number = 29305: "),
    ("not text", "[exporter]\nlive-socket = \x00\n", r"attempt.conf:2: "),
)


def start_configuration(checks, lab):
    where = stand.Stand(lab)
    for what, text, pattern in BAD:
        refuses(checks, what, attempt(where, text), os.EX_CONFIG, pattern)
        refuses(checks, f"{what}, --check", attempt(where, None, arguments=("--check", "--config", str(
            lab.directory / "attempt.conf"))), os.EX_CONFIG, pattern)
    refuses(checks, "no file", attempt(where, None, arguments=("--config", "/nowhere/x.conf")), os.EX_CONFIG,
            r"/nowhere/x\.conf: No such file")
    refuses(checks, "a folder", attempt(where, None, arguments=("--config", "/")), os.EX_CONFIG, r"/: Is a directory")
    closed = lab.directory / "closed.conf"
    closed.write_text("", encoding="ascii")
    closed.chmod(0o600)
    refuses(checks, "unreadable file",
            attempt(where, None, "setpriv", "--reuid", str(stand.NOBODY), "--clear-groups", "--regid",
                    str(stand.NOBODY), arguments=("--config", str(closed))), os.EX_CONFIG,
            r"closed\.conf: Permission denied")
    checks.true("nothing is left of it", not (lab.directory / "live").exists(), "expected no live socket, got one")


def start_templates(checks, lab):
    where = stand.Stand(lab)
    broken, peers = lab.directory / "broken.template", lab.directory / "peers"
    one = ("192.0.2.2", 4739)
    for what, text, pattern in (
            ("unknown field", "protocol ipfix\ntemplate 256 ipv4\nsourceIpAddress\n",
             r"collector a: \S+broken\.template:3: .*sourceIpAddress"),
            ("bad template id", "protocol ipfix\ntemplate 12 ipv4\n", r"collector a: \S+broken\.template:2: .*12"),
            ("no protocol", "template 256 ipv4\n", r"collector a: \S+broken\.template:?\d*: .*protocol"),
            ("empty", "", r"collector a: \S+broken\.template")):
        broken.write_text(text, encoding="utf-8")
        refuses(checks, f"template, {what}",
                attempt(where, where.configuration([collector("a", one, template=broken)])), os.EX_CONFIG, pattern)
    for what, options, pattern in (
            ("template for the other protocol", {"template": "nfdump"}, r"collector a: \S+nfdump\.template.*netflow9"),
            ("no such template", {"template": "nothing"}, r"collector a: .*/nothing\.template.*: No such file"),
            ("full without a number", {"template": "full"}, r"collector a: .*enterprise-number"),
            ("source address of another family", {"source_address": "::1"}, r"collector a|\[collector a\]")):
        refuses(checks, what, attempt(where, where.configuration([collector("a", one, **options)])), os.EX_CONFIG,
                pattern)
    for what, text, pattern in (("bad prefix", "# names\n10.0.0.1/8 x\n", r"peers:2: 10\.0\.0\.1/8"),
                                ("no name", "10.0.0.1\n", r"peers:1: "),
                                ("not text", "10.0.0.1 \udcff\n", r"peers:1: ")):
        peers.write_text(text, encoding="utf-8", errors="surrogateescape")
        refuses(checks, f"peers-file, {what}", attempt(where, where.configuration([], netbird=f"peers-file = {peers}")),
                os.EX_CONFIG, pattern)
    refuses(checks, "no peers-file", attempt(where, where.configuration([], netbird="peers-file = /nowhere/peers")),
            os.EX_CONFIG, r"/nowhere/peers.*: No such file")


def start_system(checks, lab):
    """What the command line, the kernel or the rights lack."""
    where = stand.Stand(lab)
    good = where.configuration([])
    refuses(checks, "unknown option", attempt(where, good, arguments=("--nonsense",)), os.EX_USAGE, r"--nonsense")
    refuses(checks, "stray argument", attempt(where, good, arguments=("stray",)), os.EX_USAGE, r"`stray'")
    refuses(checks, "no CAP_NET_ADMIN", attempt(where, good, "setpriv", "--bounding-set=-net_admin"), os.EX_NOPERM,
            r"CAP_NET_ADMIN")
    refuses(checks, "no netfilter netlink", attempt(where, good, environment={
        "LD_PRELOAD": str(stand.PRELOAD / "refuse_netfilter.so"), "ASAN_OPTIONS": "verify_asan_link_order=0"}),
            os.EX_UNAVAILABLE, r"netfilter netlink.*Protocol not supported")
    missing = good.replace("@LIVE@", "/proc/nowhere/live").replace("@RUN@", str(lab.directory / "run"))
    refuses(checks, "live socket impossible", attempt(where, missing), os.EX_OSERR, r"live-socket /proc/nowhere/live: ")
    in_the_way = lab.directory / "live"
    in_the_way.write_text("precious", encoding="ascii")
    refuses(checks, "a file in the live socket's place", attempt(where, good), os.EX_OSERR,
            r"live-socket .*cannot bind")
    checks.equal("the file is still there", "precious", in_the_way.read_text(encoding="ascii"))


def start_memory(checks, lab):
    """From too little for the loader to enough: a line and EX_OSERR, and never a signal once main() has begun."""
    if stand.SANITIZED:
        return checks.skip("start_memory", "the sanitizers need their address space")
    where = stand.Stand(lab)
    configuration = where.configuration([collector("a", ("192.0.2.2", 4739))])
    ends, wrong, lines = {}, [], set()

    def end(kib):
        status, err, _ = attempt(where, configuration, "prlimit", f"--as={kib * 1024}", seconds=0.3)
        # A constructor of some library may fall over what the loader has just fitted in.
        before_main = not err[0].startswith("peerflowd: ") if err else status == -signal.SIGSEGV and kib < loaded
        stopped = status == -signal.SIGTERM and "ran until" in err[-1]      # before it listened to the signal
        return "before main" if before_main else 0 if stopped else status, status, err

    loaded = 400000
    loaded = next(kib for kib in range(8000, 400000, 1000) if end(kib)[0] != "before main")
    # Where only the threads of the sources of names lack something, GLib itself ends the process: not looked at.
    enough = next(kib for kib in range(loaded, 400000, 500) if any("names from" in line for line in end(kib)[2]))
    for kib in (*range(loaded - 1000, enough - 1000, max((enough - loaded) // 100, 1)), 400000):
        kind, status, err = end(kib)
        ends[kind] = ends.get(kind, 0) + 1
        if kind == os.EX_OSERR:
            lines.add(re.sub(r"\d+", "N", next((line for line in err if "memory" in line or "thread" in line), err[-1])))
        if kind not in ("before main", os.EX_OSERR, 0):
            wrong.append((kib, status, err))
    print(f"# the loader needs {loaded} KiB, all together {enough}; exit statuses: {ends}; lines: {sorted(lines)}")
    checks.equal("too little memory: neither started nor EX_OSERR", [], wrong)
    checks.true("too little memory: both ends were met", ends.get(os.EX_OSERR) and ends.get(0),
                f"expected statuses 71 and 0, got {ends}")
    checks.true("too little memory: the line says so", lines and all("memory" in line or "thread" in line
                                                                      for line in lines), f"got {lines}")


def start_unreachable(checks, lab):
    """Collectors that cannot be reached are no reason not to start, nor anything to the others."""
    where = stand.Stand(lab)
    sink, closed = where.udp(), ("192.0.2.3", 9)
    daemon = where.daemon([
        collector("name", ("collector.invalid", 4739)), collector("tcp", closed, transport="tcp"),
        collector("udp", closed), collector("route", NOBODY), collector("route-tcp", NOBODY, transport="tcp"),
        collector("route6", ("2001:db8::1", 4739)), collector("good", sink)], await_sinks=[sink])
    made = where.generate(2000, "--rate", "4000")
    stand.each_once(checks, "beside unreachable collectors", sink.wait_flows(made), made)
    for name, reason in (("name", "cannot resolve collector.invalid"), ("tcp", "Connection refused"),
                         ("udp", "Connection refused"), ("route", "Network is unreachable"),
                         ("route-tcp", "Network is unreachable"), ("route6", "Network is unreachable")):
        stand.wait_time(daemon, f"collector {name}: ", 10)
        lines = [line for line in daemon.lines(f"collector {name}: ") if reason in line]
        checks.equal(f"{name}: lines that say {reason!r}", 1, len(lines))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "good", sink)


def questions(checks, lab):
    """--check, --print-templates, --version: answers, and nothing is touched."""
    where = stand.Stand(lab)
    sink = where.udp()
    where.router.sysctl(net__netfilter__nf_conntrack_acct=0)
    configuration = where.configuration([
        collector("a", sink), collector("b", sink, records="biflow"),
        collector("c", sink, protocol="netflow9"), collector("d", sink, template="full")],
        exporter="enterprise-number = 64512")
    path = lab.directory / "attempt.conf"
    status, err, out = attempt(where, configuration, arguments=("--check", "--config", str(path)))
    checks.equal("--check of a good file", (0, [], f"{path} is good\n"), (status, err, out))
    status, err, out = attempt(where, None, arguments=("--config", str(path), "--print-templates"))
    checks.equal("--print-templates: exit status", (0, []), (status, err))
    checks.equal("--print-templates: the collectors",
                 [("a", "IPFIX", "uniflow", "default"), ("b", "IPFIX", "biflow", "default"),
                  ("c", "NetFlow v9", "uniflow", "nfdump"), ("d", "IPFIX", "uniflow", "full")],
                 re.findall(r"^collector (\S+): ([^,]+), (\w+), \S+/(\w+)\.template$", out, re.M))
    for word in ("256", "288", "320", "448", "sourceIPv4Address", "reverseOctetDeltaCount", "conntrackMark",
                 "ciscoUserName"):
        checks.true(f"--print-templates tells of {word}", word in out, f"got {out[:300]!r}…")
    checks.equal("--version", (0, [], True),
                 (lambda r: (r[0], r[1], bool(re.fullmatch(r"peerflowd \d+\.\d+\.\d+\n", r[2]))))(
                     attempt(where, None, arguments=("--version",))))
    status, _, out = attempt(where, None, arguments=("--help",))
    checks.true("--help tells of all options", status == 0 and all(
        f"--{o}" in out for o in ("config", "check", "print-templates", "version")), f"got {status} {out!r}")
    with where.router.entered():
        acct = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_acct").read_text(encoding="ascii").strip()
    checks.equal("nothing was touched: nf_conntrack_acct, messages", ("0", 0), (acct, len(sink.messages)))


def ending(checks, lab):
    """SIGTERM and SIGINT: what waits for company is sent, sessions end in order."""
    where = stand.Stand(lab)
    where.generate(1)       # connection tracking's modules are there
    for number in (signal.SIGTERM, signal.SIGINT):
        udp, v9, tcp = where.udp(), where.udp(), where.tcp()
        daemon = where.daemon([collector("udp", udp), collector("v9", v9, protocol="netflow9"), collector("tcp", tcp)],
                              await_sinks=[udp, v9, tcp])
        mode = daemon.live.stat().st_mode
        checks.equal(f"{number.name}: live socket's mode", "srw-rw----", stat.filemode(mode))
        made = where.generate(3)
        status = daemon.stop(number)
        checks.equal(f"{number.name}: exit status", 0, status)
        for name, sink in (("udp", udp), ("v9", v9), ("tcp", tcp)):
            stand.each_once(checks, f"{number.name}, {name}: half-full message", sink.wait_flows(made, 5), made)
            stand.valid(checks, f"{number.name}, {name}", sink)
        lib.wait_until(lambda t=tcp: t.ends, 5, "end of the TCP session")
        checks.equal(f"{number.name}: end of the TCP session", ["FIN"], tcp.ends)
        checks.equal(f"{number.name}: told the service manager", ["READY=1", "STOPPING=1"], daemon.states)
        checks.true(f"{number.name}: live socket is gone", not daemon.live.exists(), "expected no file, got one")


def ending_slow(checks, lab):
    """A collector that lags behind when the daemon ends still gets its queue."""
    where = stand.Stand(lab)
    slow, fast = where.tcp(buffer=65536), where.udp()
    slow.reading.clear()
    daemon = where.daemon([collector("slow", slow, queue="64M"), collector("fast", fast)], await_sinks=[fast])
    lib.wait_until(lambda: slow.accepted, 10, "the slow collector accepts")
    made = where.generate(30000, "--rate", "60000")
    fast.wait_flows(made)
    queued = daemon.resident("VmRSS")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_state("STOPPING=1", 1)
    slow.reading.set()
    stand.each_once(checks, "slow collector: queue sent at the end", slow.wait_flows(made), made)
    checks.equal("slow collector: exit status", 0, daemon.process.wait(10))
    lib.wait_until(lambda: slow.ends, 5, "end of the TCP session")
    checks.equal("slow collector: end of the session", ["FIN"], slow.ends)
    stand.valid(checks, "slow collector", slow)
    print(f"# {queued} KiB resident with the queue")


def ending_stuck(checks, lab):
    """A collector that never reads does not keep the daemon from ending, and what is lost is said."""
    where = stand.Stand(lab)
    stuck = where.tcp(buffer=65536)
    stuck.reading.clear()
    fast = where.udp()
    daemon = where.daemon([collector("stuck", stuck, queue="64M"), collector("fast", fast)], await_sinks=[fast])
    lib.wait_until(lambda: stuck.accepted, 10, "the stuck collector accepts")
    made = where.generate(30000, "--rate", "60000")
    fast.wait_flows(made)
    began = time.monotonic()
    checks.equal("stuck collector: exit status", 0, daemon.stop())
    checks.true("stuck collector: the end is not put off for long", time.monotonic() - began < 5,
                f"expected less than 5 s, got {time.monotonic() - began:.1f}")
    checks.equal("stuck collector: what was waiting is said once", 1, len(daemon.lines("were waiting and stay")))
    checks.true("stuck collector: and what of it the next start will not find", daemon.lost("stuck") > 1000,
                daemon.text())
    stuck.reading.set()
    lib.wait_until(lambda: stuck.ends, 10, "end of the stuck session")
    checks.equal("stuck collector: got and left", made, len(stuck.flows()) + daemon.left("stuck"))


def ending_flood(checks, lab):
    """Twenty ends at random moments of a flood, with everything connected."""
    where = stand.Stand(lab)
    seed = int(os.environ.get("SEED", str(random.randrange(10**6))))
    chance = random.Random(seed)
    statuses, reports = [], []
    udp, v9, tcp = where.udp(), where.udp(), where.tcp()
    flood = lab.start(where.router, stand.CTGEN, "--count", "100000000", "--window", "1000", "--rate", "10000")
    for _ in range(20):
        daemon = where.daemon([collector("udp", udp), collector("v9", v9, protocol="netflow9", records="biflow"),
                               collector("tcp", tcp), collector("none", ("192.0.2.3", 9))])
        viewer = lab.start(where.router, stand.PEERFLOW, "live", "--socket", daemon.live, "--format", "csv")
        time.sleep(chance.uniform(0, 0.3))
        if chance.random() < 0.3:
            daemon.process.send_signal(signal.SIGHUP)
        statuses.append(daemon.stop(chance.choice((signal.SIGTERM, signal.SIGINT))))
        reports += [line for line in daemon.lines() if "Sanitizer" in line or "runtime error" in line]
        viewer.stop(seconds=5)
    flood.stop()
    checks.equal(f"twenty ends in a flood (SEED={seed}): exit statuses", [0] * 20, statuses)
    checks.equal("twenty ends in a flood: sanitizer reports", [], reports)
    checks.true("twenty ends in a flood: it was one", len(tcp.flows()) > 10000, f"got {len(tcp.flows())} flows")
    stand.valid(checks, "twenty ends in a flood, tcp", tcp)
    checks.equal("twenty ends in a flood: ends of TCP sessions", {"FIN"}, set(tcp.ends))


CASES = (start_configuration, start_templates, start_system, start_memory, start_unreachable, questions, ending,
         ending_slow, ending_stuck, ending_flood)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
