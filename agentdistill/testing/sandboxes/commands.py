"""Commands are run as in a terminal, end when they should, and take everything with them that they started."""

from __future__ import annotations

import time

from agentdistill.errors import SandboxError
from agentdistill.sandbox.base import Sandbox
from agentdistill.testing.sandboxes.bench import Bench, one_line, require, workspace_of
from agentdistill.testing.sandboxes.programs import run_inside

SLACK = 10.0
"""Seconds within which a command whose time is up must be over."""

# ---- programs --------------------------------------------------------------------------------------------------------


def _beats(stubborn: str, detach: str) -> str:
    """Start a family of processes that write to files all the time, and wait with the last of them."""
    import os
    import signal
    import time

    print("before", flush=True)
    for generation in range(3):
        child = os.fork()
        if child == 0:
            if detach:
                os.setsid()
            if stubborn:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
            if os.fork() != 0:
                os._exit(0)  # an orphan from now on
            while True:
                with open("beat-" + str(generation), "a") as file:
                    file.write("x")
                time.sleep(0.02)
        os.waitpid(child, 0)
    while True:
        time.sleep(1)


def _spins_on_every_processor() -> str:
    import os

    print("before", flush=True)
    for _ in range(os.cpu_count() or 1):
        if os.fork() == 0:
            while True:
                pass
    while True:
        pass


def _stops_itself() -> str:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSTOP)
    return "went on"


def _leaves_child(seconds: str) -> str:
    """A child that keeps the output open, writes to it later, and leaves a file when it is done."""
    import contextlib
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        time.sleep(float(seconds))
        with contextlib.suppress(OSError):
            os.write(1, b"late")
        with open("late", "w"):
            pass
        os._exit(0)
    return "done"


def _leaves_zombies() -> str:
    """Orphans that end at once; nobody but the first process of the sandbox can take note of their end."""
    import os

    for _ in range(20):
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
    return "20 orphans"


def _counts_zombies() -> str:
    import os
    import time

    time.sleep(0.3)
    count = 0
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                with open("/proc/" + process + "/stat") as file:
                    count += file.read().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                pass
    return str(count)


# ---- results ---------------------------------------------------------------------------------------------------------


def failing_command_is_a_result(bench: Bench) -> None:
    """A command that fails comes back with its exit code and with what it wrote to both of its outputs."""
    result = bench.sandbox().exec("echo out; echo err >&2; exit 3")
    require((result.exit_code, result.output) == (3, "out\nerr\n"), f"it came back as {result}")
    require(not (result.timed_out or result.truncated or result.exceeded), f"it came back as {result}")


def what_cannot_run_is_a_result(bench: Bench) -> str:
    """A command that is not there, is no program, is too long or holds a NUL byte is told by its exit code."""
    sandbox = bench.sandbox()
    cases: dict[str, tuple[str | list[str], int]] = {
        "a program that is not there": (["no-such-program"], 127),
        "a line with a program that is not there": ("no-such-program", 127),
        "a file that is no program": (["/etc/passwd"], 126),
        "a line that is no shell": ("echo (", 2),
        "a shell that kills itself": ("kill -9 $$", 137),
        "a shell that becomes another program": ("exec false", 1),
        "an argument with a NUL byte": (["echo", "a\0b"], 126),
        "a line with a NUL byte": ("echo a\0b", 126),
        "an argument longer than any may be": (["echo", "x" * 200_000], 126),
    }
    for what, (command, expected) in cases.items():
        result = sandbox.exec(command)
        require(result.exit_code == expected, f"{what} ended with {result.exit_code}, not {expected}")
    require(sandbox.exec(["echo", "alive"]).output == "alive\n", "afterwards the sandbox is of no use any more")
    return f"{len(cases)} cases"


def directory_and_variables_persist(bench: Bench) -> None:
    """The working directory and exported variables persist from line to line, also when a line fails."""
    sandbox = bench.sandbox()
    workspace = workspace_of(sandbox)
    require(sandbox.exec("mkdir -p a/b; cd a/b; export X='two\nlines' Y=2; Z=3; exit 5").exit_code == 5, "exit code")
    said = sandbox.exec('pwd; echo "$X|$Y|$Z"').output
    require(said == f"{workspace}/a/b\ntwo\nlines|2|\n", f"what was left is {one_line(said)}")
    sandbox.exec("unset Y; cd ..; false")
    said = sandbox.exec("pwd; echo ${Y-unset}").output
    require(said == f"{workspace}/a\nunset\n", f"what was left is {one_line(said)}")


def argument_vectors_leave_the_shell_alone(bench: Bench) -> None:
    """An argument vector starts in the shell's directory, but neither sees nor changes what the shell exported."""
    sandbox = bench.sandbox()
    workspace = workspace_of(sandbox)
    sandbox.exec("mkdir d; cd d; export MISLEADING=1")
    require(sandbox.exec(["pwd"]).output == f"{workspace}/d\n", "it starts elsewhere")
    require("MISLEADING" not in sandbox.exec(["env"]).output, "it sees exported variables")
    sandbox.exec(["sh", "-c", "cd /; export Q=1"])
    said = sandbox.exec("pwd; echo ${Q-no}").output
    require(said == f"{workspace}/d\nno\n", f"it changed the shell: {one_line(said)}")


def vanished_directory_leads_back(bench: Bench) -> None:
    """A working directory that was removed leads back to the workspace, not to a broken sandbox."""
    sandbox = bench.sandbox()
    workspace = workspace_of(sandbox)
    sandbox.exec("mkdir d; cd d")
    sandbox.exec(["rmdir", f"{workspace}/d"])
    require(sandbox.exec(["pwd"]).output == f"{workspace}\n", "an argument vector does not start in the workspace")
    require(sandbox.exec("pwd").output == f"{workspace}\n", "a line does not start in the workspace")


