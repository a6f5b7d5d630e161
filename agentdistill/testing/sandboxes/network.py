"""No way out over a network, nor to services of the host: a server of ours is reached from outside, not inside."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import suppress

from agentdistill.testing.sandboxes.bench import Bench, require
from agentdistill.testing.sandboxes.escapes import Escape
from agentdistill.testing.sandboxes.programs import run_bare, run_inside

PATIENCE = 0.3
"""Seconds that we listen for what may still be on its way."""

# ---- programs --------------------------------------------------------------------------------------------------------


def _connects(address: str, port: str) -> str:
    import socket

    with socket.create_connection((address, int(port)), timeout=5) as connection:
        return connection.recv(100).decode()


def _sends_datagram(address: str, port: str, text: str) -> str:
    import socket

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect((address, int(port)))
        sender.send(text.encode())
        return sender.recv(100).decode()


def _connects_to_unix_socket(name: str) -> str:
    """A leading ``@`` stands for the abstract namespace."""
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect("\0" + name[1:] if name.startswith("@") else name)
        return connection.recv(100).decode()


def _resolves(name: str) -> str:
    import socket

    return str(socket.getaddrinfo(name, 80)[0][4])


def _makes_socket(family: str, kind: str, protocol: str = "0") -> str:
    import socket

    socket.socket(int(family), int(kind), int(protocol)).close()
    return "a socket of family " + family


def _lists_interfaces() -> str:
    """Every interface that is not a loopback, and every route that leads out."""
    import socket

    found = [name for _, name in socket.if_nameindex() if name not in ("lo", "lo0")]
    with open("/proc/net/route") as file:
        found += ["route " + line.split()[1] for line in file.readlines()[1:]]
    if not found:
        raise FileNotFoundError("there is only a loopback")
    return " ".join(found)


def _connects_by_io_uring(port: str) -> str:
    """Make a TCP socket and connect it without the system calls that do so, which a filter may look at."""
    import ctypes
    import mmap
    import os
    import socket
    import struct

    libc = ctypes.CDLL(None, use_errno=True)

    def call(*numbers: object) -> int:
        result = int(libc.syscall(*numbers))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    parameters = ctypes.create_string_buffer(120)
    ring = call(425, 4, parameters)
    entries = struct.unpack_from("I", parameters, 0)[0]
    sq, cq = struct.unpack_from("7I", parameters, 40), struct.unpack_from("7I", parameters, 80)
    submitted = mmap.mmap(ring, sq[6] + entries * 4, offset=0)
    completed = mmap.mmap(ring, cq[5] + entries * 2 * 16, offset=0x8000000)
    requests = mmap.mmap(ring, entries * 64, offset=0x10000000)

    def ask(request: bytes) -> int:
        tail = struct.unpack_from("I", submitted, sq[1])[0]
        slot = tail & struct.unpack_from("I", submitted, sq[2])[0]
        requests[slot * 64 : slot * 64 + 64] = request.ljust(64, b"\0")
        struct.pack_into("I", submitted, sq[6] + slot * 4, slot)
        struct.pack_into("I", submitted, sq[1], tail + 1)
        call(426, ring, 1, 1, 1, None, 0)
        head = struct.unpack_from("I", completed, cq[0])[0]
        place = cq[5] + (head & struct.unpack_from("I", completed, cq[2])[0]) * 16
        result = int(struct.unpack_from("Qi", completed, place)[1])
        struct.pack_into("I", completed, cq[0], head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    # opcode, flags, ioprio, fd, off, addr, len: IORING_OP_SOCKET and IORING_OP_CONNECT
    made = ask(struct.pack("=BBHiQQI", 45, 0, 0, socket.AF_INET, socket.SOCK_STREAM, 0, 0))
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", int(port), socket.inet_aton("127.0.0.1"))
    buffer = ctypes.create_string_buffer(address, 16)
    ask(struct.pack("=BBHiQQI", 16, 0, 0, made, 16, ctypes.addressof(buffer), 0))
    with socket.socket(fileno=made) as connection:
        return connection.recv(100).decode()


# ---- the network -----------------------------------------------------------------------------------------------------


def tcp_does_not_reach_the_host(bench: Bench) -> str:
    """A TCP server on the host's loopback is not reached."""
    port = _Server(bench).port
    return Escape(_connects, ("127.0.0.1", str(port)), proof=_Server.GREETING).fails_in(bench.sandbox())


