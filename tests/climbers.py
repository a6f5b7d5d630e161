"""Policies to put behind messes, named from the command line as ``tests/climbers.py:Name``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from agentdistill.errors import PolicyError
from agentdistill.policies import Request
from agentdistill.records import Completion, Message, ToolCall


def turn(request: Request, tool: str, **arguments: str) -> Completion:
    number = sum(message.role == "assistant" for message in request.messages)
    call = ToolCall(id=f"call_{number}_0", name=tool, arguments=dict(arguments))
    return Completion(message=Message(role="assistant", tool_calls=(call,)))


class Mender:
    """Writes the right number and submits, without looking; what it is asked is kept in `seen`."""

    name = "mender"
    privileged = False

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        self.seen += requests
        return [self.answer(request) for request in requests]

    def answer(self, request: Request) -> Completion:
        mended = any(call.arguments.get("command") == "echo 42 > n" for m in request.messages for call in m.tool_calls)
        return turn(request, "submit") if mended else turn(request, "bash", command="echo 42 > n")


class Idler(Mender):
    """Looks around and never submits."""

    name = "idler"

    def answer(self, request: Request) -> Completion:
        return turn(request, "bash", command="ls")


class Breaking(Mender):
    """Its server does not answer where a mess holds the word."""

    name = "breaking"

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        if any("hopeless" in message.content for request in requests for message in request.messages):
            raise PolicyError("the server did not answer")
        return super().act(requests)


class Slow(Mender):
    """Leaves a line for each turn in the file $CLIMBERS_LOG, and takes its time."""

    name = "slow"

    def answer(self, request: Request) -> Completion:
        with Path(os.environ["CLIMBERS_LOG"]).open("a") as file:
            file.write(f"{request.seed}\n")
        time.sleep(float(os.environ.get("CLIMBERS_SECONDS", "0")))
        return super().answer(request)
