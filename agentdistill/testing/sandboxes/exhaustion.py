"""Processes, memory and time: what would exhaust the machine meets a limit; tried inside only, not far beyond it."""

from __future__ import annotations

from agentdistill.testing.sandboxes.bench import Bench, one_line, require
from agentdistill.testing.sandboxes.limits import AGAIN, NO_MEMORY, responsive, runs_against, still_usable
from agentdistill.testing.sandboxes.programs import run_bare, run_inside
from agentdistill.testing.sandboxes.suite import threat

# ---- programs --------------------------------------------------------------------------------------------------------


def _forks(most: str) -> str:
    """Have as many children at once as can be had, then end them."""
    import os
    import time

    children: list[int] = []
    try:
        while len(children) < int(most):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    return most + " processes at once"


def _forks_in_generations(generations: str) -> str:
    """Every process has children, which have children; 2 to the power of `generations` in all, if nothing stops it."""
    import contextlib
    import os
    import time

    for _ in range(int(generations)):
        with contextlib.suppress(OSError):
            os.fork()
    time.sleep(60)
    return "all lived"


def _starts_threads(most: str) -> str:
    import threading

    threading.stack_size(1 << 16)
    over = threading.Event()
    started: list[threading.Thread] = []
    try:
        while len(started) < int(most):
            thread = threading.Thread(target=over.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise BlockingIOError(11, str(error)) from error
    finally:
        over.set()
    return most + " threads at once"


def _takes_memory(most: str) -> str:
    taken: list[bytes] = []
    try:
        while len(taken) << 22 < int(most):
            taken.append(b"x" * (1 << 22))
    except MemoryError:
        raise OSError(12, "no memory after " + str(len(taken) << 22)) from None
    return most + " bytes"


def _maps_memory(most: str) -> str:
    import mmap

    memory = mmap.mmap(-1, int(most))
    for place in range(0, int(most), 4096):
        memory[place] = 1
    return most + " bytes"


def _takes_memory_by_children(most: str, count: str) -> str:
    """Each child holds its share until all have it; a share by itself is allowed."""
    import os
    import time

    share = int(most) // int(count)
    children: list[int] = []
    for _ in range(int(count)):
        child = os.fork()
        if child == 0:
            try:
                held = [b"x" * (1 << 20) for _ in range(share >> 20)]
                time.sleep(3)
                os._exit(0 if held else 1)
            except MemoryError:
                os._exit(12)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(ended):
        raise OSError(12, "children ended with " + str(ended))
    return most + " bytes"


def _spins(seconds: str) -> str:
    """Count processor time used within so many seconds by two processes that do nothing else."""
    import os
    import time

    over = time.monotonic() + float(seconds)
    child = os.fork()
    while time.monotonic() < over:
        pass
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    used = os.times()
    return str(used.user + used.system + used.children_user + used.children_system)


# ---- processes -------------------------------------------------------------------------------------------------------


@threat("fork bomb")
def fork_bomb_meets_the_limit(bench: Bench) -> str:
    """A process that only has children gets as many as the limit allows, then EAGAIN; the host stays responsive."""
    return runs_against(bench, "processes", AGAIN, _forks, str(4 * bench.limits.processes))


@threat("fork bomb")
def fork_bomb_in_generations_dies_with_its_time(bench: Bench) -> str:
    """Children of children of children, all told to stay, are dead when the command's time is up."""
    bench.needs_limit("processes")
    sandbox = bench.contained()
    generations = (4 * bench.limits.processes).bit_length()
    with responsive():
        result = run_inside(sandbox, _forks_in_generations, str(generations), timeout=2)
    require(result.timed_out, f"it ended by itself: {one_line(result.output)}")
    left = sandbox.processes().commands
    require(not left, f"{len(left)} of them live on")
    return still_usable(sandbox)


@threat("fork bomb")
def thread_bomb_meets_the_limit(bench: Bench) -> str:
    """Threads count as processes do."""
    return runs_against(bench, "processes", AGAIN, _starts_threads, str(4 * bench.limits.processes))


# ---- memory ----------------------------------------------------------------------------------------------------------


@threat("memory bomb")
def memory_bomb_meets_the_limit(bench: Bench) -> str:
    """A process that takes twice the memory it may have is refused it or dies, and that it was memory is told."""
    return runs_against(bench, "memory_bytes", NO_MEMORY, _takes_memory, str(2 * bench.limits.memory_bytes))


@threat("memory bomb")
def mapped_memory_meets_the_limit(bench: Bench) -> str:
    """Memory that is mapped and touched counts as well."""
    return runs_against(bench, "memory_bytes", NO_MEMORY, _maps_memory, str(2 * bench.limits.memory_bytes))


@threat("memory bomb")
def memory_of_all_processes_together_is_limited(bench: Bench) -> str:
    """Four processes that each take half of what the sandbox may have do not all get it."""
    most = str(2 * bench.limits.memory_bytes)
    return runs_against(bench, "memory_bytes", NO_MEMORY, _takes_memory_by_children, most, "4")


# ---- time ------------------------------------------------------------------------------------------------------------


def processor_time_is_shared(bench: Bench) -> str:
    """Two processes that spin get no more processor time than the sandbox may have."""
    bench.needs_limit("cpus")
    bench.contained()
    share, seconds = 0.2, 3.0
    bound = share * seconds * 1.5
    bare = float(run_bare(_spins, str(seconds)).split()[1])
    require(bare > bound, f"nothing is shown: this machine is so busy that any process gets {bare:.2f} s of {seconds}")
    sandbox = bench.another(cpus=share).create()
    bench.on_close(sandbox.close)
    result = run_inside(sandbox, _spins, str(seconds))
    require(result.output.startswith("reached: "), f"it could not be tried: {one_line(result.output)}")
    used = float(result.output.split()[1])
    require(used < bound, f"{share} of a processor for {seconds:g} s came to {used:.2f} s")
    return f"{share} of a processor for {seconds:g} s came to {used:.2f} s, and to {bare:.2f} s outside"
