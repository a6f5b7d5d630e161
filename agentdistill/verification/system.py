"""What crosses over of a whole file system, where sandboxes keep it: packages installed, services set up, owners given.

Where `Crossing.system` names paths and the sandboxes keep the whole file system, everything crosses as it is: files,
directories, symbolic links, modes, owners, and that something is gone. What does not, in the working directory and
elsewhere:

- what is protected (`crossing.PROTECTED`), and in the working directory what is not declared;
- what decides how programs, shells, Python, Perl, Ruby and git start, and what package managers and downloaders would
  run, trust or take from a cache (`STARTING`), nor a link in place of a directory that such things would be in;
- settings for pytest in ``pyproject.toml``, ``setup.cfg`` and ``tox.ini``: who has such does not cross, and what the
  image has under these names stays;
- changes to programs, libraries and modules that the image has: what is in a directory named like one of `_PROGRAMS`
  (other than below ``/var``), or on the PATH, or below ``/usr``, may be added, but not replaced or removed, nor may
  shell files of the image that scripts read (`_SOURCED`). In ``/usr/local/bin`` and ``/usr/local/sbin`` it may be, but
  for names like `_STARTED`;
- programs and libraries named like one that the image has somewhere, and modules of Python, Perl and Ruby likewise, for
  they might be taken for it; shells and runners of tests (`_RUNNERS`), whether the image has them or not, for a script
  that brings its own might take these;
- links that lead to where the tests and the reward will be, or into ``/proc``.

``Crossing.allow`` lets through what its patterns name of all that but the links. A package that only adds files is
there as the agent installed it, but for what is protected, such as a Python package's ``*.dist-info``. One that
replaced programs of the image, or upgraded them, is there in part. Libraries outside the directories that the loader
searches anyway are not found by it, since its cache (``/etc/ld.so.cache``) does not cross.

None of this makes a task's own script resist code that wants to cheat; see `agentdistill.verification.scripts`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase, translate

from agentdistill.errors import SandboxError
from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.whole import Change, WholeSandbox

STARTING = (
    *("/etc/ld.so*", "/etc/environment*", "/etc/profile*", "/etc/bash*", "/etc/zsh*", "/etc/inputrc"),
    *("/etc/nsswitch.conf", "*/libnss_*", "/etc/ssl/openssl.cnf", "*/gconv/*", "*/glibc-hwcaps/*"),
    *("*/.zshrc", "*/.zshenv", "*/.zprofile", "*/.zlogin", "*/.bash_aliases"),
    *("*/etc/gitconfig", "*/.gitconfig", "*/git-core/templates/*"),
    *("/etc/python*", "*/python[0-9]*.zip", "*/pypy[0-9]*.zip", "*/pybuilddir.txt", "*/.pydistutils.cfg"),
    *("/etc/perl/*", "/usr/local/share/perl/*", "/usr/local/lib/*/perl/*"),
    *("*/rubygems/defaults/*", "*/rubygems_plugin.rb", "*/.gemrc", "*/.cargo/config*"),
    *("/etc/apt/*", "/var/lib/apt/*", "/var/cache/apt/*", "/etc/dpkg/*", "/var/lib/dpkg/triggers/*"),
    *(f"/var/lib/dpkg/info/*.{name}" for name in ("preinst", "postinst", "prerm", "postrm", "triggers", "config")),
    *("/etc/apk/*", "/etc/yum*", "/etc/dnf/*", "/etc/rpm/*", "/etc/xdg/*"),
    *("*/pip.conf", "*/.pip/*", "*/.cache/pip/*", "/etc/uv/*", "*/.cache/uv/*", "*/.npmrc", "*/etc/npmrc"),
    *("*/.curlrc", "*/.wgetrc", "*/etc/wgetrc"),
)
"""Absolute paths of what decides how programs start; ``*`` stands for any part of a path."""
_STARTS = re.compile("|".join(map(translate, STARTING)))
_PROGRAMS = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "alternatives"})
_OWN_PROGRAMS = re.compile(r"/usr/local/s?bin/([^/]+)")
_STARTED = (
    *("sh", "*bash", "dash", "ash", "zsh", "ksh", "busybox", "env", "python*", "pypy*", "pytest*", "py.test*", "pip*"),
    *("uv", "uvx", "tox", "nox", "coverage*", "node*", "npm*", "npx*", "perl*", "ruby*", "git*", "make"),
)
_RUNNERS = ("sh", "bash", "dash", "ash", "busybox", "env", "pytest*", "py.test*", "uv", "uvx", "tox", "nox")
_RUNNER_PACKAGES = ("pytest*", "_pytest*", "pluggy", "iniconfig", "pip")
_SOURCED = ("*/.cargo/env", "*/.nvm/nvm.sh", "*/profile.d/*")
_PROGRAM = re.compile(r".*/s?bin/([^/]+)", re.DOTALL)
_LIBRARY = re.compile(r".*/([^/]+)\.so(?:\.[^/]*)?", re.DOTALL)
_PACKAGE = re.compile(r".*/(?:site|dist)-packages/([^/.]+)[^/]*(/.*)?", re.DOTALL)
_MODULE = re.compile(r".*/(?:perl[^/]*|(?:ruby|site_ruby|vendor_ruby))/(?:\d[\d.]*/)?(.+)\.(?:p[lm]c?|rb)", re.DOTALL)
_PYTHON = re.compile(r".*/(?:python|pypy)[\d.]*/.*", re.DOTALL)
_NOT_LINKS = frozenset(
    {"bin", "sbin", "site-packages", "dist-packages", "perl", "perl5", "site_perl", "site_ruby", "vendor_ruby"}
)
"""Directories that are known by their name."""
_CONFIGURATIONS = frozenset({"pyproject.toml", "setup.cfg", "tox.ini"})
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
_REMOVES_SETTINGS = """
import configparser, json, os
try:
    import tomllib
