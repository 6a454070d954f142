# SPDX-License-Identifier: GPL-3.0-or-later
"""A NetBird client, as far as it can be seen from outside: its JSON gateway on a UNIX socket (the stream of changes,
single questions, refusals, restarts, and whatever a client that is ill or hostile might say), and its command.

    mesh = netbird.Mesh("site-a-router", "100.90.0.1/16")
    mesh.peer("site-b-router", "100.90.0.2", networks=["10.30.0.0/24"])
    gateway = netbird.Gateway(directory / "netbird-http.sock", mesh)
    mesh.rename("100.90.0.2", "berlin")
    gateway.changed()
"""

import base64
import collections
import contextlib
import hashlib
import itertools
import json
import os
import socket
import threading
import time

DOMAIN = "netbird.selfhosted"
READING = ("Status", "SubscribeStatus", "ListNetworks", "ForwardingRules")
CHUNK = 64 << 10


def _key(name):
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


class Mesh:
    """What the client knows. Texts are made once for each change, since a hundred thousand peers take their time."""

    def __init__(self, name, address, address6="", networks=(), kernel=True):
        self.name, self.address, self.address6, self.networks, self.kernel = name, address, address6, networks, kernel
        self.peers = {}
        self.routes = []
        self.revision = 1
        self.word = "Connected"
        self._lock = threading.Lock()
        self._made = {}

    def _change(self):
        self._made.clear()

    def peer(self, name, address, address6="", networks=(), connected=True):
        with self._lock:
            self.peers[address] = (name, address6, tuple(networks), connected)
            self._change()

    def fill(self, count, networks=0):
        """That many more peers, some with a network of their own."""
        with self._lock:
            for n in range(count):
                address = f"100.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"
                network = (f"172.{16 + (n >> 8 & 15)}.{n & 255}.0/24",) if n < networks else ()
                address6 = f"fd12:3456:789a:1::{n >> 16:x}:{n & 0xffff:x}"
                self.peers[address] = (f"peer-{n}", address6, network, n % 3 == 0)
            self._change()

    def rename(self, address, name):
        with self._lock:
            self.peers[address] = (name, *self.peers[address][1:])
            self._change()

    def remove(self, address):
        with self._lock:
            del self.peers[address]
            self._change()

    def route(self, name, prefix, domains=None):
        """A resource; domains are those it is made of, with the addresses they have now."""
        with self._lock:
            self.routes.append({"ID": name, "range": prefix, "selected": True, "domains": list(domains or {}),
                                "resolvedIPs": {d: {"ips": list(ips)} for d, ips in (domains or {}).items()}})
            self.revision += 1
            self._change()

    def _gateway_peer(self, address, peer):
        name, address6, networks, connected = peer
        return {"IP": address, "pubKey": _key(name), "connStatus": "Connected" if connected else "Idle",
                "connStatusUpdate": "2026-08-22T08:11:12.123456789Z", "relayed": False,
                "localIceCandidateType": "host", "remoteIceCandidateType": "srflx", "fqdn": f"{name}.{DOMAIN}",
                "localIceCandidateEndpoint": "192.0.2.10:51820", "remoteIceCandidateEndpoint": "198.51.100.77:51820",
                "lastWireguardHandshake": "2026-08-22T10:00:01.500Z", "bytesRx": "123456", "bytesTx": "18446744073709",
                "rosenpassEnabled": False, "networks": list(networks), "latency": "0.020897800s",
                "relayAddress": "rels://relay.example.com:443", "sshHostKey": "", "ipv6": address6}

    def _gateway(self):
        up = self.word == "Connected"
        local = {"IP": self.address, "pubKey": _key(self.name), "kernelInterface": self.kernel,
                 "fqdn": f"{self.name}.{DOMAIN}", "rosenpassEnabled": False, "rosenpassPermissive": False,
                 "networks": list(self.networks), "ipv6": self.address6, "wgPort": 51820}
        state = {"URL": "https://netbird.example.com:443", "connected": up, "error": ""}
        return {"status": self.word, "fullStatus": {
            "managementState": state, "signalState": state, "localPeerState": local if up else None,
            "peers": [self._gateway_peer(*item) for item in self.peers.items()] if up else [],
            "relays": [{"URI": "rels://netbird.example.com:443", "available": True, "error": "", "transport": "quic"}],
            "dnsServers": [{"servers": ["10.20.0.53:53"], "domains": ["corp.example.com"], "enabled": True,
                            "error": ""}],
            "NumberOfForwardingRules": 0, "events": [], "lazyConnectionEnabled": False,
            "sshServerState": {"enabled": False, "sessions": []}, "networksRevision": str(self.revision),
        }, "daemonVersion": "0.77.1", "sessionExpiresAt": None}

    def _command_peer(self, address, peer):
        name, address6, networks, connected = peer
        said = {"fqdn": f"{name}.{DOMAIN}", "netbirdIp": address, "publicKey": _key(name),
                "status": "Connected" if connected else "Idle",
                "lastStatusUpdate": "2026-08-22T10:11:12.123456789+02:00", "connectionType": "P2P",
                "iceCandidateType": {"local": "host", "remote": "srflx"}, "transferReceived": 123456,
                "transferSent": 18446744073709, "latency": 20897800, "networks": list(networks) or None}
        return {**said, "netbirdIpv6": address6} if address6 else said

    def _command(self):
        up = self.word == "Connected"
        peers = [self._command_peer(*item) for item in self.peers.items()] if up else None
        return {"peers": {"total": len(peers or ()), "connected": 0, "details": peers}, "cliVersion": "0.77.1",
                "daemonVersion": "0.77.1", "daemonStatus": self.word, "relays": {"total": 0, "details": None},
                "netbirdIp": self.address if up else "", "publicKey": _key(self.name),
                "usesKernelInterface": self.kernel, "wireguardPort": 51820,
                "fqdn": f"{self.name}.{DOMAIN}" if up else "",
                "networks": list(self.networks) or None, "forwardingRules": 0, "dnsServers": [], "events": [],
                "profileName": "default"}

    def text(self, what):
        """"gateway", "frame", "command" or "networks", as octets. protojson puts spaces where it likes; so do we."""
        with self._lock:
            if what not in self._made:
                value = {"gateway": self._gateway, "command": self._command,
                         "networks": lambda: {"routes": self.routes},
                         "frame": lambda: {"result": self._gateway()}}[what]()
                separators = (",", ":") if what == "command" or len(self.peers) % 2 else (", ", ":  ")
                self._made[what] = json.dumps(value, separators=separators).encode()
            return self._made[what]


