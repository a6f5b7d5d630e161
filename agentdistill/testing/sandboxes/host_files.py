"""What is the host's stays the host's: its files, its user's home, its environment, its open files."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from agentdistill.testing.sandboxes.bench import Bench, require
from agentdistill.testing.sandboxes.escapes import Escape
from agentdistill.testing.sandboxes.programs import finds_file, run_inside

# ---- programs --------------------------------------------------------------------------------------------------------


def _reads(*paths: str) -> str:
    """Read the first of `paths` that can be read."""
    for path in paths[:-1]:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read(200)
        except OSError:
            pass
    with open(paths[-1], encoding="utf-8", errors="replace") as file:
        return file.read(200)


def _writes(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _writes_through_a_symlink(path: str, text: str) -> str:
    import os

    os.symlink(path, "way-out")
    with open("way-out", "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _writes_through_a_linked_folder(path: str, text: str) -> str:
    import os

    os.symlink(os.path.dirname(path), "folder-out")
    with open("folder-out/" + os.path.basename(path), "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _writes_through_a_hard_link(path: str, text: str) -> str:
    """The link is made beside the file where the disk of the working directory is another."""
    import errno
    import os

    link = "hard-way-out"
    try:
        os.link(path, link)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        link = path + ".link"
        os.link(path, link)
    with open(link, "w", encoding="utf-8") as file:
        file.write(text)
    os.unlink(link)
    return path


def _finds_in_environments(first: str, second: str) -> str:
    """The secret comes in two halves, or this program's own arguments would be what it finds."""
    import os

    secret = (first + second).encode()
    if secret.decode() in os.environ.values():
        return "in our own: " + secret.decode()
    for process in os.listdir("/proc"):
        for name in ("environ", "cmdline"):
            try:
                with open("/proc/" + process + "/" + name, "rb") as file:
                    if secret in file.read():
                        return name + " of " + process + ": " + secret.decode()
            except OSError:
                pass
    raise FileNotFoundError("no process tells it")


def _reads_open_files() -> str:
    """What the descriptors that this process was born with can be read to, but for the usual three."""
    import contextlib
    import os

    found = []
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                found.append(os.pread(int(name), 200, 0).decode(errors="replace"))
    if not found:
        raise FileNotFoundError("only the usual three files are open")
    return " ".join(found)


def _writes_to_the_system(*places: str) -> str:
    """Try to make a file in each place, and remove it again."""
    import os

    reached = []
    for place in places:
        path = place + "/.agentdistill-check"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.unlink(path)
            reached.append(place)
        except OSError:
            pass
    if not reached:
        raise PermissionError("none of " + " ".join(places) + " can be written to")
    return " ".join(reached)


# ---- reading ---------------------------------------------------------------------------------------------------------


def host_secret_file_cannot_be_read(bench: Bench) -> str:
    """A file of the host cannot be read, by its path, from the root of another process or by climbing up."""
    secret = f"secret-{secrets.token_hex(8)}"
    path = bench.folder() / "secret"
    path.write_text(secret)
    ways = (f"/proc/1/root{path}", f"/proc/self/root{path}", "../" * 20 + str(path)[1:], str(path))
    for way in ways:
        told = Escape(_reads, (way,), proof=secret, shown_where_possible=way == ways[0]).fails_in(bench.sandbox())
    return told


def host_file_cannot_be_read_through_a_link(bench: Bench) -> str:
    """A link in the workspace to a file of the host leads to nothing, for a command and for `read_file`."""
    secret = f"secret-{secrets.token_hex(8)}"
    folder = bench.folder()
    (folder / "secret").write_text(secret)
    (folder / "link").symlink_to(folder / "secret")
    require((folder / "link").read_text() == secret, "nothing is shown: the link does not work outside either")
    sandbox = bench.sandbox()
    made = sandbox.exec(["ln", "-s", str(folder / "secret"), "link"])
    require(made.exit_code == 0, f"the link could not be made: {made.output}")
    require(secret not in sandbox.exec(["cat", "link"]).output, "a command read through it")
    try:
        require(secret.encode() not in sandbox.read_file("link"), "read_file read through it")
    except OSError as error:
        return f"read_file: {type(error).__name__}"
    return "read_file gave something else"


def home_of_the_user_cannot_be_read(bench: Bench) -> str:
    """What lies in the home of the user who runs us is not seen."""
    secret = f"secret-{secrets.token_hex(8)}"
    try:
        handle, path = tempfile.mkstemp(prefix=".agentdistill-check-", dir=Path.home())
    except OSError as error:
        return f"this user has no home that could hold a secret ({error.strerror})"
    bench.on_close(os.unlink, path)
    with open(handle, "w") as file:
        file.write(secret)
    os.chmod(path, 0o644)
    return Escape(_reads, (path,), proof=secret).fails_in(bench.sandbox())


