"""Dockerfiles in the small subset that a sandbox without images can stand in for.

- ``FROM`` one of ``python:3.x``, ``debian`` and ``ubuntu``, whatever the variant: the machine's own programs stand for
  it, and its Python must be at least that new;
- ``COPY`` of files and folders beside the Dockerfile, ``*`` and ``?`` within a name, into the workspace;
- ``WORKDIR`` in the workspace, ``ENV``, and ``RUN``, without network and as far as it only writes to the workspace;
- ``LABEL``, ``MAINTAINER``, ``EXPOSE`` and ``CMD`` change nothing: who runs a task keeps its container running.

Everything else is refused with its line, and with who can do it: several stages, other bases and such as are pinned by
digest, flags such as ``COPY --chown``, ``ADD``, ``ARG``, ``USER``, ``ENTRYPOINT``, ``VOLUME``, ``SHELL``,
``HEALTHCHECK``, here-documents, ``.dockerignore``. A ``RUN`` that names a program which fetches things is refused
before it is run; one that does so unseen fails when it is run, since there is no network.
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from agentdistill.errors import TaskError
from agentdistill.formats.harbor.task import HarborFile

_WITHOUT_EFFECT = frozenset({"LABEL", "MAINTAINER", "EXPOSE", "CMD"})
_BASE = re.compile(r"(?:docker\.io/)?(?:library/)?(?:python:3(?:\.(\d+))?|debian|ubuntu)(?![\w/])(?!.*alpine)[\w.:-]*")
_PYTHON = re.compile(r"(?:.*/)?python:3\.(\d+)")
_FETCHES = re.compile(
    r"(?<![\w./-])(apt|apt-get|apk|dnf|yum|curl|wget|npm|npx|yarn|cargo|conda|rustup|uvx|"
    r"pip3? (?:install|download)|uv (?:pip|add|sync|tool)|git (?:clone|fetch|pull)|go (?:get|install|mod))(?![\w.-])"
)
_VARIABLE = re.compile(r"\\(.)|\$(?:(\w+)|\{(\w+)(?:(:[-+])([^}$]*))?\})|(\$)")
_WORD = re.compile(r"\s*(\w+)=((?:\"(?:\\.|[^\"\\])*\"|'[^']*'|\\.|[^\s\"'\\])*)(?=\s|$)")


@dataclass(frozen=True)
class Stage:
    """One thing to do on the way to the world: `files` to lay, by absolute path, or a `command` to run.

    Attributes:
        line: where it stands in the Dockerfile, from 1.
        workdir: absolute; where the command runs. To be made if it is not there.
        env: variables that are set for the command.
        command: a shell command line; empty where files are laid.
    """

    line: int
    workdir: str
    env: Mapping[str, str]
    files: Mapping[str, HarborFile] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class PlainWorld:
    """What a Dockerfile comes to: its stages in order; then `workdir`, absolute, and `env`, as commands find them."""

    image: str
    stages: tuple[Stage, ...]
    workdir: str
    env: Mapping[str, str]


def plain_world(
    context: Mapping[str, HarborFile],
    *,
    root: str = "/workspace",
    python: tuple[int, int] = sys.version_info[:2],
    where: str = "environment",
) -> PlainWorld:
    """What the ``Dockerfile`` in `context` comes to in a sandbox that keeps only what lies below `root`.

    Args:
        context: the files of a task's ``environment`` folder, the Dockerfile among them.
        root: the sandbox's workspace.
        python: version of the Python that commands find there.
        where: what to call the folder in a complaint.

    Raises:
        TaskError: in one line, which line of the Dockerfile cannot be done here, and that docker can.
    """
    return _Builder(context, root, python, where).built()


class _Builder:
    def __init__(self, context: Mapping[str, HarborFile], root: str, python: tuple[int, int], where: str) -> None:
        self.context, self.root, self.python, self.where = context, root, python, where
        self.image, self.workdir = "", "/"
        self.env: dict[str, str] = {}
        self.folders: set[str] = {"/", root}
        self.line, self.text = 0, ""

    def built(self) -> PlainWorld:
        if ".dockerignore" in self.context:
            raise TaskError(f"{self.where}/.dockerignore cannot be honoured by a plain sandbox: {_DOCKER}")
        stages = tuple(self._stages())
        if not self.image:
            raise TaskError(f"{self.where}/Dockerfile has no FROM: begin it with one, such as FROM python:3.12-slim")
        return PlainWorld(self.image, stages, self.workdir, dict(self.env))

    def _stages(self) -> Iterator[Stage]:
        for line, text in _logical_lines(self._source(), self.where):
            self.line, self.text = line, text
            keyword, _, rest = self.text.partition(" ")
            keyword, rest = keyword.upper(), rest.strip()
            if keyword in _WITHOUT_EFFECT:
                continue
            if keyword not in ("FROM", "COPY", "WORKDIR", "ENV", "RUN"):
                self._refuse(f"{keyword} is not among FROM, COPY, WORKDIR, ENV and RUN")
            if not rest:
                self._refuse(f"{keyword} says nothing")
            if (keyword == "FROM") == bool(self.image):
                self._refuse("a second stage" if self.image else "the first instruction must be FROM")
            if rest.startswith("--"):
                self._refuse(f"the flag {rest.split()[0]}")
            if keyword == "FROM":
                self._base(rest)
            elif keyword == "WORKDIR":
                self._enter(rest)
            elif keyword == "ENV":
                self._set(rest)
            elif keyword == "COPY":
                yield Stage(self.line, self.workdir, dict(self.env), files=self._copied(rest))
            else:
                yield Stage(self.line, self.workdir, dict(self.env), command=self._command(rest))

    def _source(self) -> str:
        if "Dockerfile" not in self.context:
            raise TaskError(f"{self.where}/Dockerfile is missing: write it")
        try:
            return self.context["Dockerfile"].content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TaskError(f"{self.where}/Dockerfile cannot be read as text: save it as UTF-8") from error

    # ---- instructions --------------------------------------------------------------------------------------------

    def _base(self, image: str) -> None:
        if not _BASE.fullmatch(image):
            self._refuse(
                f"{image!r} is no base that the machine's own programs can stand for (python:3.x, debian, ubuntu)"
            )
        wanted = _PYTHON.match(image)
        if wanted is not None and (3, int(wanted[1])) > self.python:
            self._refuse(f"{image!r} is newer than this machine's Python {'.'.join(map(str, self.python))}")
        self.image = image

    def _enter(self, path: str) -> None:
        self.workdir = self._inside(self._filled(_unquoted(path)))
        self.folders.add(self.workdir)

    def _set(self, rest: str) -> None:
        found: dict[str, str] = {}
        if re.match(r"\w+=", rest):
            end = 0
            while word := _WORD.match(rest, end):
                found[word[1]] = self._filled_words(word[2])
                end = word.end()
            if rest[end:].strip():
                self._refuse(f"ENV cannot be read from {rest[end:].strip()[:40]!r} on")
        else:
            name, _, value = rest.partition(" ")
            found[name] = self._filled(value.strip())
        for name in found:
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                self._refuse(f"{name!r} is no name of a variable")
        self.env.update(found)

    def _command(self, rest: str) -> str:
        words = _json_words(rest)
        command = shlex.join(words) if words is not None else rest
        if re.search(r"<<-?\s*[\"']?\w", command):
            self._refuse("a here-document")
        fetches = _FETCHES.search(command)
        if fetches:
            self._refuse(f"{fetches[1]!r} needs a network")
        return command

    def _copied(self, rest: str) -> dict[str, HarborFile]:
        words = _json_words(rest) or rest.split()
        if len(words) < 2:
            self._refuse("COPY needs a source and a destination")
        *sources, target = [self._filled(word) for word in words]
        path = self._inside(target)
        into = target.endswith(("/", "/.")) or target == "." or path in self.folders or len(sources) > 1
        found: dict[str, HarborFile] = {}
        for source in sources:
            found |= self._taken(source, path, into)
        for name in found:
            while (name := posixpath.dirname(name)) not in self.folders:
                self.folders.add(name)
        return found

    def _taken(self, source: str, path: str, into: bool) -> dict[str, HarborFile]:
        """The files of one source, by where they go."""
        wanted = posixpath.normpath(source.lstrip("/") or ".")
        if wanted.startswith(".."):
            self._refuse(f"{source!r} lies outside the folder of the Dockerfile")
        if wanted == ".":
            return {posixpath.join(path, name): file for name, file in self.context.items()}
        depth = wanted.count("/") + 1
        heads = {"/".join(name.split("/")[:depth]) for name in self.context if name.count("/") + 1 >= depth}
        # Part by part, since * must not match a slash.
        matched = sorted(head for head in heads if all(map(_same, head.split("/"), wanted.split("/"))))
        if not matched:
            self._refuse(f"there is no {source!r} in {self.where}/")
        found = {}
        for head in matched:
            if head in self.context:
                target = posixpath.join(path, posixpath.basename(head)) if into or len(matched) > 1 else path
                found[target] = self.context[head]
            inside = {name[len(head) + 1 :]: file for name, file in self.context.items() if name.startswith(f"{head}/")}
            found |= {posixpath.join(path, name): file for name, file in inside.items()}
        return found

    # ---- values --------------------------------------------------------------------------------------------------

    def _inside(self, path: str) -> str:
        """An absolute path in the sandbox's workspace."""
        found = posixpath.normpath(posixpath.join(self.workdir, path))
        if found != self.root and not found.startswith(f"{self.root}/"):
            self._refuse(f"{found} lies outside {self.root}, which is all that a plain sandbox keeps")
        return found

    def _filled_words(self, text: str) -> str:
        """A value that may be quoted, in pieces, with variables filled in where the quotes allow."""
        found = ""
        for piece in re.finditer(r"\"((?:\\.|[^\"\\])*)\"|'([^']*)'|((?:\\.|[^\"'\\])+)", text):
            found += piece[2] if piece[2] is not None else self._filled(piece[1] if piece[1] is not None else piece[3])
        return found

    def _filled(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            escaped, short, long, operator, other, lone = found.groups()
            if escaped is not None:
                return escaped
            name = short or long
            if lone is not None or (operator is None and name not in self.env):
                self._refuse(f"{found[0] if name else text!r} has a value that only the image knows")
            if operator == ":+":
                return other if self.env.get(name) else ""
            return self.env.get(name) or other or ""

        return _VARIABLE.sub(value, text)

    def _refuse(self, told: str) -> NoReturn:
        keyword = self.text.split(" ", 1)[0].upper()
        raise TaskError(" ".join(f"{self.where}/Dockerfile line {self.line}, {keyword}: {told}: {_DOCKER}".split()))


_DOCKER = "run it on the docker backend"


def _logical_lines(source: str, where: str) -> Iterator[tuple[int, str]]:
    """Number and text of each instruction: comments gone, continued lines joined."""
    started, text = 0, ""
    for number, line in enumerate(source.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            directive = re.match(r"#\s*escape\s*=\s*(\S)", line.strip())
            if directive and directive[1] != "\\" and not started:
                raise TaskError(f"{where}/Dockerfile line {number}, escape: only \\ is read here: {_DOCKER}")
            continue
        started = started or number
        text += line.lstrip() if not text else line
        if text.rstrip().endswith("\\"):
            text = text.rstrip()[:-1]
            continue
        yield started, re.sub(r"^(\S+)\s+", r"\1 ", text.strip())
        started, text = 0, ""
    if text.strip():
        yield started, re.sub(r"^(\S+)\s+", r"\1 ", text.strip())


def _json_words(rest: str) -> list[str] | None:
    """The words of an instruction that is written as a JSON list; `None` if it is not."""
    try:
        words = json.loads(rest) if rest.startswith("[") else None
    except ValueError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _same(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)
