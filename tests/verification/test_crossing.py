"""What crosses over into the fresh sandbox: declared regular files, and nothing that changes how things start."""

from __future__ import annotations

import pytest

from agentdistill.errors import SandboxLostError, VerifierError
from agentdistill.sandbox.base import Sandbox, SandboxFile
from agentdistill.verification import Crossing, cross, fresh_world

ODD = ["plain.py", "a/b/c.txt", "with space", "-dash", ".hidden", "line\nbreak", "bytes\udcff", "**", "[x]"]


def test_declared_files_cross_as_bytes_and_deleted_ones_are_deleted(left: Sandbox, fresh: Sandbox) -> None:
    for number, name in enumerate(ODD):
        left.write_file(name, bytes([number, 255, 0]))
    fresh.write_file("gone.py", b"old")
    fresh.write_file("plain.py", b"old")
    crossed = cross(left, fresh, Crossing())
    assert set(crossed.files) == set(fresh.list_files()) == set(ODD)
    assert not crossed.left_behind
    assert [fresh.read_file(name)[0] for name in ODD] == list(range(len(ODD)))


def test_only_scripts_and_programs_are_executable(left: Sandbox, fresh: Sandbox) -> None:
    left.exec("echo '#!/bin/sh' > script; cp /usr/bin/true program; echo x > text; chmod 755 text")
    cross(left, fresh, Crossing())
    said = fresh.exec("for f in script program text; do test -x $f && echo $f; done; ./program && ./script && echo ran")
    assert said.output == "script\nprogram\nran\n"


@pytest.mark.parametrize(
    ("paths", "crosses"),
    [
        (("src",), {"src/a.py", "src/deep/b.py"}),
        (("src/*.py",), {"src/a.py"}),
        (("**/*.py",), {"src/a.py", "src/deep/b.py", "top.py"}),
        (("src/**/b.py", "top.*"), {"src/deep/b.py", "top.py"}),
        (("/src/a.py",), {"src/a.py"}),
        (("sr",), set()),
        ((), set()),
    ],
)
def test_only_declared_paths_cross(left: Sandbox, fresh: Sandbox, paths: tuple[str, ...], crosses: set[str]) -> None:
    for name in ("src/a.py", "src/deep/b.py", "top.py", "data/x.json"):
        left.write_file(name, b"new")
    fresh.write_file("data/x.json", b"old")
    fresh.write_file("data/kept", b"old")
    cross(left, fresh, Crossing(paths=paths))
    assert {name for name in fresh.list_files() if fresh.read_file(name) == b"new"} == crosses
    assert fresh.read_file("data/kept") == b"old"


def test_links_pipes_sockets_and_files_that_cannot_be_read_do_not_cross(left: Sandbox, fresh: Sandbox) -> None:
    left.exec(
        "echo x > real; ln -s real link; ln -s /etc/passwd out; ln -s / root; mkfifo pipe; mkdir -p shut empty;"
        "echo x > shut/f; chmod 0 shut; echo x > unreadable; chmod 0 unreadable;"
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"; ln real second"
    )
    crossed = cross(left, fresh, Crossing())
    assert set(crossed.files) == set(fresh.list_files()) == {"real", "second"}
    assert {"link", "out", "root", "pipe", "socket", "unreadable"} <= set(crossed.left_behind)
    assert fresh.exec("find . ! -type f ! -path .").output == ""


def test_what_is_too_large_or_too_much_stays_behind_and_the_rest_crosses(left: Sandbox, fresh: Sandbox) -> None:
    for number in range(6):
        left.write_file(f"f{number}", b"x" * 100)
    left.write_file("big", b"x" * 101)
    limits = {"largest_bytes": 100, "total_bytes": 350, "most_files": 2}
    assert set(cross(left, fresh, Crossing(largest_bytes=100)).left_behind) == {"big"}
    assert cross(left, fresh, Crossing(total_bytes=350)).files == ("big", "f0", "f1")
    assert cross(left, fresh, Crossing(**limits)).files == ("f0", "f1")


