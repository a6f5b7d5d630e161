"""Images derived from others without running anything in them: another working directory, links, files looked at."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Account:
    """A user of an image: numbers of the user, of its group, and of its other groups; its home directory."""

    user: int
    group: int
    groups: tuple[int, ...]
    home: str


def account_of(engine: Engine, image: Image, owner: Owner, user: str) -> Account:
    """The account of a user of an image, as an engine finds it.

    Args:
        engine: where.
        image: whose users.
        owner: us.
        user: name or number, and the same of a group after a colon, if it is not the user's own.

    Raises:
        UsageError: the image has no such user or group.
        SandboxError: the engine does not say.
    """
    name, _, of_group = user.partition(":")
    with _held(engine, image.digest, owner) as container:
        users = _table(_file(engine, container, "/etc/passwd"), 7)
        groups = _table(_file(engine, container, "/etc/group"), 4)
    fields = next((each for each in users if name in each[:1] or name == each[2]), None)
    if fields is None and not name.isdecimal():
        raise UsageError(f"the image has no user {name!r}")
    number, group, home = (int(name), 0, "/") if fields is None else (int(fields[2]), int(fields[3]), fields[5] or "/")
    others = () if fields is None else tuple(int(each[2]) for each in groups if fields[0] in each[3].split(","))
    if of_group:
        found = next((int(each[2]) for each in groups if of_group in (each[0], each[2])), None)
        if found is None and not of_group.isdecimal():
            raise UsageError(f"the image has no group {of_group!r}")
        group, others = int(of_group) if found is None else found, ()
    return Account(number, group, tuple(sorted({group, *others})), home)


def _table(content: bytes, columns: int) -> list[list[str]]:
    """The lines of a file of accounts that are as they should be: names and numbers in the first three columns."""
    lines = [line.split(":") for line in content.decode(errors="replace").splitlines()]
    numbers = (2, 3) if columns > 4 else (2,)
    return [each for each in lines if len(each) == columns and all(each[at].isdecimal() for at in numbers)]


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
