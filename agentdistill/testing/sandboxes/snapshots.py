"""A snapshot is a whole world: it comes back exactly, is shared with nobody, and is told when it is not to be had."""

from __future__ import annotations

import os
import secrets
import time

from agentdistill.errors import SandboxError, SnapshotError
from agentdistill.testing.sandboxes.bench import Bench, one_line, refused, require, workspace_of
from agentdistill.testing.sandboxes.programs import run_inside
from agentdistill.testing.sandboxes.suite import threat
from agentdistill.testing.sandboxes.worlds import builds, do, same_world, told, wrecks

# ---- programs --------------------------------------------------------------------------------------------------------


def _edits_behind_the_back(name: str) -> str:
    """Change a file without a trace in its size or its times."""
    import os

    before = os.stat(name)
    with open(name, "r+b") as file:
        file.write(b"X")
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "edited"


def _writes_through_a_map(name: str) -> str:
    import mmap

    with open(name, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0] = memory[0] ^ 1
    return "written"


def _keeps_writing() -> str:
    """A child that holds a deleted file open and goes on writing to two others, always the same to both."""
    import os
    import time

    held = open("deleted", "w")  # noqa: SIM115 - held open on purpose
    os.unlink("deleted")
    if os.fork() != 0:
        return "started"
    os.setsid()
    number = 0
    while True:
        number += 1
        held.write(str(number))
        held.flush()
        for name in ("first", "second"):
            with open(name, "w") as file:
                file.write(str(number))
        time.sleep(0.001)


def _has_attribute() -> str:
    import os

    return os.getxattr("f", "user.note").decode()


# ---- the checks ------------------------------------------------------------------------------------------------------


def snapshots_are_kept_or_refused(bench: Bench) -> str:
    """A backend that says it keeps no snapshots refuses to make one; one that says it does, makes them."""
    sandbox = bench.sandbox()
    if bench.backend.capabilities.snapshot != "none":
        return f"{bench.backend.capabilities.snapshot}: {sandbox.snapshot()[:12]}"
    with refused(SandboxError, "a snapshot"):
        sandbox.snapshot()
    return "refused, as it says"


def restored_world_is_exact(bench: Bench) -> str:
    """Contents, modes, links, hard links, pipes, odd names, empty and closed directories come back as they were."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    nothing = sandbox.snapshot()
    do(sandbox, builds)
    world, kept = told(sandbox), sandbox.snapshot()
    do(sandbox, wrecks)
    wreck, wrecked = told(sandbox), sandbox.snapshot()
    require(len({nothing, kept, wrecked}) == 3, "different worlds have one name")
    for name, expected in ((kept, world), (wrecked, wreck), (kept, world)):
        sandbox.restore(name)
        same_world(told(sandbox), expected)
        require(sandbox.snapshot() == name, "a restored world has another name")
    sandbox.restore(nothing)
    require(sandbox.list_files() == [], "the empty world is not empty")
    return f"{world.count(chr(10)) + 1} things"


def deletions_and_replacements_come_back(bench: Bench) -> None:
    """What was deleted stays deleted in a fork, and what took its place is of the right kind."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    sandbox.exec("mkdir -p a/b c; echo 1 > a/b/f; echo 2 > c/f; echo 3 > g")
    before = sandbox.snapshot()
    sandbox.exec("rm -r a; echo file > a; rm g; mkdir g; rm -r c; ln -s g c; mkdir -p g/a; echo 4 > g/a/f")
    after, there = sandbox.snapshot(), told(sandbox)
    fork = bench.sandbox(before)
    fork.restore(after)
    same_world(told(fork), there)
    same_world(told(bench.sandbox(after)), there)


def edits_behind_the_back_are_seen(bench: Bench) -> None:
    """A change that leaves size and times as they were makes another world, now and later."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    sandbox.exec("echo one > f; touch -d 2020-01-01 f")
    first = sandbox.snapshot()
    time.sleep(0.05)
    require(sandbox.snapshot() == first, "nothing changed, and yet it is another world")
    do(sandbox, _edits_behind_the_back, "f")
    require(sandbox.snapshot() != first, "it is not seen")
    sandbox.restore(first)
    require(sandbox.read_file("f") == b"one\n", "it does not come back")


def writes_through_memory_are_seen(bench: Bench) -> None:
    """A write through a memory map makes another world, which comes back."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    sandbox.write_file("f", b"one")
    time.sleep(0.05)
    first = sandbox.snapshot()
    do(sandbox, _writes_through_a_map, "f")
    second = sandbox.snapshot()
    require(second != first, "it is not seen")
    sandbox.restore(first)
    require(sandbox.read_file("f") == b"one", "the world before does not come back")
    sandbox.restore(second)
    require(sandbox.read_file("f") == b"nne", "the world after does not come back")