PROTECTED = [
    "conftest.py",
    "deep/down/conftest.py",
    "conftest/__init__.py",
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    "sitecustomize.py",
    "sitecustomize/__init__.py",
    "src/usercustomize.py",
    "x.pth",
    ".local/lib/python3.11/site-packages/x.py",
    ".git/hooks/post-checkout",
    "evil.dist-info/entry_points.txt",
    "evil.egg-info/entry_points.txt",
    "EVIL.DIST-INFO/entry_points.txt",
    "__pycache__/cart.cpython-311.pyc",
    "cart.pyc",
    ".bashrc",
    ".profile",
    ".config/x",
]


def test_what_changes_how_things_start_stays_behind_and_the_tasks_own_is_kept(left: Sandbox, fresh: Sandbox) -> None:
    for name in (*PROTECTED, "cart.py"):
        left.write_file(name, b"the agent's")
    for name in ("conftest.py", "pytest.ini"):
        fresh.write_file(name, b"the task's")
    crossed = cross(left, fresh, Crossing())
    assert crossed.files == ("cart.py",)
    assert set(crossed.left_behind) == set(PROTECTED)
    assert fresh.read_file("conftest.py") == b"the task's"
    left.exec("rm conftest.py pytest.ini")
    cross(left, fresh, Crossing())
    assert fresh.read_file("pytest.ini") == b"the task's"


def test_a_protected_file_that_is_declared_crosses_and_can_be_deleted(left: Sandbox, fresh: Sandbox) -> None:
    left.write_file("conftest.py", b"the agent's")
    fresh.write_file("deep/conftest.py", b"the task's")
    crossing = Crossing(allow=("**/conftest.py",))
    assert cross(left, fresh, crossing).files == ("conftest.py",)
    assert fresh.list_files() == ["conftest.py"]


@pytest.mark.parametrize(
    ("name", "own", "new", "crosses"),
    [
        ("pyproject.toml", "[project]\nname = 'a'", "[project]\nname = 'b'", True),
        ("pyproject.toml", "", "[tool.pytest.ini_options]\naddopts = '--co'", False),
        ("pyproject.toml", "", "[tool]\npytest.ini_options.addopts = '--co'", False),
        ("pyproject.toml", "", "tool = {pytest = {ini_options = {addopts = '--co'}}}", False),
        ("pyproject.toml", "", '["tool"."pytest"]\nx = 1', False),
        ("pyproject.toml", "[tool.pytest]\nx = 1", "[tool.pytest]\nx = 1\n[project]\nname = 'b'", True),
        ("pyproject.toml", "[tool.pytest]\nx = 1", "", False),
        ("pyproject.toml", "", "= nonsense", False),
        ("setup.cfg", "", "[metadata]\nname = a", True),
        ("setup.cfg", "", "[tool:pytest]\naddopts = --co", False),
        ("tox.ini", "", "[pytest]\naddopts = --co", False),
        ("tox.ini", "", "[tox]\nenvlist = py3", True),
        ("tox.ini", "", "\xff\n[", False),
    ],
)
def test_a_project_file_crosses_unless_it_says_something_else_to_pytest(
    left: Sandbox, fresh: Sandbox, name: str, own: str, new: str, crosses: bool
) -> None:
    left.write_file(name, new.encode())
    if own:
        fresh.write_file(name, own.encode())
    assert (name in cross(left, fresh, Crossing()).files) == crosses


def test_a_fresh_world_has_the_tasks_files_then_the_agents_and_is_closed_afterwards(backend, left: Sandbox) -> None:
    left.write_file("cart.py", b"new")
    own = {"cart.py": b"old", "conftest.py": b"own", "README": b"deleted by the agent"}
    with fresh_world(left, backend, own={name: SandboxFile(text) for name, text in own.items()}) as fresh:
        there = {name: fresh.read_file(name) for name in fresh.list_files()}
    assert there == {"cart.py": b"new", "conftest.py": b"own"}
    with pytest.raises(SandboxLostError):
        fresh.list_files()


def test_a_sandbox_that_is_gone_is_a_verifier_that_broke_and_no_verdict(backend) -> None:
    left = backend.create()
    left.close()
    with pytest.raises(VerifierError, match="could not be verified"), fresh_world(left, backend):
        raise AssertionError("never reached")
