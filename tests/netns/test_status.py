#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does peerflow status say how the daemon is: what was counted, how each collector is, and what was lost?

    sudo tests/netns/test_status.py [CASE ...]      PEERFLOWD, PEERFLOW: the programs, if not those in build/"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import lib
import stand
from stand import collector


def ask(where, daemon, *options):
    return where.router.run([stand.PEERFLOW, "status", "--socket", str(daemon.run / "status"), *options])


def numbers(where, daemon):
    return json.loads(ask(where, daemon, "--json"))


def attempt(where, *options):
    with where.router.entered():
        done = subprocess.run([stand.PEERFLOW, "status", *map(str, options)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def state(where, daemon, name):
    return next(c for c in numbers(where, daemon)["collectors"] if c["name"] == name)


def counted(checks, lab):
    """The numbers are those of the flows that were made, and of the messages that came."""
    where = stand.Stand(lab)
    udp, tcp = where.udp(), where.tcp()
    began = time.time() * 1000
    daemon = where.daemon([collector("udp", udp), collector("tcp", tcp)],
                          await_sinks=[udp, tcp])
    made = where.generate(500)
    for sink in (udp, tcp):
        sink.wait_flows(made)
    shown = numbers(where, daemon)
    checks.equal("flows: ended, exported", (made, made), (shown["flows"]["ended"], shown["flows"]["exported"]))
    checks.true("ends received", shown["kernel"]["events_received"] >= made, shown["kernel"])
    checks.equal("daemon", (str(daemon.path), daemon.process.pid, 77), tuple(
        shown["daemon"][key] for key in ("configuration", "pid", "observation_domain")))
    checks.true("since when", began - 1000 <= shown["daemon"]["started_ms"] <= time.time() * 1000
                and shown["daemon"]["uptime_s"] < 60, shown["daemon"])
    for name, sink in (("udp", udp), ("tcp", tcp)):
        one = next(c for c in shown["collectors"] if c["name"] == name)
        checks.equal(f"{name}: state, address, trouble", ("sending", f"{sink.address} port {sink.port}", ""),
                     (one["state"], one["address"], one["trouble"]))
        checks.equal(f"{name}: records", (made, 0), (one["records_sent"], one["records_dropped"]))
        checks.true(f"{name}: messages and octets, as many as came", one["messages_sent"] <= len(sink.messages) and
                    one["octets_sent"] <= sum(len(m[3]) for m in sink.messages) and one["octets_sent"] > 60 * made,
                    f"got {one}, came {len(sink.messages)}")
    checks.equal("the kernel: delivery, losses, settings", ("reliable", 0, 0, 1, 1, 1), tuple(shown["kernel"][key] for key in (
        "delivery", "events_lost", "fuse_blown", "accounting", "timestamps", "events")))
    checks.true("the buffer and the table have their sizes", shown["kernel"]["buffer_size"] > 1 << 20
                and shown["kernel"]["table_most"] > 0 and shown["kernel"]["table_entries"] < made, shown["kernel"])
    lib.wait_until(lambda: numbers(where, daemon)["sweeps"]["complete"], 10, "a walk over the table")
    checks.equal("nothing was lost", {"totals": [], "last": []}, shown["gaps"])
    text = ask(where, daemon)
    for words in ("for people: running", f"ends of flows received        {shown['kernel']['events_received']}",
                  "none: nothing was lost", f"udp   sending  192.0.2.2 port {udp.port}"):
        checks.true(words, words.split(": ", 1)[-1] in text, text)
    checks.equal("whoever may see it", 0o660, (daemon.run / "status").stat().st_mode & 0o777)
    checks.equal("exit status", 0, daemon.stop())
    checks.true("the socket is gone", not (daemon.run / "status").exists(), "it is there")


def collectors_away(checks, lab):
    """A collector that is not there, one that is refused, one whose name nobody knows, one that reads nothing."""
    where = stand.Stand(lab)
    stuck = where.tcp(buffer=65536)
    stuck.reading.clear()
    none, refused = next(where.ports), next(where.ports)
    daemon = where.daemon([collector("none", (stand.COLLECTOR, none), transport="tcp", retry="30s"),
                           collector("refused", (stand.COLLECTOR, refused), retry="1s"),
                           collector("stuck", stuck, queue="128K"),
                           collector("unknown", ("does-not-exist.invalid", 4739), retry="30s")])
    lib.wait_until(lambda: state(where, daemon, "none")["state"] == "waiting", 10, "the first attempt fails")
    made = where.generate(20000, "--rate", "20000")
    lib.wait_until(lambda: numbers(where, daemon)["flows"]["exported"] == made, 10, "all flows")
    lib.wait_until(lambda: state(where, daemon, "none")["dropped_no_session"] > made // 2, 5, "most are lost")
    lost = state(where, daemon, "none")["dropped_no_session"]
    checks.true("none: why", "Connection refused" in state(where, daemon, "none")["trouble"], state(where, daemon, "none"))
    checks.equal("none: not sent", (0, 0), tuple(state(where, daemon, "none")[key] for key in
                                                 ("records_sent", "messages_sent")))
    lib.wait_until(lambda: state(where, daemon, "refused")["state"] == "refused", 10, "UDP is refused")
    checks.true("refused: messages came back", state(where, daemon, "refused")["refused"] > 0, "got 0")
    one = state(where, daemon, "stuck")
    checks.equal("stuck: its state, and all flows are accounted for", ("sending", True),
                 (one["state"], one["dropped_queue_full"] > 0 and one["records_sent"] + one["records_dropped"] <= made))
    checks.true("stuck: the queue is nearly full", one["queue_filled"] > one["queue_size"] // 2 == 65536, one)
    lib.wait_until(lambda: state(where, daemon, "unknown")["state"] == "waiting", 30, "nobody knows the name")
    checks.true("unknown: why", "cannot resolve" in state(where, daemon, "unknown")["trouble"], "")
    lib.wait_until(lambda: any(g["unknown"] for g in numbers(where, daemon)["gaps"]["totals"]), 10, "a gap for refusals")
    def settled():
        """What was dropped and what stands in the ledger, of one moment; losses are entered once a second."""
        now = numbers(where, daemon)
        totals = {(gap["kind"], gap["collector"]): gap["flows"] for gap in now["gaps"]["totals"]}
        dropped = next(c for c in now["collectors"] if c["name"] == "stuck")["dropped_queue_full"]
        told = totals.get(("unreachable", "none")), totals.get(("queue", "stuck"))
        return told == (lost, dropped) and told

    checks.true("gaps: as many as were dropped", lib.wait_until(settled, 20, "the ledger is up to date"), "")
    text = ask(where, daemon)
    for words in (f"none: no session: {lost}", "collector none: it could not be reached; lost", "at least",
                  "stuck: queue full: "):
        checks.true(f"for people: {words}", words in text, text)
    daemon.stop()


def failures(checks, lab):
    """Where there is nothing to ask: a line that says why, and its exit status."""
    where = stand.Stand(lab)
    sink = where.udp()
    daemon = where.daemon([collector("one", sink)], await_sinks=[sink])
    path = daemon.run / "status"
    for what, options, status, words in (
            ("no such socket", ("--socket", "/nonexistent/status"), os.EX_UNAVAILABLE, "no such socket"),
            ("a path that is too long", ("--socket", "/" + "x" * 200), os.EX_USAGE, "longer than"),
            ("an argument", ("now",), os.EX_USAGE, "unexpected argument"),
            ("an unknown option", ("--xml",), os.EX_USAGE, "--xml")):
        result = attempt(where, *options)
        checks.equal(f"{what}: exit status, output", (status, ""), result[:2])
        checks.true(f"{what}: {words}", words in result[2] and result[2].count("\n") == 1, result[2])
    with where.router.entered():
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", stand.PEERFLOW, "status",
                               "--socket", str(path)], capture_output=True, text=True, check=False)
    checks.equal("somebody else: exit status", os.EX_NOPERM, done.returncode)
    checks.true("somebody else: why", "permission denied" in done.stderr, done.stderr)
    daemon.process.send_signal(signal.SIGSTOP)
    result = attempt(where, "--socket", path)
    daemon.process.send_signal(signal.SIGCONT)
    checks.equal("a daemon that does not answer: exit status", os.EX_UNAVAILABLE, result[0])
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    checks.equal("a socket left behind: exit status", os.EX_UNAVAILABLE, attempt(where, "--socket", path)[0])
    elsewhere = pathlib.Path(lab.directory) / "elsewhere"
    daemon = where.daemon([collector("one", sink)], exporter=f"status-socket = {elsewhere}", await_sinks=[sink])
    checks.equal("another path", 0, attempt(where, "--socket", elsewhere)[0])
    checks.true("reload without it", daemon.reload(where.configuration(
        [collector("one", sink)], exporter="status-socket = off")), daemon.text())
    checks.equal("then it is gone", os.EX_UNAVAILABLE, attempt(where, "--socket", elsewhere)[0])
    checks.equal("exit status", 0, daemon.stop())


CASES = (counted, collectors_away, failures)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
