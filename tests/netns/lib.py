# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces as a sentence.

    with Lab() as lab:
        router, host = lab.namespace("router"), lab.namespace("host")
        lab.wire(router, "eth0", host, "eth0")
        router.address("eth0", "10.20.0.1/24")

Namespaces have no name in the file system: the kernel keeps them as long as this process holds their descriptors, so
nothing is left behind even if it is killed. Programs die with it too (PR_SET_PDEATHSIG).
"""

import contextlib
import ctypes
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PEERFLOWD = os.environ.get("PEERFLOWD", str(REPOSITORY / "build" / "peerflowd"))
TEMPLATES = os.environ.get("TEMPLATES", str(REPOSITORY / "templates"))

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def wait_until(condition, seconds, what):
    """Polls until condition() is true and returns its value; what names the hope in the error."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return value


class Namespace:
    """One network namespace, entered for a moment at a time; a socket stays in the one it was made in."""

    def __init__(self, name, home):
        self.name = name
        self._home = home
        _check(_libc.unshare(CLONE_NEWNET))
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.setns(home, CLONE_NEWNET))

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def entered(self):
        _check(_libc.setns(self.fd, CLONE_NEWNET))
        try:
            yield self
        finally:
            _check(_libc.setns(self._home, CLONE_NEWNET))

    def socket(self, *arguments):
        with self.entered():
            return socket.socket(*arguments)

    def run(self, command, **keywords):
        """Runs a command to its end and returns what it printed; a failure is an error that shows both."""
        arguments = shlex.split(command) if isinstance(command, str) else command
        with self.entered():
            done = subprocess.run(arguments, capture_output=True, text=True, check=False, **keywords)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {shlex.join(arguments)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def ip(self, *lines):
        self.run("ip -batch -", input="\n".join(lines) + "\n")

    def address(self, device, *addresses):
        self.ip(*(f"addr add {a} dev {device}" + (" nodad" if ":" in a else "") for a in addresses),
                f"link set {device} up")

    def route(self, *routes):
        self.ip(*(f"route add {r}" for r in routes))

    def nft(self, rules):
        self.run("nft -f -", input=rules)

    def sysctl(self, **values):
        """Keys with __ for the dot: net__ipv4__ip_forward=1."""
        with self.entered():
            for key, value in values.items():
                pathlib.Path("/proc/sys", key.replace("__", "/")).write_text(f"{value}\n", encoding="ascii")

    def index(self, device):
        with self.entered():
            return socket.if_nametoindex(device)

    def conntrack(self):
        """The table as conntrack(8) prints it. Any dump makes the kernel end what has expired."""
        return self.run("conntrack -L -o id,extended").splitlines()


class Program:
    """A program running in a namespace, its output in a file."""

    def __init__(self, namespace, arguments, log, environment=None):
        self.name = os.path.basename(arguments[0])
        self.log = pathlib.Path(log)
        with namespace.entered(), open(log, "wb") as output:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, cwd=self.log.parent,
                                            stderr=subprocess.STDOUT, preexec_fn=die_with_parent, process_group=0,
                                            env={**os.environ, "TZ": "UTC", **(environment or {})})

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text, seconds=10):
        """Waits until the program has printed text."""
        def printed():
            if self.process.poll() is not None and text not in self.text():
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.text()}")
            return text in self.text()
        wait_until(printed, seconds, f"{self.name} prints {text!r}")

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Ends the program in order and returns its exit status; what does not listen is killed, and so are children
        that outlive it, such as nfacctd's plugins. They share its process group, whose number is its own as long as
        it has not been waited for."""
        if self.process.returncode is None:
            os.kill(self.process.pid, number)       # send_signal() may wait for it
            with contextlib.suppress(TimeoutError):
                wait_until(self._ended, seconds, f"{self.name} ends")
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def _ended(self):
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Lab:
    """Holds namespaces and programs; leaving it, by whatever way, ends and removes them all."""

    SIGNALS = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self, keep=False):
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._keep = keep
        self._namespaces = []
        self._programs = []
        self._others = []
        self.directory = None

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"peerflow-lab-{os.getpid()}-"))
        self.directory.chmod(0o755)
        self._handlers = {number: signal.signal(number, self._interrupt) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for program in reversed(self._programs):
            program.stop(seconds=2)
        for namespace in self._namespaces:
            os.close(namespace.fd)
        os.close(self._home)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._keep:
            print(f"# kept: {self.directory}")
        else:
            subprocess.run(["rm", "-rf", "--one-file-system", str(self.directory), *self._others], check=False)

    @staticmethod
    def _interrupt(number, _):
        raise SystemExit(128 + number)

    def namespace(self, name):
        namespace = Namespace(name, self._home)
        self._namespaces.append(namespace)
        # Duplicate address detection and router solicitation would only delay the first packet.
        namespace.sysctl(net__ipv6__conf__default__accept_dad=0, net__ipv6__conf__default__router_solicitations=0)
        namespace.ip("link set lo up")
        return namespace

    @staticmethod
    def wire(one, device, other, other_device):
        """A cable between two namespaces. Segments stay single packets, so that counters count what the wire has."""
        one.ip(f"link add {device} type veth peer name {other_device} netns {other.path}")
        for namespace, name in ((one, device), (other, other_device)):
            namespace.run(f"ethtool -K {name} tso off gso off gro off tx off")
            namespace.ip(f"link set {name} up")

    def start(self, namespace, *arguments, log=None, environment=None):
        number = len(self._programs)
        log = log or self.directory / f"{number:02}-{namespace.name}-{os.path.basename(arguments[0])}.log"
        program = Program(namespace, [str(a) for a in arguments], log, environment)
        self._programs.append(program)
        return program

    def adopt(self, program):
        """A program that was started in another way ends with the lab, too."""
        self._programs.append(program)

    def memory(self):
        """A directory like the lab's own, but on a file system in memory, as /run is."""
        path = f"/dev/shm/{self.directory.name}-{len(self._others)}"
        os.mkdir(path, 0o755)
        self._others.append(path)
        return path

    def capture(self, namespace, path, *expression, device="any", direction="inout"):
        """tcpdump into a file; with device "any" each packet carries its direction. Ready when this returns."""
        program = self.start(namespace, "tcpdump", "-n", "-i", device, "-Q", direction, "-w", path, "-U", "-Z", "root",
                             "--immediate-mode", "--time-stamp-precision=nano", "-s", "2048", "-B", "65536",
                             *expression)
        program.wait_for("listening on")
        return program

    def daemon(self, namespace, configuration, seconds=10, environment=None):
        """Runs peerflowd with the configuration, in directories of its own, and returns when it has said READY=1."""
        number = len(self._programs)
        path = self.directory / f"{number:02}-{namespace.name}.conf"
        own = (f"[exporter]\nruntime-directory = {path.with_suffix('.run')}\n"
               f"state-directory = {path.with_suffix('.state')}\n")
        path.write_text(configuration.replace("[exporter]\n", own, 1), encoding="utf-8")
        notify = self.directory / f"{number:02}-{namespace.name}.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(notify))
            ready.settimeout(0.1)
            daemon = self.start(namespace, PEERFLOWD, "--config", path,
                                environment={"NOTIFY_SOCKET": str(notify), **(environment or {})})
            _await_ready(ready, daemon, seconds)
        return daemon


def _await_ready(ready, daemon, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if daemon.process.poll() is not None:
            raise RuntimeError(f"peerflowd ended with {daemon.process.returncode}: {daemon.text()}")
        with contextlib.suppress(TimeoutError):
            if "READY=1" in ready.recv(4096).decode().split("\n"):
                return
    raise TimeoutError(f"peerflowd not ready within {seconds} s: {daemon.text()}")


class Checks:
    """One line a check; the sum at the end is the exit status."""

    def __init__(self, quiet=False):
        self.passed = self.failed = self.skipped = 0
        self._quiet = quiet

    def equal(self, what, expected, shown):
        return self.true(what, expected == shown, f"expected {expected!r} shown {shown!r}")

    def true(self, what, condition, otherwise):
        if condition:
            self.passed += 1
            if not self._quiet:
                print(f"ok {what}")
        else:
            self.failed += 1
            print(f"FAIL {what}: {otherwise}", flush=True)
        return bool(condition)

    def skip(self, what, why):
        self.skipped += 1
        print(f"skip {what}: {why}")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed or not self.passed else 0
