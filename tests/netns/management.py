# SPDX-License-Identifier: GPL-3.0-or-later
"""A management server of NetBird, as far as its reading calls go: the account of a mesh, over HTTP or HTTPS, and
everything that a server which is ill, strict or hostile might answer instead.

    account = management.Account()
    account.peer("alice-laptop", "100.90.0.7", user="alice@example.com", groups=["engineers"])
    server = management.Server(namespace, "127.0.0.1", account)
    server.ways["/api/users"] = management.refuse(403)
"""

import hashlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time

TOKEN = "nbp_0123456789abcdef0123456789abcdef0123"
DOMAIN = "netbird.selfhosted"


def identity(kind, name):
    """Twenty characters, as an xid has them."""
    return kind + hashlib.sha256(name.encode()).hexdigest()[:20 - len(kind)]


class Account:
    """What the server knows."""

    def __init__(self):
        self.users, self.peers, self.networks, self.routers, self.resources, self.routes, self.policies = ([] for _ in
                                                                                                          range(7))

    @staticmethod
    def groups(names):
        return [{"id": identity("g", name), "name": name, "peers_count": 1, "resources_count": 0, "issued": "api"}
                for name in names]

    def user(self, email):
        if not any(u["email"] == email for u in self.users):
            self.users.append({"id": f"google-oauth2|{identity('u', email)}", "email": email, "name": email.split("@")[0],
                               "role": "user", "status": "active", "auto_groups": None, "is_service_user": False})
        return f"google-oauth2|{identity('u', email)}"

    def peer(self, name, address, address6=None, user=None, groups=()):
        peer = {"id": identity("p", name), "name": name, "ip": address, "connection_ip": "198.51.100.9", "connected": True,
                "created_at": "2026-05-05T09:00:35.477782Z", "os": "Ubuntu 24.04", "geoname_id": 2950159,
                "groups": self.groups(("All", *groups)), "user_id": self.user(user) if user else "", "hostname": name,
                "dns_label": f"{name}.{DOMAIN}", "extra_dns_labels": [], "local_flags": {"disable_dns": False}}
        if address6:
            peer["ipv6"] = address6
        self.peers.append(peer)

    def fill(self, count):
        for n in range(count):
            self.peer(f"peer-{n}", f"100.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}", user=f"user-{n % 97}@example.com",
                      groups=(f"group-{n % 31}",))

    def network(self, name, router, resources, metric=9999):
        """resources: (name, kind, address, groups)."""
        self.routers.append({"id": identity("r", name), "peer": identity("p", router), "metric": metric, "masquerade": True,
                             "enabled": True})
        for resource, kind, address, groups in resources:
            self.resources.append({"id": identity("s", resource), "type": kind, "name": resource, "description": "",
                                   "address": address, "enabled": True, "groups": self.groups(groups)})
        self.networks.append({"id": identity("n", name), "name": name, "description": "", "routers": [identity("r", name)],
                              "routing_peers_count": 1, "resources": [identity("s", r[0]) for r in resources],
                              "policies": None})

    def policy(self, name, sources, destinations, protocol="all", ports=(), bidirectional=False):
        self.policies.append({"id": identity("o", name), "name": name, "description": "", "enabled": True, "rules": [{
            "id": identity("o", name), "name": name, "enabled": True, "action": "accept", "bidirectional": bidirectional,
            "protocol": protocol, "ports": [str(p) for p in ports] or None, "port_ranges": None,
            "sources": self.groups(sources), "destinations": self.groups(destinations),
            "sourceResource": {"id": "", "type": "peer"}, "destinationResource": {"id": "", "type": "peer"}}]})

    def list(self, path):
        return {"/api/users": self.users, "/api/peers": self.peers, "/api/networks": self.networks,
                "/api/networks/routers": self.routers, "/api/networks/resources": self.resources,
                "/api/routes": self.routes, "/api/policies": self.policies}.get(path)


# Other ways to answer: functions of the handler.

def refuse(status, **headers):
    """That status, with headers (Retry_After="7")."""
    def way(handler):
        handler.answer(status, json.dumps({"message": "no", "code": status}).encode(),
                       **{key.replace("_", "-"): value for key, value in headers.items()})
    return way


def say(body, length=None):
    """That body, whatever it is; length: what the header says."""
    def way(handler):
        handler.answer(200, body, length)
    return way


def silence(handler):
    handler.server.leave.wait()


def drip(handler):
    """A list that goes on and on, an octet at a time."""
    handler.start(200, 1 << 30)
    while not handler.server.leave.wait(0.1):
        handler.wfile.write(b" ")


def flood(handler):
    """A list without an end, as fast as it goes."""
    handler.start(200, 1 << 40)
    element = b'{"id":"x","name":"y","ip":"100.64.0.1"},' * 1000
    handler.wfile.write(b"[")
    while not handler.server.leave.is_set():
        handler.wfile.write(element)


def huge(handler):
    """One element that does not end."""
    handler.start(200, 1 << 40)
    handler.wfile.write(b'[{"id":"')
    while not handler.server.leave.is_set():
        handler.wfile.write(b"x" * 65536)


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def start(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def answer(self, status, body, length=None, **headers):
        self.start(status, len(body) if length is None else length, **headers)
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        server.asked.append((time.monotonic(), self.command, self.path, self.headers.get("Authorization")))
        way = server.ways.get(self.path)
        if way:
            self.close_connection = True
            way(self)
        elif self.headers.get("Authorization") != f"Token {server.token}":
            refuse(401)(self)
        elif server.account.list(self.path) is None:
            refuse(404)(self)
        else:
            self.answer(200, server.text(self.path))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Listens in that namespace until closed. asked: what it was asked, (when, method, path, Authorization)."""

    daemon_threads = True
    address_family = socket.AF_INET

    def __init__(self, namespace, address, account, certificate=None, port=0, token=TOKEN):
        self.account, self.token, self.ways, self.asked = account, token, {}, []
        self.leave = threading.Event()
        self._made = {}
        with namespace.entered():
            super().__init__((address, port), _Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if certificate else ''}://{address}:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def text(self, path):
        """Made once: a hundred thousand peers take their time."""
        if path not in self._made:
            self._made[path] = json.dumps(self.account.list(path)).encode()
        return self._made[path]

    def changed(self):
        self._made.clear()

    def paths(self):
        return [path for _, _, path, _ in self.asked]

    def handle_error(self, *_):
        pass                # whoever hangs up early is expected here

    def close(self):
        self.leave.set()
        self.shutdown()
        self.server_close()


def certify(directory, name, authority=None):
    """A certificate for an address, and its key: (path, path). authority: who signs it; without, it signs itself."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
               "2", "-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}"]
    if authority:
        command += ["-CA", str(authority[0]), "-CAkey", str(authority[1]), "-addext", f"subjectAltName=IP:{name}",
                    "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
