"""Images derived from others without running anything in them: another working directory, links, files looked at."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from agentdistill.errors import SandboxError, UsageError
from agentdistill.sandbox.docker.engine import Engine, Image
from agentdistill.sandbox.docker.leftovers import KEPT_SECONDS, Owner

_LARGEST = 1 << 20


def derive(engine: Engine, image: Image, owner: Owner, *, directory: str, links: Mapping[str, str]) -> str:
    """The name of an image like `image` that works in `directory` and has `links`; made unless it is there.

    What the image has at the place of a link is not in the new one.

    Args:
        engine: where.
        image: what to begin with.
        owner: us; the new image is labelled, and removed by some later run after a week.
        directory: absolute path; it is made if the image has none.
        links: absolute paths → absolute paths of what they lead to.

    Raises:
        SandboxError: the engine does not do it.
    """
    about = repr((image.digest, directory, sorted(links.items())))
    tag = hashlib.sha256(about.encode()).hexdigest()[:16]
    name = f"agentdistill-task:{tag}"
    if engine.has_image(name):
        return name
    with _held(engine, image.digest, owner) as container, engine.calling("derive an image"):
        if not engine.api.put_archive(container, "/", _layer(directory, links)):
            raise SandboxError(f"the engine at {engine.host} does not derive an image")
        repository, _, tag = name.partition(":")
        engine.api.commit(container, repository=repository, tag=tag, changes=[f"WORKDIR {directory}"])
    return name


def number_of(engine: Engine, image: Image, owner: Owner, user: str) -> int:
    """The number of a user of an image; `user` may be a number, and have a group after a colon.

    Raises:
        UsageError: the image has no such user, or it is root.
        SandboxError: the engine does not say.
    """
    user = user.partition(":")[0]
    number = int(user) if user.isdecimal() else None
    if number is None:
        with _held(engine, image.digest, owner) as container:
            accounts = _file(engine, container, "/etc/passwd").decode(errors="replace")
        for line in accounts.splitlines():
            name, *fields = line.split(":")
            if name == user and len(fields) > 1 and fields[1].isdecimal():
                number = int(fields[1])
    if number is None:
        raise UsageError(f"the image has no user {user!r}")
    if number == 0:
        raise UsageError(f"commands in a container do not run as root, as user {user!r} would")
    return number


@contextmanager
def _held(engine: Engine, image: str, owner: Owner) -> Iterator[str]:
    """A container of an image, never started."""
    with engine.calling("make a container"):
        container = str(
            engine.api.create_container(
                image,
                entrypoint=["/none"],
                command=[],
                labels=owner.labels("image", KEPT_SECONDS),  # an image that comes of it has them too
                use_config_proxy=False,
                host_config=engine.api.create_host_config(network_mode="none", log_config={"Type": "none"}),
            )["Id"]
        )
    try:
        yield container
    finally:
        engine.forget(container)


def _file(engine: Engine, container: str, path: str) -> bytes:
    import docker  # type: ignore[import-untyped]

    with engine.calling("look into an image"):
        try:
            parts, _ = engine.api.get_archive(container, path)
            packed = b""
            for part in parts:
                packed += part
                if len(packed) > _LARGEST:
                    return b""
        except docker.errors.NotFound:
            return b""
    with suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if (opened := archive.extractfile(member)) is not None:
                return opened.read()
    return b""


def _layer(directory: str, links: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in (directory, *(str(PurePosixPath(link).parent) for link in links)):
            for each in (*reversed(PurePosixPath(path).parents), PurePosixPath(path)):
                if str(each) != "/":
                    folder = tarfile.TarInfo(str(each).lstrip("/"))
                    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(folder)
        for path, target in sorted(links.items()):
            link = tarfile.TarInfo(path.lstrip("/"))
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    return packed.getvalue()
