#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is whatever may be lost told: in the log, and to the collectors, soon and again and again, also by the next process?
And do real collectors take it without a complaint?

    sudo tests/netns/test_gaps.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import signal
import sys
import time

import lib
import stand
from stand import collector

import collectors       # of collector-test, to whose folder stand leads

METERING, EXPORTING, KIND = 283, 284, 285
OVERRUN, QUEUE, UNREACHABLE = 1, 5, 6

BURST = 20000           # flows
HELD = 8192             # for a collector that is away, at most
PLAIN = "receive-buffer = 128K\nreliable = no"


def told(sink, template):
    return [r for r in sink.records() if r["template"] == template]


def wait_told(sink, template, wanted=lambda record: True, seconds=10):
    """The first such record that is as wanted."""
    def find():
        return [r for r in told(sink, template) if wanted(r)]
    return lib.wait_until(find, seconds, f"a record of template {template} at port {sink.port}")[0]


def burst(where, daemon):
    """Makes the kernel drop ends of flows: more of them than the socket holds while nobody reads it."""
    daemon.process.send_signal(signal.SIGSTOP)
    where.generate(BURST, "--tcp")
    daemon.process.send_signal(signal.SIGCONT)


def metering(checks, lab):
    """The kernel dropped ends of flows: every IPFIX collector hears of it, and the kind if it has a word for it."""
    where = stand.Stand(lab)
    sinks = {name: where.udp() for name in ("udp", "full", "v9")} | {"tcp": where.tcp()}
    options = {"full": {"template": "full"}, "v9": {"protocol": "netflow9"}}
    daemon = where.daemon([collector(name, sink, template_refresh="2s", **options.get(name, {}))
                           for name, sink in sinks.items()], conntrack=PLAIN,
                          exporter="enterprise-number = 32473", await_sinks=list(sinks.values()))
    viewer = stand.viewer(lab, where, daemon.live, "--format", "csv")
    sinks["udp"].wait_flows(where.generate(10))
    time.sleep(2)
    checks.equal("nothing is told before something is lost", [], [
        r for sink in sinks.values() for r in sink.records() if r["template"] >= METERING and r["options"]])
    before = time.time() * 1000
    burst(where, daemon)
    for name in ("udp", "full", "tcp"):
        record = wait_told(sinks[name], METERING)
        late = time.time() * 1000 - record["observationTimeMilliseconds2"]
        checks.true(f"{name}: told soon", late < 5000, f"expected less than 5 s, got {late:.0f} ms")
        times = [record["observationTimeMilliseconds" + n] for n in ("", "2")]
        checks.true(f"{name}: when", before - 5000 <= times[0] <= times[1] <= time.time() * 1000,
                    f"expected {before:.0f} to now, got {times}")
        checks.equal(f"{name}: scope", (77, 1), (record["observationDomainId"], record["meteringProcessId"]))
    kind = wait_told(sinks["full"], KIND)
    checks.equal("the kind, where there is a word for it", OVERRUN, kind["gapKind"])
    came = sum(r["protocolIdentifier"] == 6 for r in sinks["udp"].flows())
    lib.wait_until(lambda: sum(r["protocolIdentifier"] == 6 for r in sinks["udp"].flows())
                   + told(sinks["udp"], METERING)[-1]["notSentFlowTotalCount"] == BURST, 10,
                   f"came ({came}) and told to be lost sum up")
    checks.true("what came and what is told to be lost is all", True, "")
    checks.equal("and nowhere else", [], told(sinks["udp"], KIND))
    seen = len(told(sinks["udp"], METERING))
    lib.wait_until(lambda: len(told(sinks["udp"], METERING)) >= seen + 2, 10, "it is told again")
    checks.equal("NetFlow v9 has no such records", [], [r for r in sinks["v9"].records()
                                                        if r["options"] and r["template"] >= METERING])
    checks.equal("nobody lost what it was sent", [], [r for s in sinks.values() for r in told(s, EXPORTING)])
    checks.equal("log", 1, len(daemon.lines("the kernel dropped")))
    seen = viewer.text().count("\n")
    sinks["udp"].wait_flows(len(sinks["udp"].flows()) + where.generate(5))
    lib.wait_until(lambda: viewer.text().count("\n") >= seen + 5, 10, "flows at a viewer that was told, too")
    checks.equal("the viewer has nothing to complain of", [], [line for line in viewer.text().splitlines()
                                                               if line.startswith("peerflow")])
    checks.equal("exit status", 0, daemon.stop())
    for name, sink in sinks.items():
        stand.valid(checks, name, sink)


