"""An engine for tests, and images made of files of this machine: there is no registry to get any from."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import docker
import pytest

from agentdistill.sandbox.runtime import PLACE, portable_python

# What an image of an ordinary distribution has, as far as commands of our tests and checks use it.
PROGRAMS = re.findall(
    r"\S+",
    """
sh bash env cat ls cp mv rm ln mkdir rmdir touch chmod chown head tail wc sort uniq cut tr tee printf echo true false
test sleep kill id whoami hostname uname date pwd stat du df dd seq yes readlink realpath basename dirname mktemp mkfifo
mknod sync timeout nohup setsid nice expr od md5sum sha256sum split comm join paste nproc tty stty
grep sed awk find xargs tar gzip diff cmp file ps pgrep pkill free mount umount unshare nsenter su chroot
""",
)
_REPOSITORY = "agentdistill-test"
TINY = ["sh", "env", "cat", "ls", "mkdir", "rm", "sleep", "true", "false", "head"]


def image_of(client, programs, *, extra=None, changes=()) -> str:
    """The name of an image with these programs (those that this machine has), their libraries and `extra` files."""
    files: dict[str, bytes | str] = {}
    for program in programs:
        found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        if found is None:
            continue
        real = Path(found).resolve()
        files[f"bin/{program}"] = real.read_bytes()
        for library in libraries(real):
            files[library.lstrip("/")] = Path(library).read_bytes()
    files.update(extra or {})
    packed = pack(files)
    digest = hashlib.sha256(packed + repr(changes).encode()).hexdigest()[:12]
    tag = f"{os.getpid()}-{digest}"  # of this run of tests alone: others may use the engine, and end sooner
    if not client.images(name=f"{_REPOSITORY}:{tag}"):
        client.import_image_from_data(packed, repository=_REPOSITORY, tag=tag, changes=list(changes))
    return f"{_REPOSITORY}:{tag}"


def libraries(program: Path) -> set[str]:
    """What the loader would load for a program, itself included; nothing for a script or a static program."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return {word for word in listed.split() if word.startswith("/") and os.path.exists(word)}


def pack(files) -> bytes:
    """An archive of files by path; a value that is text is the target of a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folders = {"tmp", "proc", "dev", "sys", "etc", *(str(each) for path in files for each in Path(path).parents)}
        for folder in sorted(folders - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size, entry.mode = len(content), 0o755 if path.startswith(("bin/", "lib", "usr/")) else 0o644
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def base_image(client) -> str:
    """An image like that of a distribution, with a shell and the usual programs."""
    passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    extra = {"etc/passwd": passwd, "etc/group": b"root:x:0:\n", "root/.profile": b""}
    changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV FROM_IMAGE=yes"]
    return image_of(client, PROGRAMS, extra=extra, changes=changes)


def python_image(client) -> str:
    """An image like `base_image`, with a Python that also runs while an image is built."""
    runtime = portable_python()
    name = f"{_REPOSITORY}:{os.getpid()}-{runtime.digest[:12]}"
    if client.images(name=name):
        return name
    container = client.create_container(base_image(client), entrypoint=["/none"])["Id"]
    try:
        # Not by `pack`: there are two thousand files.
        moved = ["--transform", f"s,^[.],{PLACE[1:]},S", "--owner=0", "--group=0"]
        line = ["tar", "-c", *moved, "-C", str(runtime.folder), "."]
        client.put_archive(container, "/", subprocess.run(line, check=True, capture_output=True).stdout)
        client.put_archive(container, "/", pack({"usr/local/bin/python3": runtime.python}))
        client.commit(container, repository=_REPOSITORY, tag=name.rpartition(":")[2])
    finally:
        client.remove_container(container, force=True)
    return name


def tiny_image(client) -> str:
    """An image with a shell and little else, neither bash nor Python."""
    return image_of(client, TINY)


def empty_image(client) -> str:
    """An image without a single file."""
    return image_of(client, [], changes=["LABEL empty=yes"])


def engine_client():
    """The SDK's client of the engine here. Without an engine the test is skipped, but in CI it fails."""
    try:
        return docker.APIClient(**docker.utils.kwargs_from_env(), version="auto")
    except docker.errors.DockerException as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Docker engine: {error}")


def remove_images(client) -> None:
    """Remove the images that these tests have made, and those of tests that were killed."""
    for image in client.images(name=_REPOSITORY):
        for tag in image["RepoTags"]:
            pid = tag.rpartition(":")[2].partition("-")[0]
            if not pid.isdigit() or int(pid) == os.getpid() or not Path("/proc", pid).exists():
                client.remove_image(tag, force=True)
