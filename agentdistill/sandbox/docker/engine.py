"""The Docker engine: reaching it, what it can enforce, starting and removing containers; its errors in our words."""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from agentdistill.errors import SandboxError, SandboxUnavailableError
from agentdistill.sandbox.docker.attached import Attached

_ANSWERS_WITHIN = 60.0
"""Seconds. An engine that needs longer for any call but a build is taken for hung."""
_DEFAULT = "unix:///var/run/docker.sock"
_ATTACH = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Image:
    """What we need to know of an image.

    Attributes:
        digest: its id on the engine.
        directory: its working directory, ``/`` if it names none.
        environment: the variables it sets.
        volumes: directories it declares as volumes.
        user: who its commands run as, as it says; empty for root.
    """

    digest: str
    directory: str
    environment: Mapping[str, str]
    volumes: tuple[str, ...]
    user: str = ""


class Engine:
    """One Docker engine. Thread-safe; connects at the first call.

    Args:
        host: as in ``DOCKER_HOST``; without it that variable counts, with ``DOCKER_TLS_VERIFY`` and
            ``DOCKER_CERT_PATH``, or else the local socket.
    """

    def __init__(self, host: str = "") -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or _DEFAULT
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def api(self) -> Any:
        """The SDK's client of the engine's HTTP interface. Call it inside of `calling`.

        Raises:
            SandboxUnavailableError: the SDK or the engine cannot be reached; says what to do.
        """
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    @contextmanager
    def calling(self, what: str) -> Iterator[None]:
        """Turn what the SDK raises within into our errors.

        Args:
            what: what was being done, for the message: ``start a container``.

        Raises:
            SandboxUnavailableError: the engine is gone, does not answer or lacks something that can be installed.
            SandboxError: the engine refused.
        """
        docker = _sdk()
        import requests

        try:
            yield
        except docker.errors.ImageNotFound as error:
            name = str(error.explanation).rpartition("image: ")[2]
            raise SandboxUnavailableError(
                f"the image {name!r} is not on the engine at {self.host}: `docker pull {name}`"
            ) from error
        except docker.errors.APIError as error:
            said = str(error.explanation or error).strip()
            if "nknown runtime" in said or "unknown or invalid runtime" in said:
                raise SandboxUnavailableError(
                    f"the engine at {self.host} cannot {what}: {said}; install it and name it under `runtimes` in the "
                    "engine's /etc/docker/daemon.json"
                ) from error
            raise SandboxError(f"the engine at {self.host} cannot {what}: {said}") from error
        except requests.exceptions.Timeout as error:
            raise SandboxUnavailableError(
                f"the engine at {self.host} did not {what} within {_ANSWERS_WITHIN:.0f} s: is it hung?"
            ) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise SandboxUnavailableError(f"cannot {what}: {self._unreachable(error)}") from error

    def check(self, runtime: str, *, root: bool = False) -> dict[str, str]:
        """See whether containers there can be confined as we promise; returns further gaps, as `Capabilities` has them.

        Args:
            runtime: what containers run with, if not with the engine's default.
            root: whether commands may be root.

        Raises:
            SandboxUnavailableError: they cannot; says what is missing.
        """
        with self.calling("tell what it can do"):
            about = self.api.info()
        refuse = f"the engine at {self.host} cannot confine: "
        if about.get("OSType") != "linux":
            raise SandboxUnavailableError(refuse + "it does not run Linux containers; switch it to them")
        theirs, ours = (_MACHINES.get(name, name) for name in (about.get("Architecture", ""), platform.machine()))
        if theirs != ours:
            raise SandboxUnavailableError(
                refuse + f"it runs on {theirs}, this program on {ours}, and containers get the Python of this program; "
                "use an engine of the same architecture"
            )
        missing = [name for name in ("MemoryLimit", "PidsLimit", "CpuCfsQuota") if not about.get(name)]
        if missing:
            raise SandboxUnavailableError(
                refuse + f"it lacks {', '.join(missing)}; give it the cgroup controllers memory, pids and cpu "
                "(a rootless engine needs cgroup v2 and systemd's `Delegate=yes`)"
            )
        if not runtime and not any("seccomp" in str(option) for option in about.get("SecurityOptions") or ()):
            raise SandboxUnavailableError(
                refuse
                + "it filters no system calls; use an engine with seccomp, or a runtime of its own (gVisor, Kata)"
            )
        gaps = {}
        if not about.get("SwapLimit"):
            gaps["swap"] = "the engine does not limit swap: where its machine has any, memory meets its limit late"
        options = " ".join(map(str, about.get("SecurityOptions") or ()))
        if root and "userns" not in options and "rootless" not in options:
            gaps["root of the engine's machine"] = (
                "root in a container has root's number outside too, since the engine remaps no users (userns-remap)"
            )
        return gaps

    def image(self, name: str) -> Image:
        """What an image says of itself.

        Raises:
            SandboxUnavailableError: it is not there.
        """
        with self.calling("look at an image"):
            about = self.api.inspect_image(name)
        config = about.get("Config") or {}
        pairs = (each.partition("=") for each in config.get("Env") or ())
        return Image(
            digest=about["Id"],
            directory=os.path.normpath("/" + (config.get("WorkingDir") or "/")).replace("//", "/"),
            environment={key: value for key, _, value in pairs},
            volumes=tuple(sorted(config.get("Volumes") or {})),
            user=str(config.get("User") or ""),
        )

    def has_image(self, name: str) -> bool:
        """Whether there is an image of that name.

        Raises:
            SandboxError: the engine does not say.
        """
        docker = _sdk()
        with self.calling("look for an image"):
            try:
                self.api.inspect_image(name)
                return True
            except docker.errors.ImageNotFound:
                return False

    def processors(self) -> int:
        """How many the engine's machine has.

        Raises:
            SandboxError: the engine does not say.
        """
        with self.calling("tell what it has"):
            return int(self.api.info().get("NCPU") or 1)

    def start(self, image: str, argv: Sequence[str], container: Mapping[str, Any], host: Mapping[str, Any]) -> Attached:
        """Start a container whose main process is `argv`, connected to us; it is removed when that process ends.

        That process ends when its stdin does, at the latest; and that ends with the connection, however we end.

        Args:
            image: its name or digest.
            argv: program and arguments.
            container: further settings of the container, as the SDK's `create_container` takes them.
            host: those of the SDK's `create_host_config`.

        Raises:
            SandboxUnavailableError: see `calling`.
            SandboxError: see `calling`.
        """
        with self.calling("start a container"):
            api = self.api
            name = api.create_container(
                image,
                entrypoint=list(argv),
                command=[],
                name=f"agentdistill-{secrets.token_hex(6)}",
                stdin_open=True,  # and not detached: its stdin ends with our connection
                detach=False,
                # A healthcheck of the image would start programs in the container, past our limits.
                healthcheck={"test": ["NONE"]},
                use_config_proxy=False,  # or the user's proxies, and their passwords, were in its environment
                host_config=api.create_host_config(auto_remove=True, log_config={"Type": "none"}, **host),
                **container,
            )["Id"]
            try:
                attached = Attached(api.attach_socket(name, params=_ATTACH), lambda: self.forget(name))
                try:
                    api.start(name)
                except BaseException:
                    attached.close()
                    raise
            except BaseException:
                self.forget(name)
                raise
        return attached

    def remove(self, container: str) -> None:
        """Kill and remove a container, and return when it is gone; it may be gone already.

        Raises:
            SandboxError: the engine does not do it.
        """
        docker = _sdk()
        until = time.monotonic() + _ANSWERS_WITHIN
        while time.monotonic() < until:
            with self.calling("remove a container"):
                try:
                    self.api.remove_container(container, force=True, v=True)
                except docker.errors.NotFound:
                    return
                except docker.errors.APIError as error:
                    # It removes itself just now, having ended.
                    if error.status_code != 409 or "already in progress" not in str(error.explanation):
                        raise
            time.sleep(0.005)
        raise SandboxError(f"the engine at {self.host} does not get rid of the container {container[:12]}")

    def forget(self, container: str) -> None:
        """As `remove`, but if the engine does not do it now, leave it to whoever cleans up later."""
        with suppress(SandboxError):
            self.remove(container)

    def close(self) -> None:
        """Close the connections to the engine."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connect(self) -> Any:
        docker = _sdk()
        if self.host.startswith("ssh://"):
            raise SandboxUnavailableError(
                f"{self.host}: an engine behind ssh is reached through a forwarded socket: "
                f"`ssh -NL /tmp/docker.sock:/var/run/docker.sock {self.host[6:]}`, then "
                "DOCKER_HOST=unix:///tmp/docker.sock"
            )
        with self.calling("use a Docker engine"):
            settings = docker.utils.kwargs_from_env({**os.environ, "DOCKER_HOST": self.host})

            def client(version: str) -> Any:
                made = docker.APIClient(**settings, timeout=_ANSWERS_WITHIN, version=version, max_pool_size=32)
                # Or proxies and certificates that are meant for the web would be used, in place of the engine's own.
                made.trust_env = False
                return made

            first = client(docker.constants.MINIMUM_DOCKER_API_VERSION)
            version = first.version(api_version=False)["ApiVersion"]
            first.close()
            return client(version)

    def _unreachable(self, error: BaseException) -> str:
        """What keeps us from the engine, and how to mend it."""
        cause = _system_error(error)
        if isinstance(cause, PermissionError):
            return (
                f"no permission on {self.host}; `sudo usermod -aG docker $USER` and log in again "
                "(whoever is in that group is as good as root), or use a rootless engine"
            )
        if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
            return (
                f"no Docker engine answers at {self.host}; start it (`sudo systemctl start docker`), "
                "or set DOCKER_HOST to where it is (`docker context ls`)"
            )
        return f"the connection to the engine at {self.host} failed: {cause or error}"


def _sdk() -> Any:
    try:
        import docker  # type: ignore[import-untyped]
    except ImportError as error:
        raise SandboxUnavailableError(
            "the docker sandbox needs the Docker SDK: `pip install 'agentdistill[docker]'`"
        ) from error
    return docker


def _system_error(error: BaseException) -> OSError | None:
    """What the operating system said, from within an exception of the SDK, which wraps it several times."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, OSError) and each.errno is not None:
            return each
        pending += [
            inner for inner in (*each.args, each.__cause__, each.__context__) if isinstance(inner, BaseException)
        ]
        reason = getattr(each, "reason", None)
        if isinstance(reason, BaseException):
            pending.append(reason)
    return None