def exporting(checks, lab):
    """What one collector did not get it is told when it is back, and no other is."""
    where = stand.Stand(lab)
    other, port = where.udp(), next(where.ports)
    daemon = where.daemon([collector("other", other), collector("away", (stand.COLLECTOR, port), transport="tcp",
                                                                retry="1s", template="full")],
                          exporter="enterprise-number = 32473", await_sinks=[other])
    before = time.time() * 1000
    made = where.generate(HELD + 4000)
    sent = other.wait_flows(made)
    away = where.tcp(port=port)
    record = wait_told(away, EXPORTING)
    lost = record["notSentFlowTotalCount"]
    checks.true("some flow records were not sent", 3000 < lost < made, f"got {lost} of {made}")
    got = away.wait_flows(made - lost)
    stand.each_once(checks, "the others were kept", got, made - lost)
    checks.equal("packets and octets of those that were not", tuple(sum(r[word] for r in sent) - sum(r[word] for r in got)
                                                                    for word in ("packetDeltaCount", "octetDeltaCount")),
                 (record["notSentPacketTotalCount"], record["notSentOctetTotalCount"]))
    checks.equal("process", 1, record["exportingProcessId"])
    times = [record["observationTimeMilliseconds" + n] for n in ("", "2")]
    checks.true("when", before - 2000 <= times[0] <= times[1] <= time.time() * 1000, f"got {before:.0f} {times}")
    kind = wait_told(away, KIND)
    checks.equal("the kind, and that this is all", (UNREACHABLE, 0, lost),
                 (kind["gapKind"], kind["gapFlags"], kind["notSentFlowTotalCount"]))
    more = where.generate(50)
    away.wait_flows(made - lost + more)
    checks.equal("the other one", [], told(other, EXPORTING))
    checks.equal("exit status", 0, daemon.stop())
    checks.equal("log", lost, daemon.lost("away"))
    for name, sink in (("away", away), ("other", other)):
        stand.valid(checks, name, sink)


def queue(checks, lab):
    """A collector that stops reading and goes on: what its queue had no room for is told."""
    where = stand.Stand(lab)
    slow = where.tcp(buffer=65536)
    daemon = where.daemon([collector("slow", slow, queue="128K", template="full")],
                          exporter="enterprise-number = 32473", await_sinks=[slow])
    slow.reading.clear()
    made = where.generate(30000, "--rate", "30000")
    stand.wait_time(daemon, "its queue was full", 10)
    slow.reading.set()
    lib.wait_until(lambda: told(slow, EXPORTING) and len(slow.flows())
                   + told(slow, EXPORTING)[-1]["notSentFlowTotalCount"] == made, 20, "flows and told sum up")
    checks.true("sent and told to be lost is all", True, "")
    checks.equal("the kind", {QUEUE}, {r["gapKind"] for r in told(slow, KIND)})
    checks.equal("exit status", 0, daemon.stop())
    checks.equal("log", told(slow, EXPORTING)[-1]["notSentFlowTotalCount"], daemon.lost("slow", "its queue was full"))
    checks.equal("slow: violations, but for the holes in the sequence", {"H4"}, {v[0] for v in slow.violations()})