def tcp_does_not_reach_other_addresses_of_the_host(bench: Bench) -> str:
    """A TCP server on the address that the host has in its network is not reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # for documentation only (RFC 5737); nothing is sent
            address = asking.getsockname()[0]
        except OSError:
            return "the host has no address but its loopback"
    port = _Server(bench, address="0.0.0.0").port
    return Escape(_connects, (address, str(port)), proof=_Server.GREETING).fails_in(bench.sandbox())


def ipv6_does_not_reach_the_host(bench: Bench) -> str:
    """A TCP server on the host's IPv6 loopback is not reached."""
    try:
        server = _Server(bench, socket.AF_INET6, "::1")
    except OSError as error:
        return f"the host has no IPv6 ({error.strerror})"
    return Escape(_connects, ("::1", str(server.port)), proof=_Server.GREETING).fails_in(bench.sandbox())


def udp_does_not_reach_the_host(bench: Bench) -> str:
    """A datagram to the host's loopback neither arrives nor is answered."""
    echo = _Echo(bench)
    escape = Escape(_sends_datagram, ("127.0.0.1", str(echo.port), "hello"), noticed=echo.heard)
    return escape.fails_in(bench.sandbox())


def dns_does_not_resolve(bench: Bench) -> str:
    """No name of the network is resolved, and no question reaches a server for names on the host."""
    echo = _Echo(bench)
    sandbox = bench.sandbox()
    question = "\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"
    ask = Escape(_sends_datagram, ("127.0.0.1", str(echo.port), question.encode().hex()), noticed=echo.heard)
    ask.fails_in(sandbox)
    inside = run_inside(sandbox, _resolves, "example.com", timeout=15)
    require(inside.output.startswith("stopped: "), f"it was resolved: {inside.output}")
    return inside.output.strip()


def metadata_service_is_out_of_reach(bench: Bench) -> str:
    """The address at which clouds tell machines their secrets is refused at once."""
    shown = run_bare(_connects, "127.0.0.1", str(_Server(bench).port))
    require(shown.startswith("reached: "), "nothing is shown: the attempt works nowhere")
    inside = run_inside(bench.sandbox(), _connects, "169.254.169.254", "80", timeout=15)
    require(inside.output.startswith("stopped: "), f"it was reached: {inside.output}")
    require("timed out" not in inside.output, "there is a way to it: the attempt timed out instead of being refused")
    return inside.output.strip()


def only_a_loopback_is_there(bench: Bench) -> str:
    """There is no network interface but a loopback of its own, and no route."""
    return Escape(_lists_interfaces, shown_where_possible=True).fails_in(bench.sandbox())


def io_uring_does_not_reach_the_host(bench: Bench) -> str:
    """A socket made and connected by io_uring, past the system calls for it, does not reach the host."""
    port = _Server(bench).port
    escape = Escape(_connects_by_io_uring, (str(port),), proof=_Server.GREETING, shown_where_possible=True)
    return escape.fails_in(bench.sandbox())


def vsock_does_not_reach_the_hypervisor(bench: Bench) -> str:
    """No socket to the hypervisor can be made: its address family knows no network namespaces."""
    escape = Escape(_makes_socket, (str(int(socket.AF_VSOCK)), str(int(socket.SOCK_STREAM))), shown_where_possible=True)
    return escape.fails_in(bench.sandbox())


def raw_packets_cannot_be_sent(bench: Bench) -> str:
    """No raw socket can be made."""
    sandbox = bench.sandbox()
    for family, protocol in ((socket.AF_PACKET, 0), (socket.AF_INET, socket.IPPROTO_ICMP)):
        arguments = (str(int(family)), str(int(socket.SOCK_RAW)), str(int(protocol)))
        told = Escape(_makes_socket, arguments, only_root=True).fails_in(sandbox)
    return told


