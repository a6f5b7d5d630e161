"""A Python that runs in any image: the interpreter that runs us, with all it needs, in one folder.

Images need not have a Python, nor a C library like ours, nor any file at all. So the folder holds the interpreter,
the standard library, its extension modules, the shared libraries these load and the loader that puts it all
together; the interpreter is a copy edited to look for loader and libraries at `PLACE`, so that it starts by its path
alone, wherever it is called from. It is built once for each Python, in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox import elf

PLACE = "/opt/agentdistill"
"""Where the folder is inside a sandbox; it works nowhere else."""
INSIDE = Path(__file__).parent / "inside"

_UNUSED_SECONDS = 30 * 86400.0
# Tests, windows, installers and what only builds extensions: nothing that a command of an agent would miss.
_LEFT_OUT = {
    *("test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "distutils", "pydoc_data"),
    *("site-packages", "dist-packages", "__pycache__", "lib-dynload", "venv"),
}
_EXTENSIONS_LEFT_OUT = re.compile(r"_test|_xx|xx|_ctypes_test|_tkinter|nis\.|ossaudiodev|_dbm|_gdbm")
_LIST_LIBRARIES = """
import importlib.util, sys
from importlib.machinery import ExtensionFileLoader
usable = []
for path in sys.argv[1:]:
    name = path.rpartition("/")[2].partition(".")[0]
    try:
        loader = ExtensionFileLoader(name, path)
        loader.create_module(importlib.util.spec_from_file_location(name, path, loader=loader))
    except ImportError:
        continue
    usable.append(path)
print("\\n".join(usable))
print()
for line in open("/proc/self/maps"):
    if ".so" in line and "/" in line:
        print(line[line.index("/"):].rstrip("\\n"))
"""


@dataclass(frozen=True)
class Runtime:
    """A built folder.

    Attributes:
        folder: where it is on this machine; read-only for all, readable by all.
        digest: SHA-256 over the names and contents of its files.
        python: the interpreter's path inside a sandbox.
        machine: the architecture it runs on, as `platform.machine` has it.
    """

    folder: Path
    digest: str
    python: str
    machine: str


def portable_python(cache: Path | None = None) -> Runtime:
    """The portable Python of the interpreter that runs us; the first call builds it, in a few seconds.

    Args:
        cache: where it is kept; without it in the user's cache folder.

    Raises:
        SandboxUnavailableError: this is no Linux, the interpreter is of a kind that cannot be taken along, or there is
            no room for it.
    """
    if sys.platform != "linux":
        raise SandboxUnavailableError(
            "only a Linux machine has a Python that runs in containers; start this program in one"
        )
    cache = cache or _cache()
    made = cache / f"python-{_key()}"
    if not (made / "manifest.json").is_file():
        try:
            _build(made)
        except OSError as error:
            raise SandboxUnavailableError(
                f"a Python for containers cannot be built in {cache}: {error.strerror}; "
                "set XDG_CACHE_HOME to a folder that can be written to"
            ) from error
        _remove_unused(cache)
    with suppress(OSError):  # somebody else's
        os.utime(made / "manifest.json")  # in use
    manifest = json.loads((made / "manifest.json").read_text())
    return Runtime(made / "tree", manifest["digest"], manifest["python"], platform.machine())


def _cache() -> Path:
    place = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(place) if os.path.isabs(place) else Path.home() / ".cache"
    return base / "agentdistill"


def _interpreter() -> Path:
    """The program itself, past links and virtual environments."""
    return Path("/proc/self/exe").resolve()


def _key() -> str:
    """What a built folder depends on, as far as one can tell quickly."""
    program = _interpreter()
    about = [sys.version, str(program)]
    for path in (program, Path(sysconfig.get_path("stdlib")) / "os.py"):
        status = path.stat()
        about += [str(status.st_size), str(status.st_mtime_ns)]
    ours = (Path(path).read_bytes() for path in (__file__, elf.__file__))
    return hashlib.sha256("\0".join(about).encode() + b"".join(ours)).hexdigest()[:16]


def _remove_unused(cache: Path) -> None:
    """Remove what nobody has used for long: the folders of Pythons that are gone, and of what was never finished."""
    for folder in (*cache.glob("python-*"), *cache.glob("building-*")):
        manifest = folder / "manifest.json"
        with suppress(OSError):  # somebody else removes it
            if time.time() - (manifest if manifest.exists() else folder).stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(folder)


def _build(made: Path) -> None:
    """Build beside and move into place: whoever sees the folder sees all of it; who comes second has lost nothing."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="building-") as name:
        new = Path(name) / "new"
        tree = new / "tree"
        (tree / "bin").mkdir(parents=True)
        (tree / "lib").mkdir()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        _copy_library(tree / sys.platlibdir / version)
        extensions, libraries = _loaded(_extension_modules())
        dynload = tree / sys.platlibdir / version / "lib-dynload"
        dynload.mkdir()
        for extension in extensions:
            _copy_elf(extension, dynload / extension.name)
        for library in libraries:
            _copy_elf(library, tree / "lib")
        _copy_program(tree / "bin" / version)
        (tree / "bin" / "python3").symlink_to(version)
        compile_tree(tree)
        for folder, _, files in os.walk(tree):
            os.chmod(folder, 0o755)
            for file in files:
                path = Path(folder, file)
                if not path.is_symlink():
                    path.chmod(0o555 if path.stat().st_mode & 0o100 else 0o444)
        manifest = {"digest": tree_digest(tree), "python": f"{PLACE}/bin/{version}"}
        (new / "manifest.json").write_text(json.dumps(manifest))
        new.chmod(0o755)
        if made.exists() and not (made / "manifest.json").is_file():
            shutil.rmtree(made)
        try:
            new.rename(made)
        except OSError:
            if not (made / "manifest.json").is_file():
                raise


