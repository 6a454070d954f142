# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces of wireguard-go, the real one, in namespaces of a lab.

    tunnels = wireguard.Tunnels(lab)
    a = tunnels.interface(router_a, "wt0", 51820)
    b = tunnels.interface(router_b, "wt0", 51820)
    a.peer(b, "100.90.0.2/32", "10.30.0.0/24", endpoint="192.0.2.6:51820")
"""

import subprocess

import lib

# Its socket has a path that all namespaces would share: so it gets a folder of its own, in a mount namespace of its own.
# The host's /run gets nothing.
OWN_FOLDER = ("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && mkdir /run/wireguard && "
              'mount --bind "$1" /run/wireguard && shift && exec "$@"', "sh")


def _wg(*arguments, **keywords):
    return subprocess.run(["wg", *arguments], check=True, capture_output=True, text=True, **keywords).stdout.strip()


class Interface:
    def __init__(self, lab, namespace, name, port):
        self.namespace, self.name = namespace, name
        self.folder = lab.directory / f"wireguard-{namespace.name}"
        self.folder.mkdir(exist_ok=True)
        # Whatever runs in this namespace and is to see the socket runs with this before it.
        self.wrap = (*OWN_FOLDER, str(self.folder))
        private = _wg("genkey")
        self.public = _wg("pubkey", input=private)
        self.program = lab.start(namespace, *self.wrap, "wireguard-go", "-f", name, environment={"LOG_LEVEL": "error"})
        lib.wait_until(lambda: (self.folder / f"{name}.sock").exists() or self.program.process.poll() is not None, 10,
                       f"wireguard-go {name} in {namespace.name}")
        key = self.folder / f"{name}.key"
        key.write_text(private, encoding="ascii")
        self.set("private-key", str(key), "listen-port", str(port))

    def set(self, *arguments):
        self.namespace.run([*self.wrap, "wg", "set", self.name, *arguments])

    def peer(self, other, *allowed, endpoint=None):
        self.set("peer", other.public, "allowed-ips", ",".join(allowed), *(("endpoint", endpoint) if endpoint else ()))