# ---- time ------------------------------------------------------------------------------------------------------------


def timeout_kills_the_whole_tree(bench: Bench) -> str:
    """When its time is up, everything a command started is dead: grandchildren, orphans, those in other sessions."""
    return _dies_in_time(bench, stubborn=False)


def timeout_kills_what_ignores_signals(bench: Bench) -> str:
    """Processes that ignore every signal they can are dead as well."""
    return _dies_in_time(bench, stubborn=True)


def timeout_ends_what_spins(bench: Bench) -> str:
    """Processes that spin on every processor are over soon after their time is up."""
    sandbox = bench.contained()
    began = time.monotonic()
    result = run_inside(sandbox, _spins_on_every_processor, timeout=1)
    took = time.monotonic() - began
    require(result.timed_out and result.exceeded == "time", f"it is not told that its time was up: {result}")
    require(took < 1 + SLACK, f"it took {took:.1f} s")
    _nothing_lives(sandbox)
    return f"{took:.1f} s"


def timeout_ends_what_is_stopped(bench: Bench) -> str:
    """A process that stopped itself is over when its time is up."""
    sandbox = bench.sandbox()
    result = run_inside(sandbox, _stops_itself, timeout=0.5)
    require(result.timed_out, f"it is not told that its time was up: {result}")
    _nothing_lives(sandbox)
    return f"{result.seconds:.1f} s"


def timeout_keeps_what_was_said(bench: Bench) -> None:
    """What a command wrote before its time was up is kept, and the exit code says that it did not end by itself."""
    result = bench.sandbox().exec("echo before; sleep 60; echo after", timeout=0.5)
    require((result.timed_out, result.exit_code) == (True, 124), f"it came back as {result}")
    require(result.output == "before\n", f"what was said is {one_line(result.output)}")


def timeout_cannot_be_lengthened(bench: Bench) -> str:
    """The limit of the sandbox holds, whatever time a command is given."""
    sandbox = bench.another(seconds=0.5).create()
    bench.on_close(sandbox.close)
    began = time.monotonic()
    require(sandbox.exec("sleep 30", timeout=60).timed_out, "it was given more")
    return f"{time.monotonic() - began:.1f} s"


# ---- what is left behind ---------------------------------------------------------------------------------------------


def background_child_does_not_hold_the_call(bench: Bench) -> str:
    """A call returns when its command has ended, though a child holds the output open."""
    sandbox = bench.sandbox()
    began = time.monotonic()
    result = run_inside(sandbox, _leaves_child, "45")
    took = time.monotonic() - began
    require(result.output == "reached: done\n" and result.exit_code == 0, f"it came back as {result}")
    require(took < 30, f"it took {took:.1f} s, as long as the child")
    return f"{took:.2f} s"


def background_child_dies_or_is_told(bench: Bench) -> str:
    """What a command leaves running is dead when the call returns, or `processes` tells that it lives."""
    sandbox = bench.sandbox()
    run_inside(sandbox, _leaves_child, "1.5")
    told = bool(sandbox.processes().commands)
    time.sleep(2.5)
    wrote = "late" in sandbox.list_files()
    require(told == wrote, "it lived on unseen" if wrote else "it is told of, but did not live")
    return "it lives on, as told" if told else "it is dead"


def orphans_are_reaped(bench: Bench) -> str:
    """Processes that ended do not stay as zombies."""
    sandbox = bench.sandbox()
    run_inside(sandbox, _leaves_zombies)
    counted = run_inside(sandbox, _counts_zombies)
    require(counted.output == "reached: 0\n", f"zombies: {one_line(counted.output)}")
    return "none"


def files_for_a_command_are_gone_after_it(bench: Bench) -> str:
    """Files given to one command lie under `/run/files` for it, and for no other."""
    sandbox = bench.sandbox()
    files = {"check.py": b"print(6 * 7)", "deep/er.txt": b"x"}
    result = sandbox.exec([sandbox.python, "-I", "-S", "-B", "/run/files/check.py"], files=files)
    require(result.output == "42\n", f"they are not there: {one_line(result.output)}")
    require(sandbox.exec(["cat", "/run/files/check.py"]).exit_code != 0, "they are still there for the next command")
    for name in ("../x", "/etc/x", "a/../../x"):
        try:
            sandbox.exec(["true"], files={name: b""})
        except (PermissionError, SandboxError):
            continue
        require(False, f"a file called {name!r} was taken")
    return "42"


def _dies_in_time(bench: Bench, *, stubborn: bool) -> str:
    sandbox = bench.contained()
    began = time.monotonic()
    result = run_inside(sandbox, _beats, "stubborn" if stubborn else "", "detach", timeout=1.5)
    took = time.monotonic() - began
    require(result.timed_out, f"it is not told that its time was up: {result}")
    require(took < 1.5 + SLACK, f"it took {took:.1f} s")
    require(result.output == "before\n", f"what was said is {one_line(result.output)}")
    files = sandbox.list_files()
    require(len(files) == 3, f"nothing is shown: {len(files)} of 3 were ever alive")
    written = [len(sandbox.read_file(name)) for name in files]
    time.sleep(0.5)
    require([len(sandbox.read_file(name)) for name in files] == written, "some of them still write")
    _nothing_lives(sandbox)
    return f"{took:.1f} s"


def _nothing_lives(sandbox: Sandbox) -> None:
    left = sandbox.processes().commands
    require(not left, f"these live on: {left}")
