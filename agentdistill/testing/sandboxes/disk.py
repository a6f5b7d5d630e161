"""Disk: files, sparse files, many files, deep folders and scratch space meet a limit; tried inside only."""

from __future__ import annotations

from agentdistill.testing.sandboxes.bench import Bench, is_whole, one_line, require
from agentdistill.testing.sandboxes.limits import FULL, TOO_LARGE, meets, responsive, runs_against, still_usable
from agentdistill.testing.sandboxes.programs import run_inside
from agentdistill.testing.sandboxes.suite import threat

# ---- programs --------------------------------------------------------------------------------------------------------


def _fills(folder: str, most: str, largest: str) -> str:
    """Write files that are each as large as one may be."""
    import os

    written = 0
    while written < int(most):
        with open(folder + "/fill-" + str(written), "wb", buffering=0) as file:
            for _ in range(int(largest) >> 18):
                written += os.write(file.fileno(), b"x" * (1 << 18))
    return most + " bytes in " + folder


def _writes_one_file(most: str) -> str:
    import os

    with open("large", "wb", buffering=0) as file:
        written = 0
        while written < int(most):
            written += os.write(file.fileno(), b"x" * (1 << 18))
    return most + " bytes"


def _stretches_file(most: str) -> str:
    import os

    with open("sparse", "wb") as file:
        os.truncate(file.fileno(), int(most))
    return most + " bytes"


def _makes_files(most: str) -> str:
    import os

    os.mkdir("many")
    for number in range(int(most)):
        os.close(os.open("many/" + str(number), os.O_CREAT | os.O_WRONLY))
    return most + " files"


def _digs(depth: str) -> str:
    import os

    for _ in range(int(depth)):
        os.mkdir("deep")
        os.chdir("deep")
    with open("end", "w"):
        pass
    return depth + " levels"


# ---- the checks ------------------------------------------------------------------------------------------------------


@threat("disk fill")
def workspace_meets_its_size(bench: Bench) -> str:
    """A workspace takes as many bytes as it may hold, then ENOSPC."""
    most, largest = str(2 * bench.limits.workspace_bytes), str(bench.limits.file_bytes)
    return runs_against(bench, "workspace_bytes", FULL, _fills, ".", most, largest)


@threat("disk fill")
def file_meets_its_size(bench: Bench) -> str:
    """A file grows to the limit for one file, then EFBIG."""
    return runs_against(bench, "file_bytes", (*TOO_LARGE, *FULL), _writes_one_file, str(2 * bench.limits.file_bytes))


@threat("disk fill")
def sparse_file_meets_its_size(bench: Bench) -> str:
    """A file of 10 GB that holds nothing is refused."""
    return runs_against(bench, "file_bytes", (*TOO_LARGE, *FULL), _stretches_file, str(10 << 30))


@threat("many files")
def workspace_meets_its_number_of_files(bench: Bench) -> str:
    """A workspace takes as many files as it may hold, then ENOSPC; so many files are still listed and kept."""
    bench.needs_limit("workspace_files")
    sandbox = bench.contained()
    with responsive():
        result = run_inside(sandbox, _makes_files, str(2 * bench.limits.workspace_files))
    meets(result, FULL)
    listed = len(sandbox.list_files())
    require(0 < listed <= bench.limits.workspace_files, f"{listed} files are listed")
    if bench.backend.capabilities.snapshot != "none":
        sandbox.snapshot()
    return still_usable(sandbox)


def deep_folders_do_no_harm(bench: Bench) -> str:
    """Folders deeper than any path can be long are listed, kept, made over and removed."""
    sandbox = bench.contained()
    empty = sandbox.snapshot() if bench.backend.capabilities.snapshot != "none" else ""
    result = run_inside(sandbox, _digs, "1200")
    require(result.output.startswith("reached: "), f"they could not be made: {one_line(result.output)}")
    sandbox.list_files()
    sandbox.download()
    if empty:
        deep = sandbox.snapshot()
        sandbox.restore(empty)
        sandbox.restore(deep)
        require(sandbox.snapshot() == deep, "they do not come back as they were")
    return still_usable(sandbox)


@threat("memory bomb")
def scratch_folders_are_limited(bench: Bench) -> str:
    """What is written to folders in memory is limited too: `/tmp`, `/dev/shm` and whatever else takes files."""
    bench.needs_limit("memory_bytes")
    told = []
    for folder in ("/dev/shm",) if is_whole(bench.sandbox()) else ("/tmp", "/dev/shm", "/run", "/var/tmp"):
        sandbox = bench.contained()
        if sandbox.exec(["test", "-w", folder]).exit_code == 0:
            most = str(2 * bench.limits.memory_bytes)
            result = run_inside(sandbox, _fills, folder, most, str(bench.limits.file_bytes))
            meets(result, FULL)
            still_usable(sandbox)
            told.append(folder)
    return f"limited: {' '.join(told)}" if told else "there are none"