except ImportError:
    tomllib = None
def has_settings(path):
    with open(path, encoding="utf-8") as file:
        text = file.read(1 << 20)
    if len(text) == 1 << 20:
        return True
    if not path.endswith(".toml"):
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(text)
        return any("pytest" in section for section in parser.sections())
    if tomllib is None:
        return "pytest" in text or "\\\\" in text
    return "pytest" in tomllib.loads(text).get("tool", {})
with open("/run/files/paths.json") as file:
    paths = json.load(file)
for path in paths:
    try:
        if os.path.isfile(path) and has_settings(path):
            os.unlink(path)
    except (ValueError, TypeError, AttributeError, RecursionError, configparser.Error):
        os.unlink(path)
"""
_TELLS_PATH = "import os; print(os.environ.get('PATH', ''))"


class SystemRules:
    """What crosses outside of a working directory; see the module.

    Args:
        image: absolute paths of the files that the image has.
        allowed: what crosses though it would not.
        searched: directories that programs are looked for in.
    """

    def __init__(
        self, image: Iterable[str], allowed: Callable[[str], bool], searched: Iterable[str] = ("/usr/local/bin",)
    ) -> None:
        self._searched = frozenset(path.rstrip("/") for path in searched)
        self._above_searched = frozenset(above for path in self._searched for above in _above(path))
        self._holding: set[str] = set()
        self._programs: set[str] = set()
        self._libraries: set[str] = set()
        self._packages: set[str] = set()
        self._modules: set[str] = set()
        self._allowed = allowed
        for path in image:
            # There are tens of thousands, and most are none of these.
            folder, _, name = path.rpartition("/")
            if folder in self._searched:
                self._programs.add(name)
            if folder.endswith("bin") or ".so" in name or "-packages/" in path or name.endswith((".pm", ".pl", ".rb")):
                for pattern, names in self._kinds:
                    if found := pattern.fullmatch(path):
                        names.add(found[1])
            if not path.startswith(("/usr/", "/var/")) and (self._is_program(path) or _STARTS.fullmatch(path)):
                self._holding.update(_above(path))

    def let_through(self, change: Change) -> bool:
        """Whether a change crosses, as far as the module's rules tell."""
        path = change.path
        if change.target and self._is_no_place_for_link(path):
            return False
        return self._allowed(path) or not (
            _STARTS.fullmatch(path) or self._replaces(change) or self._passes_for_another(change)
        )

    @property
    def _kinds(self) -> tuple[tuple[re.Pattern[str], set[str]], ...]:
        return (
            *((_PROGRAM, self._programs), (_LIBRARY, self._libraries)),
            *((_PACKAGE, self._packages), (_MODULE, self._modules)),
        )

    def _is_no_place_for_link(self, path: str) -> bool:
        """Whether what is below it elsewhere would pass for what is not to be there."""
        if path.rpartition("/")[2] in _NOT_LINKS or path in self._searched | self._above_searched:
            return True
        return _LEADS_TO_STARTING.fullmatch(path) is not None

    def _is_program(self, path: str) -> bool:
        return path.rpartition("/")[0] in self._searched or not _PROGRAMS.isdisjoint(path.split("/"))

    def _replaces(self, change: Change) -> bool:
        if not change.existed:
            return False
        own = _OWN_PROGRAMS.fullmatch(change.path)
        if own:
            return _is_like(own[1], _STARTED)
        if change.goes and change.path in self._holding:
            return True
        parts = change.path.split("/")
        if parts[1] == "usr" or _is_like(change.path, _SOURCED):
            return True
        return parts[1] != "var" and self._is_program(change.path)

    def _passes_for_another(self, change: Change) -> bool:
        path = change.path
        if change.existed:
            return False
        if _PYTHON.fullmatch(path) and not _PACKAGE.fullmatch(path):
            return not path.endswith(("/site-packages", "/dist-packages"))  # a module of the standard library
        folder, _, name = path.rpartition("/")
        if (folder in self._searched or _PROGRAM.fullmatch(path)) and _is_like(name, _RUNNERS):
            return True
        package = _PACKAGE.fullmatch(path)
        if package is not None and _is_like(package[1], _RUNNER_PACKAGES):
            return True
        if folder in self._searched and name in self._programs:
            return True
        found = ((pattern.fullmatch(path), names) for pattern, names in self._kinds)
        return any(match is not None and match[1] in names for match, names in found)