def environment_of_the_host_is_not_seen(bench: Bench) -> str:
    """No variable of the environment we run in is seen inside, in any process."""
    first, second = secrets.token_hex(8), secrets.token_hex(8)
    os.environ["AGENTDISTILL_CHECK_SECRET"] = first + second
    bench.on_close(os.environ.pop, "AGENTDISTILL_CHECK_SECRET", None)
    backend = bench.another()  # made with the secret around it
    with_secret = backend.create()
    bench.on_close(with_secret.close)
    told = Escape(_finds_in_environments, (first, second), proof=first + second).fails_in(with_secret)
    require(first not in with_secret.exec("env; export; set").output, "the shell knows it")
    return told


def open_files_of_the_host_are_not_inherited(bench: Bench) -> str:
    """A file that we hold open, left open for children by mistake, is not open inside."""
    secret = f"secret-{secrets.token_hex(8)}"
    path = bench.folder() / "secret"
    path.write_text(secret)
    handle = os.open(path, os.O_RDONLY)
    bench.on_close(os.close, handle)
    os.set_inheritable(handle, True)
    sandbox = bench.another().create()
    bench.on_close(sandbox.close)
    return Escape(_reads_open_files, proof=secret, keep_files_open=True).fails_in(sandbox)


def other_sandboxes_are_not_seen(bench: Bench) -> str:
    """A file of one sandbox is found in that one and nowhere in another, not even from the roots of processes."""
    name = f"mine-{secrets.token_hex(8)}"
    one, other = bench.sandbox(), bench.sandbox()
    one.write_file(name, b"mine")
    shown = run_inside(one, finds_file, name)
    require(shown.output.startswith("reached: "), f"nothing is shown: it is not found where it is: {shown.output}")
    inside = run_inside(other, finds_file, name)
    require(inside.output.startswith("stopped: "), f"it is seen: {inside.output}")
    require(name not in other.list_files(), "list_files shows it")
    return inside.output.strip()


# ---- writing ---------------------------------------------------------------------------------------------------------


def host_file_cannot_be_written_by_its_path(bench: Bench) -> str:
    """A file of the host that anybody may write to is not changed by its absolute path."""
    return _cannot_change(bench, _writes, str)


def host_file_cannot_be_written_by_climbing_up(bench: Bench) -> str:
    """A file of the host is not changed by a path with many `..`."""
    return _cannot_change(bench, _writes, lambda path: "../" * 20 + str(path)[1:])


def host_file_cannot_be_written_through_a_symlink(bench: Bench) -> str:
    """A file of the host is not changed through a symbolic link in the workspace, to it or to its folder."""
    _cannot_change(bench, _writes_through_a_linked_folder, str)
    return _cannot_change(bench, _writes_through_a_symlink, str)


def host_file_cannot_be_written_through_a_hard_link(bench: Bench) -> str:
    """A file of the host is not changed through a hard link."""
    return _cannot_change(bench, _writes_through_a_hard_link, str)


def host_file_cannot_be_written_through_proc_root(bench: Bench) -> str:
    """A file of the host is not changed through `/proc/self/root`."""
    return _cannot_change(bench, _writes, lambda path: f"/proc/self/root{path}")


def host_file_cannot_be_written_through_proc_cwd(bench: Bench) -> str:
    """A file of the host is not changed through `/proc/self/cwd`."""
    return _cannot_change(bench, _writes, lambda path: "/proc/self/cwd/" + "../" * 20 + str(path)[1:])


def system_folders_are_read_only(bench: Bench) -> str:
    """Nothing can be made in the folders of the system, and the interpreter cannot be changed."""
    sandbox = bench.sandbox()
    shown = run_inside(sandbox, _writes_to_the_system, ".")
    require(shown.output.startswith("reached: "), f"nothing is shown: not even the workspace: {shown.output}")
    places = ("/", "/usr", "/usr/bin", "/usr/lib", "/bin", "/lib", "/etc", "/opt", "/root", "/home", "/run", "/var")
    inside = run_inside(sandbox, _writes_to_the_system, *places, "/sys", "/dev", os.path.dirname(sandbox.python))
    require(inside.output.startswith("stopped: "), f"it can be written to: {inside.output}")
    return inside.output.strip()


def _cannot_change(bench: Bench, program: Callable[..., str], way: Callable[[Path], str]) -> str:
    """Let `program` write to a file of the host that anybody may write to, and look at it from outside."""
    path = bench.folder() / "target"
    path.write_text("untouched")
    path.chmod(0o666)

    def noticed() -> bool:
        changed = path.read_text() != "untouched"
        path.write_text("untouched")
        return changed

    return Escape(program, (way(path), "changed"), noticed=noticed).fails_in(bench.sandbox())