# ---- sockets of the host ---------------------------------------------------------------------------------------------


def abstract_sockets_of_the_host_are_out_of_reach(bench: Bench) -> str:
    """A Unix socket of the host without a file, in the abstract namespace, is not reached."""
    name = f"@agentdistill-check-{secrets.token_hex(8)}"
    _Server(bench, socket.AF_UNIX, "\0" + name[1:])
    return Escape(_connects_to_unix_socket, (name,), proof=_Server.GREETING).fails_in(bench.sandbox())


def unix_sockets_of_the_host_are_out_of_reach(bench: Bench) -> str:
    """A Unix socket in a folder of the host that anybody may enter is not reached."""
    path = str(bench.folder() / "socket")
    _Server(bench, socket.AF_UNIX, path)
    os.chmod(path, 0o666)
    return Escape(_connects_to_unix_socket, (path,), proof=_Server.GREETING).fails_in(bench.sandbox())


def sockets_of_services_are_not_there(bench: Bench) -> str:
    """Docker, containerd, podman, D-Bus, SSH and GPG agents are not reached, at the usual or at this user's places."""
    run = f"/run/user/{os.getuid()}"
    places = [
        *("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"),
        *("/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket", "/run/systemd/private"),
        *(f"{run}/bus", f"{run}/docker.sock", f"{run}/gnupg/S.gpg-agent", f"{run}/keyring/ssh"),
    ]
    for variable in ("SSH_AUTH_SOCK", "DOCKER_HOST", "DBUS_SESSION_BUS_ADDRESS"):
        place = os.environ.get(variable, "").removeprefix("unix:").removeprefix("path=").removeprefix("//")
        if place.startswith("/"):
            places.append(place)
    path = str(bench.folder() / "socket")
    _Server(bench, socket.AF_UNIX, path)
    sandbox = bench.sandbox()
    Escape(_connects_to_unix_socket, (path,), proof=_Server.GREETING).fails_in(sandbox)
    for place in places:
        inside = run_inside(sandbox, _connects_to_unix_socket, place)
        require(inside.output.startswith("stopped: "), f"{place} answers: {inside.output}")
    return f"{len(places)} places"


def _socket(bench: Bench, family: int, kind: int) -> socket.socket:
    """A socket that is closed when the check is over, which ends whoever waits at it."""
    made = socket.socket(family, kind)
    bench.on_close(made.close)

    def wake() -> None:
        with suppress(OSError):
            made.shutdown(socket.SHUT_RDWR)

    bench.on_close(wake)
    return made


class _Server:
    """Greets whoever connects, until the check is over."""

    GREETING = "welcome to the host"

    def __init__(self, bench: Bench, family: int = socket.AF_INET, address: str = "127.0.0.1") -> None:
        self._socket = _socket(bench, family, socket.SOCK_STREAM)
        self._socket.bind(address if family == socket.AF_UNIX else (address, 0))
        self._socket.listen()
        self.port = 0 if family == socket.AF_UNIX else int(self._socket.getsockname()[1])
        threading.Thread(target=self._greet, daemon=True).start()

    def _greet(self) -> None:
        with suppress(OSError):  # closed when the check is over
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.sendall(self.GREETING.encode())


class _Echo:
    """Sends datagrams back, and remembers that there were some."""

    def __init__(self, bench: Bench) -> None:
        self._socket = _socket(bench, socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._something = threading.Event()
        threading.Thread(target=self._answer, daemon=True).start()

    def heard(self) -> bool:
        """True if a datagram came since this was last asked."""
        came = self._something.wait(PATIENCE)
        self._something.clear()
        return came

    def _answer(self) -> None:
        with suppress(OSError):
            while True:
                text, sender = self._socket.recvfrom(1000)
                if sender is None:  # woken by its end
                    return
                self._something.set()
                self._socket.sendto(text, sender)
