"""Dockerfiles that a sandbox without images can stand in for; all others are refused with their line."""

from __future__ import annotations

import pytest

from agentdistill.errors import TaskError
from agentdistill.formats.harbor import HarborFile
from agentdistill.formats.harbor.dockerfile import PlainWorld, plain_world

BEGIN = "FROM python:3.11-slim\nWORKDIR /workspace\n"


def world(dockerfile: str, *names: str, root: str = "/workspace") -> PlainWorld:
    """What it comes to, beside files whose contents are their names."""
    files = {name: HarborFile(content=name.encode()) for name in names}
    files["Dockerfile"] = HarborFile(content=dockerfile.encode())
    return plain_world(files, root=root, python=(3, 11))


def laid(dockerfile: str, *names: str) -> dict[str, str]:
    """Where files went → which these were."""
    stages = world(BEGIN + dockerfile, *names).stages
    return {path: file.content.decode() for stage in stages for path, file in stage.files.items()}


def test_commands_run_in_the_directory_and_with_the_variables_that_hold_at_their_line() -> None:
    found = world(
        "# syntax=docker/dockerfile:1\n"
        "from debian:12\n"
        "WORKDIR /workspace\n"
        "RUN echo first\n"
        "ENV A=1 B=\"two words\" C='$A' D=x\\ y\n"
        "ENV E all that $A follows\n"
        "WORKDIR sub/deep\n"
        "RUN echo second \\\n"
        "    # a comment within\n"
        "    && echo third\n"
        'RUN ["python3", "-c", "print(1)"]\n'
        'LABEL a=b\nEXPOSE 80\nCMD ["sleep", "1"]\n'
    )
    assert [(stage.line, stage.workdir, stage.command) for stage in found.stages] == [
        (4, "/workspace", "echo first"),
        (8, "/workspace/sub/deep", "echo second     && echo third"),
        (11, "/workspace/sub/deep", "python3 -c 'print(1)'"),
    ]
    assert found.stages[0].env == {}
    expected = {"A": "1", "B": "two words", "C": "$A", "D": "x y", "E": "all that 1 follows"}
    assert found.stages[1].env == expected
    assert (found.image, found.workdir, found.env) == ("debian:12", "/workspace/sub/deep", expected)


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        ("COPY a.py .", {"/workspace/a.py": "a.py"}),
        ("COPY a.py b.py", {"/workspace/b.py": "a.py"}),
        ("COPY a.py lib/", {"/workspace/lib/a.py": "a.py"}),
        ("COPY a.py /workspace", {"/workspace/a.py": "a.py"}),
        ("COPY src .", {"/workspace/x.py": "src/x.py", "/workspace/in/y.py": "src/in/y.py"}),
        ("COPY src/ new", {"/workspace/new/x.py": "src/x.py", "/workspace/new/in/y.py": "src/in/y.py"}),
        ("COPY src/*.py .", {"/workspace/x.py": "src/x.py"}),
        ("COPY ?.py src/x.py to/", {"/workspace/to/a.py": "a.py", "/workspace/to/x.py": "src/x.py"}),
        ('COPY ["a.py", "with space.py"]', {"/workspace/with space.py": "a.py"}),
        ("ENV TO=there\nCOPY a.py ${TO}/${AS:-c.py}", {"/workspace/there/c.py": "a.py"}),
        ("WORKDIR /workspace/in\nCOPY a.py .\nCOPY a.py ../b", {"/workspace/in/a.py": "a.py", "/workspace/b": "a.py"}),
    ],
)
def test_files_are_copied_to_where_docker_would_copy_them(copy: str, expected: dict[str, str]) -> None:
    assert laid(copy, "a.py", "src/x.py", "src/in/y.py") == expected


def test_copying_everything_copies_the_dockerfile_too() -> None:
    assert set(laid("COPY . .", "a.py", "src/x.py")) == {
        "/workspace/a.py",
        "/workspace/src/x.py",
        "/workspace/Dockerfile",
    }