def refusal(checks, lab):
    """UDP to a collector that is not there: nobody counts what comes back, so all of it may be lost."""
    where = stand.Stand(lab)
    first = where.udp()
    daemon = where.daemon([collector("udp", first, template="full", retry="1s")],
                          exporter="enterprise-number = 32473", await_sinks=[first])
    first.wait_flows(where.generate(20))
    time.sleep(3)
    first.close()
    time.sleep(0.5)
    lost = where.generate(20)
    checks.true("said", stand.wait_time(daemon, "it could not be reached", 10), daemon.text())
    second = where.udp(port=first.port)
    record = wait_told(second, EXPORTING, seconds=15)
    checks.equal("may be lost", lost, record["notSentFlowTotalCount"])
    kind = wait_told(second, KIND)
    checks.equal("kind, and that there may be more", (UNREACHABLE, 1), (kind["gapKind"], kind["gapFlags"]))
    time.sleep(3)
    checks.equal("and no more is: what carries no flows is no loss", {lost},
                 {r["notSentFlowTotalCount"] for r in told(second, EXPORTING)})
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "before", first)


def restart(checks, lab):
    """The next process goes on telling what the last one knew, even if that was killed."""
    where = stand.Stand(lab)
    sink, run = where.udp(), lab.directory / "run"

    def start():
        text = where.configuration([collector("one", sink)], conntrack=PLAIN).replace("@RUN@", str(run))
        before = len(sink.messages)
        daemon = stand.Daemon(lab, where.router, text)
        lib.wait_until(lambda: len(sink.messages) > before, 10, "templates")
        return daemon

    daemon = start()
    burst(where, daemon)
    known = wait_told(sink, METERING)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    before = len(told(sink, METERING))
    daemon = start()
    lib.wait_until(lambda: len(told(sink, METERING)) > before, 10, "the next process tells it")
    again = told(sink, METERING)[-1]
    checks.equal("the same first time", known["observationTimeMilliseconds"], again["observationTimeMilliseconds"])
    checks.equal("no new line in the log", [], daemon.lines("the kernel dropped"))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "restart", sink)


def real(checks, lab):
    """nfcapd and nfacctd take flows and gap records and have nothing to complain of; tshark reads them."""
    where = stand.Stand(lab)
    kinds = [kind for kind in (collectors.Nfcapd, collectors.Nfacctd) for _ in ("default", "full") if not kind.missing()]
    receivers = [kind(9001 + n) for n, kind in enumerate(kinds)]
    for receiver in receivers:
        receiver.start(lab, where.collector)
    own, capture = where.udp(), lab.directory / "export.pcap"
    trace = lab.capture(where.collector, capture, "udp")
    daemon = where.daemon([collector("own", own, template="full", template_refresh="2s")] + [
        collector(f"c{r.port}", (stand.COLLECTOR, r.port), template=("full", "default")[r.port % 2], template_refresh="2s")
        for r in receivers], conntrack=PLAIN, exporter="enterprise-number = 32473", await_sinks=[own])
    burst(where, daemon)
    wait_told(own, KIND)
    time.sleep(3)
    checks.equal("exit status", 0, daemon.stop())
    trace.stop()
    for receiver in receivers:
        receiver.stop()
        name = f"{receiver.program}, template {('full', 'default')[receiver.port % 2]}"
        checks.equal(f"{name}: complaints", [], receiver.problems())
        checks.true(f"{name}: flows", len(receiver.shown()) > 20, "got none")
    tshark = collectors.Tshark(lab, capture, [own.port, *(r.port for r in receivers)])
    checks.equal("tshark: complaints", [], tshark.complaints())
    text = tshark.run("-V", "-Y", f"udp.port=={own.port}")
    for words in ("Not Sent Flows", "Ignored Packets", "Observation Time Milliseconds"):
        checks.true(f"tshark shows: {words}", words in text, text[:3000])
    stand.valid(checks, "own", own)


CASES = (metering, exporting, queue, refusal, restart, real)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