class Gateway:
    """The JSON gateway. ways says how a call behaves that is to behave otherwise: a function of the connection, which
    may do what it likes with it; see below for some. calls counts all calls there were, by name."""

    def __init__(self, path, mesh):
        self.path, self.mesh = os.fspath(path), mesh
        self.ways = {}
        self.calls = collections.Counter()
        self._changes = threading.Condition()
        self._change = 0
        self._ends = threading.Event()
        self._threads = []
        self._open = []
        self._listener = None
        self.start()

    def start(self):
        self._ends.clear()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self, unlink=True):
        """The client ends, in the middle of whatever it says."""
        self._ends.set()
        self.changed()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        if unlink:
            os.unlink(self.path)

    def restart(self, seconds=0):
        self.stop()
        time.sleep(seconds)
        self.start()

    def changed(self):
        """The next frame of every stream."""
        with self._changes:
            self._change += 1
            self._changes.notify_all()

    def writing(self):
        """Calls that may change something, which nobody should have made."""
        return {call: n for call, n in self.calls.items() if call not in READING}

    def _accept(self):
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                self._open.append(connection)
                thread.start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            request = b""
            while b"\r\n\r\n" not in request and (data := connection.recv(4096)):
                request += data
            method, path = (request.decode("latin-1").split(" ") + ["", ""])[:2]
            name = path.rpartition("/")[2] if path.startswith("/daemon.DaemonService/") and method == "POST" else path
            if request:         # whoever is stopped meanwhile goes without a word
                self.calls[name] += 1
                self.ways.get(name, getattr(self, f"_{name}", self._unknown))(Answer(connection, self))
        self._open.remove(connection)

    @staticmethod
    def _unknown(answer):
        answer.refuse(501, "Not Implemented", {"code": 12, "message": "Method Not Allowed", "details": []})

    def _Status(self, answer):                  # pylint: disable=invalid-name
        answer.whole(self.mesh.text("gateway"))

    def _ListNetworks(self, answer):            # pylint: disable=invalid-name
        answer.whole(self.mesh.text("networks"))

    def _SubscribeStatus(self, answer):         # pylint: disable=invalid-name
        answer.head()
        for frame in answer.frames():
            answer.chunks(frame + b"\n")