@pytest.mark.parametrize("base", ["python:3.11", "python:3.8-bookworm", "python:3", "docker.io/library/ubuntu:24.04"])
def test_bases_that_the_machine_can_stand_for(base: str) -> None:
    assert world(f"FROM {base}\n").image == base


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("FROM alpine:3", 1, "'alpine:3' is no base"),
        ("FROM python:3.12", 1, "newer than this machine's Python 3.11"),
        ("FROM python:3.11-alpine", 1, "is no base"),
        ("FROM python:2.7", 1, "is no base"),
        ("FROM debian@sha256:0", 1, "is no base"),
        ("FROM ghcr.io/x/python:3.11", 1, "is no base"),
        ("FROM python:3.11 AS build", 1, "is no base"),
        ("FROM --platform=linux/arm64 debian", 1, "the flag --platform=linux/arm64"),
        (f"{BEGIN}FROM debian", 3, "a second stage"),
        ("RUN true", 1, "the first instruction must be FROM"),
        ("ARG V=1\nFROM debian:$V", 1, "ARG is not among FROM, COPY, WORKDIR, ENV and RUN"),
        (f"{BEGIN}\n# later\nUSER nobody", 5, "USER is not among"),
        (f"{BEGIN}ENTRYPOINT ['x']", 3, "ENTRYPOINT is not among"),
        (f"{BEGIN}ADD a.tar .", 3, "ADD is not among"),
        (f"{BEGIN}RUN --mount=type=cache true", 3, "the flag --mount=type=cache"),
        (f"{BEGIN}RUN true && apt-get install -y git", 3, "'apt-get' needs a network"),
        (f"{BEGIN}RUN python3 -m pip install pytest", 3, "'pip install' needs a network"),
        (f"{BEGIN}RUN <<END\ntrue\nEND", 3, "a here-document"),
        (f"{BEGIN}RUN", 3, "RUN says nothing"),
        (f"{BEGIN}COPY --chown=1 a.py .", 3, "the flag --chown=1"),
        (f"{BEGIN}COPY a.py /etc/", 3, "/etc lies outside /workspace"),
        (f"{BEGIN}COPY a.py ../up", 3, "/up lies outside /workspace"),
        (f"{BEGIN}COPY ../a.py .", 3, "'../a.py' lies outside the folder"),
        (f"{BEGIN}COPY b.py .", 3, "there is no 'b.py' in environment/"),
        (f"{BEGIN}COPY *.txt .", 3, "there is no '*.txt' in environment/"),
        (f"{BEGIN}COPY a.py", 3, "a source and a destination"),
        ("FROM debian\nCOPY a.py .", 2, "/ lies outside /workspace"),
        ("FROM debian\nWORKDIR /app", 2, "/app lies outside /workspace"),
        (f"{BEGIN}ENV PATH=/opt/bin:$PATH", 3, "only the image knows"),
        (f"{BEGIN}ENV A=1 stray", 3, "cannot be read from 'stray' on"),
        (f"{BEGIN}ENV 1A=1", 3, "'1A' is no name of a variable"),
        ("# escape=`\nFROM debian", 1, r"only \ is read here"),
    ],
)
def test_what_cannot_be_done_without_an_image_is_told_with_its_line_and_who_can(
    text: str, line: int, told: str
) -> None:
    with pytest.raises(TaskError) as caught:
        world(text, "a.py")
    said = str(caught.value)
    assert said.startswith(f"environment/Dockerfile line {line}, ")
    assert told in said
    assert said.endswith(": run it on the docker backend")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("other", b"", "environment/Dockerfile is missing"),
        ("Dockerfile", b"", "environment/Dockerfile has no FROM"),
        ("Dockerfile", b"\xff", "environment/Dockerfile cannot be read as text"),
        (".dockerignore", b"*", "environment/.dockerignore cannot be honoured"),
    ],
)
def test_a_folder_that_is_no_context_is_told_in_one_line(name: str, content: bytes, told: str) -> None:
    with pytest.raises(TaskError) as caught:
        plain_world({name: HarborFile(content=content)})
    assert str(caught.value).startswith(told)


def test_a_workspace_may_lie_anywhere() -> None:
    assert world("FROM debian\nWORKDIR /app\nCOPY a.py .", "a.py", root="/app").stages[0].files.keys() == {"/app/a.py"}