def _is_like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _above(path: str) -> Iterator[str]:
    """The directories that a path lies in, but for the root."""
    while path := path.rpartition("/")[0]:
        yield path


_LEADS_TO_STARTING = re.compile(
    "|".join(sorted({translate(above) for each in STARTING for above in _above(each) if not above.endswith("*")}))
)


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
    # Nothing of the agent's is here yet that could tell another one.
    searched = _run(fresh, _TELLS_PATH).strip().split(":")
    rules = SystemRules(fresh.image_files(), allowed, searched)
    links: list[str] = []
    configurations: list[str] = []
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
            if crosses and path.rpartition("/")[2] in _CONFIGURATIONS and not allowed(path):
                crosses = not change.existed
                configurations.append(path)
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
        _run(fresh, _REMOVES_LINKS, {"links.json": json.dumps([links, places]).encode()})
    if configurations:
        _run(fresh, _REMOVES_SETTINGS, {"paths.json": json.dumps(configurations).encode()})


def _run(fresh: WholeSandbox, program: str, files: Mapping[str, bytes] | None = None) -> str:
    ended = fresh.exec([fresh.python, "-I", "-S", "-B", "-c", program], files=files)
    if ended.exit_code:
        raise SandboxError(f"what crossed could not be looked at: {ended.output.strip()[-200:]}")
    return ended.output