def tree_digest(tree: Path) -> str:
    """SHA-256 over the names, the executable bits, the link targets and the contents of all files below `tree`."""
    total = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_symlink():
            about = ("link", os.readlink(path))
        elif path.is_file():
            kind = "program" if path.stat().st_mode & 0o100 else "file"
            about = (kind, hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            continue
        total.update("\0".join((name, *about, "")).encode(errors="surrogateescape"))
    return total.hexdigest()


def _copy_library(to: Path) -> None:
    """The standard library's sources."""
    source = Path(sysconfig.get_path("stdlib"))

    def left_out(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == source
        wanted = {name for name in names if Path(folder, name).is_dir() or name.endswith((".py", ".txt", ".json"))}
        outside = _LEFT_OUT if top else {"__pycache__", "test", "tests"}
        return {name for name in names if name not in wanted or name in outside or (top and name.startswith("config-"))}

    shutil.copytree(source, to, ignore=left_out)
    # Marks where extension modules are, and stands for a folder of installed packages that is empty.
    (to / "site-packages").mkdir()


def _extension_modules() -> list[Path]:
    folders = {Path(sysconfig.get_path("platstdlib"), "lib-dynload"), Path(sysconfig.get_path("stdlib"), "lib-dynload")}
    found = [path for folder in folders if folder.is_dir() for path in folder.glob("*.so")]
    return sorted(path for path in found if not _EXTENSIONS_LEFT_OUT.match(path.name))


def _loaded(extensions: list[Path]) -> tuple[list[Path], list[Path]]:
    """The extension modules that work here, and every library that a process has loaded that uses all of them."""
    line = [str(_interpreter()), "-I", "-S", "-B", "-c", _LIST_LIBRARIES, *map(str, extensions)]
    done = subprocess.run(line, capture_output=True, text=True, env={}, check=False)
    if done.returncode:
        raise SandboxUnavailableError(f"the Python that runs us does not start by itself: {done.stderr.strip()[-200:]}")
    usable, _, mapped = done.stdout.partition("\n\n")
    modules = [Path(path) for path in usable.splitlines()]
    taken = {module.resolve() for module in modules}
    libraries = {Path(path) for path in mapped.splitlines()} - taken
    return modules, sorted(libraries)


def _copy_elf(source: Path, to: Path) -> None:
    """Copy a library; into a folder, under the name that others need it by."""
    library = elf.read(source)
    if library is None:
        return
    if to.is_dir():
        to = to / (library.soname or source.name)
    library.forget_search_path()
    to.write_bytes(library.content)
    to.chmod(0o755)


def _copy_program(to: Path) -> None:
    program = elf.read(_interpreter())
    if program is None:
        raise SandboxUnavailableError("the Python that runs us is no program of 64 bits, and cannot be taken along")
    if program.interpreter:
        loader = Path(program.interpreter)
        inside = f"{PLACE}/lib/{loader.name}"
        copied = to.parent.parent / "lib" / loader.name
        if not copied.exists():
            copied.write_bytes(loader.read_bytes())
            copied.chmod(0o755)
        try:
            program.settle(inside, f"{PLACE}/lib")
        except elf.ElfError as error:
            raise SandboxUnavailableError(f"the Python that runs us cannot be taken along: {error}") from error
    to.write_bytes(program.content)
    to.chmod(0o755)


def compile_tree(tree: Path) -> None:
    """Compile the modules of a folder that will be at `PLACE`; nobody compares the results with their sources.

    They are the same bytes wherever they were made.
    """
    # In a process of its own: the workers it forks must not inherit the locks of our threads.
    line = [str(_interpreter()), "-I", "-S", "-B", "-m", "compileall", "-qq", "-j", "0"]
    options = ["-s", str(tree), "-p", PLACE, "--invalidation-mode", "unchecked-hash", str(tree)]
    subprocess.run([*line, *options], env={}, check=False)  # what does not compile is left as it is