class Answer:
    """One connection, whose question has been read."""

    def __init__(self, connection, gateway):
        self.connection, self.gateway = connection, gateway

    def send(self, octets):
        self.connection.sendall(octets)

    def whole(self, octets, status="200 OK", head=""):
        self.send(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{head}"
                  f"Content-Length: {len(octets)}\r\n\r\n".encode() + octets)

    def refuse(self, status, reason, body, head=""):
        self.whole(json.dumps(body).encode(), f"{status} {reason}", head)

    def head(self):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, octets):
        self.send(b"%x\r\n%s\r\n" % (len(octets), octets))

    def chunks(self, octets, size=CHUNK, pause=0):
        for at in range(0, len(octets), size):
            self.chunk(octets[at:at + size])
            time.sleep(pause)

    def frames(self):
        """The state now, and again after each change; changes that come while nobody listens are merged."""
        seen = -1
        while not self.ended():
            with self.gateway._changes:         # pylint: disable=protected-access
                change = self.gateway._change   # pylint: disable=protected-access
                if change == seen:
                    self.gateway._changes.wait(0.1)     # pylint: disable=protected-access
                    continue
                seen = change
            yield self.gateway.mesh.text("frame")

    def ended(self):
        return self.gateway._ends.is_set()      # pylint: disable=protected-access

    def wait(self, seconds=1e9):
        """Holds the connection until the client ends, or the other side has gone."""
        end = time.monotonic() + seconds
        self.connection.settimeout(0.05)
        while not self.ended() and time.monotonic() < end:
            try:
                if not self.connection.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                continue
        self.connection.settimeout(None)


# Ways to behave.

def refusing(status, reason, message, head=""):
    return lambda answer: answer.refuse(status, reason, {"code": 7, "message": message, "details": []}, head)


def unknown(answer):
    """As a client before 0.75 does."""
    answer.refuse(501, "Not Implemented", {"code": 12, "message": "unknown method SubscribeStatus", "details": []})


def silent(answer):
    answer.wait()


def half(answer):
    """Stops in the middle of a frame, and stays."""
    frame = answer.gateway.mesh.text("frame")
    answer.head()
    answer.chunk(frame[:len(frame) // 2])
    answer.wait()


def broken(answer):
    """Ends in the middle of a frame."""
    frame = answer.gateway.mesh.text("frame")
    answer.head()
    answer.chunk(frame[:len(frame) // 2])


def crumbs(answer):
    """Frames cut anywhere, in the middle of strings and characters, several in one piece."""
    answer.head()
    for frame in answer.frames():
        size = max(len(frame) // 97, 1)
        answer.chunks((frame + b"\r\n\n") * 2, size, 0.001)


def slow(answer):
    """An octet at a time."""
    answer.head()
    for octet in itertools.cycle(answer.gateway.mesh.text("frame")):
        answer.chunk(bytes((octet,)))
        answer.wait(0.05)


def saying(octets):
    """These octets, in one answer that then ends well."""
    return lambda answer: answer.whole(octets)


def endless(start, octets):
    """An answer that begins like this and then goes on with the same octets for ever, as fast as they are taken."""
    def say(answer):
        answer.head()
        answer.chunk(start)
        while not answer.ended():
            answer.chunk(octets)
    return say


def headless(answer):
    """No end of headers."""
    answer.send(b"HTTP/1.1 200 OK\r\n")
    while not answer.ended():
        answer.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")


def no_http(answer):
    answer.send(b"SSH-2.0-NetBird\r\n")


PEER = b'{"fullStatus":{"peers":['

# name -> octets of an answer that no client should give
HOSTILE = {
    "deep": b"[" * 200000,
    "deep in a peer": PEER + b'{"networks":' + b'{"a":[' * 100000,
    "huge numbers": PEER + b'{"IP":"100.90.0.2","fqdn":"x","bytesRx":1' + b"0" * 100000 + b"}]}}",
    "wrong types": b'{"status":[],"fullStatus":{"peers":{"IP":1},"localPeerState":"x","networksRevision":{}},'
                   b'"peers":true,"netbirdIp":[1],"networks":"all"}',
    "not UTF-8": PEER + b'{"IP":"100.90.0.2","fqdn":"\xff\xfe\xc0\x80"}],"\xff":1}',
    "NULs": PEER + b'{"IP":"100.90.0.2","fqdn":"a\x00b"}]}}',
    "half a character": PEER + b'{"IP":"100.90.0.2","fqdn":"\\ud83d"}]}}\xf0\x9f',
    "no JSON": b"<!DOCTYPE html><html>",
    "nothing": b"",
    "a number": b"5",
    "an error": b'{"error":{"code":2,"message":"\\u001b[2J\\u0000rm -rf"}}',
}


def command(path, answer, status=0, complaint=""):
    """Writes a program that behaves as "netbird status --json" does: it prints what is in answer, which is a path."""
    path.write_text("#!/bin/sh\n[ \"$*\" = 'status --json' ] || exit 64\n"
                    f"[ -z '{complaint}' ] || echo '{complaint}' >&2\ncat '{answer}'\nexit {status}\n",
                    encoding="ascii")
    path.chmod(0o755)
    return path