def snapshot_during_writes_is_one_moment(bench: Bench) -> str:
    """With files held open and written to by live processes, a snapshot is of one moment, and a restore ends them."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    do(sandbox, _keeps_writing)
    lives = bool(sandbox.processes().commands)
    worlds = [sandbox.snapshot() for _ in range(8)]
    for world in worlds if lives else worlds[:1]:
        try:
            fork = bench.sandbox(world)
        except SnapshotError as error:
            return f"processes lived in it, and the backend does not go on without them: {one_line(str(error))}"
        if fork.list_files():
            first, second = (int(fork.read_file(name) or b"0") for name in ("first", "second"))
            fits = 0 <= first - second <= 1 or not first or not second  # one may be empty, about to be written
            require(fits or not lives, f"one file is of {first}, the other of {second}")
        fork.close()
    sandbox.restore(worlds[0])
    require(not sandbox.processes().commands, "a process outlived the restore")
    return f"{len(set(worlds))} worlds of a live process" if lives else "no process lives between commands"


def forks_do_not_see_each_other(bench: Bench) -> None:
    """Two forks of one snapshot, and the world they come from, go separate ways."""
    bench.needs_snapshots()
    parent = bench.sandbox()
    parent.exec("mkdir d; echo same > d/f; ln d/f hard")
    kept = parent.snapshot()
    one, other = bench.sandbox(kept), bench.sandbox(kept)
    one.exec("echo one >> d/f; echo new > only-one")
    other.exec("rm -r d; echo other > d")
    require(one.read_file("hard") == b"same\none\n", "the hard link is lost")
    require(other.exec("cat d hard; ls").output == "other\nsame\nd\nhard\n", "one fork sees the other")
    require(parent.read_file("d/f") == b"same\n" and parent.snapshot() == kept, "the parent sees a fork")


def equal_worlds_have_equal_names(bench: Bench) -> None:
    """Two sandboxes that come to the same world by different ways have the same snapshot."""
    bench.needs_snapshots()
    one, other = bench.sandbox(), bench.sandbox()
    one.write_file("a/f", b"x")
    other.exec("mkdir a; cd a; printf y > f; printf x > f; cd ..; touch -d 2001-01-01 a/f")
    require(one.snapshot() == other.snapshot(), "they have different names")


def shell_is_part_of_a_world(bench: Bench) -> None:
    """Working directory and exported variables come back with the files."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    workspace = workspace_of(sandbox)
    sandbox.exec("mkdir d; cd d; export A='x\ny'")
    kept = sandbox.snapshot()
    sandbox.exec("cd ..; unset A PATH; export B=1")
    require(sandbox.snapshot() != kept, "it makes no difference")
    sandbox.restore(kept)
    said = sandbox.exec('pwd; echo "$A$B"').output
    require(said == f"{workspace}/d\nx\ny\n", f"what comes back is {one_line(said)}")


def full_workspace_is_kept_and_restored(bench: Bench) -> None:
    """A workspace that is full is kept, can be left for another world, and comes back full."""
    bench.needs_snapshots()
    bench.needs_limit("workspace_bytes")
    sandbox = bench.sandbox()
    size = bench.limits.file_bytes // 2
    for number in range(2 * bench.limits.workspace_bytes // size):
        try:
            sandbox.write_file(f"fill-{number}", secrets.token_bytes(size))
        except PermissionError:
            break
    else:
        require(False, "it does not get full")
    files = sandbox.list_files()
    full = sandbox.snapshot()
    sandbox.exec("rm fill-*; echo small > small")
    small = sandbox.snapshot()
    for name, expected in ((full, files), (small, ["small"]), (full, files)):
        sandbox.restore(name)
        require(sandbox.list_files() == expected, f"it came back with {sandbox.list_files()}")


def unknown_snapshots_are_told(bench: Bench) -> None:
    """A snapshot that was dropped or never kept is a `SnapshotError`, and the sandbox stays as it is."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    sandbox.write_file("f", os.urandom(16))
    kept = sandbox.snapshot()
    bench.backend.drop([kept, kept, "unknown", "../../etc/passwd"])
    for name in (kept, "unknown", "../../etc/passwd", ""):
        with refused(SnapshotError, f"restoring {name[:12]!r}"):
            sandbox.restore(name)
        with refused(SnapshotError, f"a fork of {name[:12]!r}"):
            bench.backend.create(name).close()
    require(sandbox.list_files() == ["f"], "the sandbox was changed")
    require(sandbox.snapshot() == kept, "the same world has another name")
    sandbox.restore(kept)


def snapshots_outlive_the_backend(bench: Bench) -> None:
    """With a folder, snapshots are there for the next backend in it."""
    bench.needs_snapshots()
    folder = bench.folder()
    first = bench.another(folder)
    with_world = first.create()
    with_world.exec("mkdir -p d/empty; echo x > d/f; export A=1")
    kept = with_world.snapshot()
    first.close()
    sandbox = bench.another(folder).create(kept)
    bench.on_close(sandbox.close)
    said = sandbox.exec("echo $A; ls d").output
    require(said == "1\nempty\nf\n", f"what comes back is {one_line(said)}")


@threat("extended attributes")
def extended_attributes_come_back(bench: Bench) -> str:
    """Extended attributes of files come back, where the workspace takes them."""
    bench.needs_snapshots()
    sandbox = bench.sandbox()
    sandbox.write_file("f", b"")
    if not run_inside(sandbox, _sets_attribute).output.startswith("reached: "):
        return "the workspace takes none"
    kept = sandbox.snapshot()
    fork = bench.sandbox(kept)
    require(run_inside(fork, _has_attribute).output == "reached: kept\n", "they are lost")
    return "kept"


def _sets_attribute() -> str:
    import os

    os.setxattr("f", "user.note", b"kept")
    return "set"
