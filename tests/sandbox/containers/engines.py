"""What tests of containers share: what is ours on an engine, an engine elsewhere, and one that comes and goes."""

import os
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time

import docker

from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker.leftovers import KIND, OWNER

LIMITS = Limits(seconds=20, memory_bytes=128 << 20, processes=40, workspace_bytes=16 << 20, workspace_files=500)


def ours(client, pid: int | None = None) -> list[str]:
    """Containers on the engine, which others may use too, that a process has made; without a number, we."""
    owner = f"{pid or os.getpid()}-"
    containers = client.containers(all=True, filters={"label": KIND})
    return [each["Id"] for each in containers if each["Labels"].get(OWNER, "").startswith(owner)]


def gone(client, before=(), pid: int | None = None) -> bool:
    """Whether, in a while, nothing of us is on the engine that was not before."""
    until = time.monotonic() + 30
    while set(ours(client, pid)) - set(before):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


class Relay:
    """A port that passes everything on to the engine's socket; encrypted if given a folder for certificates."""

    def __init__(self, certificates) -> None:
        self.context = None
        if certificates is not None:
            line = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
            files = {name: str(certificates / f"{name}.pem") for name in ("ca", "cert", "key")}
            made = ["openssl", *line.split(), "-keyout", files["key"], "-out", files["cert"]]
            subprocess.run(made, check=True, capture_output=True)
            (certificates / "ca.pem").write_bytes((certificates / "cert.pem").read_bytes())
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(files["cert"], files["key"])
        self.listener = socket.create_server(("localhost", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        return self.listener.getsockname()[1]

    def __exit__(self, *_) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near) -> None:
        # One thread for both ways: a TLS connection cannot be read and written by two at once.
        far = socket.socket(socket.AF_UNIX)
        far.connect("/var/run/docker.sock")
        if self.context is not None:
            near = self.context.wrap_socket(near, server_side=True)
        with near, far, selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in ready.select():
                    try:
                        data = key.fileobj.recv(1 << 16)
                        while self.context is not None and key.fileobj is near and near.pending():
                            data += near.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    key.data.sendall(data)


class OwnEngine:
    """A second engine, to be stopped and started at will."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/engine.sock"
        self.process = None

    def start(self) -> None:
        line = ["dockerd", "--iptables=false", "--bridge=none", "-H", self.host, "--storage-driver=vfs"]
        for option in ("data-root", "exec-root"):
            line.append(f"--{option}={self.folder}/{option}")
        (self.folder / "pid").unlink(missing_ok=True)
        until = time.monotonic() + 200
        while True:
            if self.process is None or self.process.poll() is not None:  # on a busy machine it gives up soon
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen([*line, f"--pidfile={self.folder}/pid"], stdout=log, stderr=log)
            try:
                docker.APIClient(base_url=self.host, version="auto").close()
                return
            except docker.errors.DockerException:
                assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.2)

    def stop(self, how=signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(timeout=60)
