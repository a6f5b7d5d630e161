"""What crosses over of a whole file system, where sandboxes keep it: packages installed, services set up, owners given.

Where `Crossing.system` names paths and the sandboxes keep the whole file system, everything crosses as it is: files,
directories, symbolic links, modes, owners, and that something is gone. What does not, in the working directory and
elsewhere:

- what is protected (`crossing.PROTECTED`), and in the working directory what is not declared;
- what decides how programs, shells, Python, Perl and git start (`STARTING`);
- changes to programs, libraries and modules that the image has: what is in a directory named like one of `_PROGRAMS`
  (other than below ``/var``), or below ``/usr``, may be added, but not replaced or removed. In ``/usr/local/bin`` and
  ``/usr/local/sbin`` it may be, but for names like `_STARTED`;
- programs and libraries named like one that the image has somewhere, and Python packages likewise, for they might be
  taken for it;
- links that lead to where the tests and the reward will be, or into ``/proc``.

``Crossing.allow`` lets through what its patterns name of the first four. A package that only adds files is there as the
agent installed it, but for what is protected, such as a Python package's ``*.dist-info``. One that replaced programs of
the image, or upgraded them, is there in part. Libraries outside the directories that the loader searches anyway are not
found by it, since its cache (``/etc/ld.so.cache``) does not cross.

None of this makes a task's own script resist code that wants to cheat; see `agentdistill.verification.scripts`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from agentdistill.errors import SandboxError
from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.whole import Change, WholeSandbox

STARTING = (
    *("/etc/ld.so*", "/etc/environment*", "/etc/profile*", "/etc/bash*", "/etc/zsh*", "/etc/inputrc"),
    *("/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/gitconfig", "/etc/python*", "/etc/pip.conf", "/etc/perl/*"),
    *("/usr/local/share/perl/*", "/usr/local/lib/*/perl/*", "*/gconv/*", "*/glibc-hwcaps/*"),
    *("*/.gitconfig", "*/.zshrc", "*/.zshenv", "*/.bash_aliases"),
)
"""Absolute paths of what decides how programs start; ``*`` stands for any part of a path."""
_PROGRAMS = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "alternatives"})
_OWN_PROGRAMS = re.compile(r"/usr/local/s?bin/([^/]+)")
_STARTED = (
    *("sh", "*bash", "dash", "ash", "zsh", "ksh", "busybox", "env", "python*", "pypy*", "pytest*", "py.test*", "pip*"),
    *("uv", "uvx", "tox", "nox", "coverage*", "node*", "npm*", "npx*", "perl*", "ruby*", "git*", "make"),
)
_PROGRAM = re.compile(r".*/s?bin/([^/]+)", re.DOTALL)
_LIBRARY = re.compile(r".*/([^/]+)\.so(?:\.[^/]*)?", re.DOTALL)
_PACKAGE = re.compile(r".*/(?:site|dist)-packages/([^/.]+)[^/]*(/.*)?", re.DOTALL)
_PYTHON = re.compile(r".*/(?:python|pypy)[\d.]*/.*", re.DOTALL)
_NOT_LED_TO = ("/logs", "/tests", "/solution", "/proc", "/run/files")
_REMOVES_LINKS = """
import json, os, sys
with open("/run/files/links.json") as file:
    links, places = json.load(file)
places = [os.path.realpath(place) for place in places]
for link in links:
    leads = os.path.realpath(link)
    if any(leads == place or leads.startswith(place + "/") for place in places):
        os.unlink(link)
"""


class SystemRules:
    """What crosses outside of a working directory; see the module.

    Args:
        image: absolute paths of the files that the image has.
        allowed: what crosses though it would not.
    """

    def __init__(self, image: Iterable[str], allowed: Callable[[str], bool]) -> None:
        self._programs: set[str] = set()
        self._libraries: set[str] = set()
        self._packages: set[str] = set()
        self._allowed = allowed
        for path in image:
            # There are tens of thousands, and most are none of these.
            if path.rpartition("/")[0].endswith("bin") or ".so" in path or "-packages/" in path:
                for pattern, names in self._kinds:
                    if found := pattern.fullmatch(path):
                        names.add(found[1])

    def let_through(self, change: Change) -> bool:
        """Whether a change crosses, as far as the module's rules tell."""
        path = change.path
        return self._allowed(path) or not (_starts(path) or self._replaces(change) or self._passes_for_another(change))

    @property
    def _kinds(self) -> tuple[tuple[re.Pattern[str], set[str]], ...]:
        return (_PROGRAM, self._programs), (_LIBRARY, self._libraries), (_PACKAGE, self._packages)

    def _replaces(self, change: Change) -> bool:
        if not change.existed:
            return False
        own = _OWN_PROGRAMS.fullmatch(change.path)
        if own:
            return any(fnmatchcase(own[1], pattern) for pattern in _STARTED)
        parts = change.path.split("/")
        return parts[1] == "usr" or (parts[1] != "var" and not _PROGRAMS.isdisjoint(parts))

    def _passes_for_another(self, change: Change) -> bool:
        if change.existed:
            return False
        if _PYTHON.fullmatch(change.path) and not _PACKAGE.fullmatch(change.path):
            return not change.path.endswith(("/site-packages", "/dist-packages"))  # a module of the standard library
        found = ((pattern.fullmatch(change.path), names) for pattern, names in self._kinds)
        return any(match is not None and match[1] in names for match, names in found)


def _starts(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in STARTING)


def carry_system(
    left: WholeSandbox,
    fresh: WholeSandbox,
    backend: SandboxBackend,
    within: Callable[[str], bool],
    elsewhere: Callable[[Change, SystemRules], bool],
    allowed: Callable[[str], bool],
    hidden: str,
) -> None:
    """Make the file system of `fresh` as `left` has it, as far as that crosses.

    Args:
        left: the agent's sandbox.
        fresh: a sandbox of the same image.
        backend: of `fresh`.
        within: whether what is at a path relative to the workspace crosses.
        elsewhere: whether a change crosses that is not in the workspace.
        allowed: whether an absolute path crosses though the rules would not let it.
        hidden: the folder of the workspace that nothing is to lead to.

    Raises:
        SandboxError: one of them is gone, or something cannot be made.
    """
    workspace = fresh.workspace
    rules = SystemRules(fresh.image_files(), allowed)
    links: list[str] = []
    emptied = False

    def wanted(change: Change) -> bool:
        nonlocal emptied
        path = change.path
        if change.goes and f"{workspace}/".startswith(f"{path}/"):
            emptied = True  # whoever judges works there; what is in it goes below
            return False
        if path.startswith(f"{workspace}/"):
            crosses = within(path[len(workspace) + 1 :])
        else:
            crosses = elsewhere(change, rules)
        if crosses and change.target:
            links.append(path)
        return crosses

    owner = f"verify-{secrets.token_hex(8)}"
    try:
        fresh.take_over(left.snapshot(owner), wanted)
    finally:
        backend.release(owner)
    if emptied:
        for name in fresh.list_files():
            if within(name):
                fresh.remove_file(name)
    if links:
        # Only when all is there can be told where a link leads, for others may be on the way.
        places = [*_NOT_LED_TO, f"{workspace}/{hidden}"]
        files = {"links.json": json.dumps([links, places]).encode()}
        ended = fresh.exec([fresh.python, "-I", "-S", "-B", "-c", _REMOVES_LINKS], files=files)
        if ended.exit_code:
            raise SandboxError(f"links could not be looked at: {ended.output.strip()[-200:]}")
