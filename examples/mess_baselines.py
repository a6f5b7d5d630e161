"""Baselines behind messes: who does nothing, who runs the reference solution blindly, and who knows how to recover.

    agentdistill evaluate examples/mess_baselines.py:DoNothing --from-messes tasks/recover
    agentdistill evaluate examples/mess_baselines.py:BlindSolution --from-messes tasks/recover
    agentdistill evaluate examples/mess_baselines.py:Recover --from-messes tasks/recover

The last two read the task's folder, which no model can: a report says so. A policy is a class with `name`, `privileged`
and `act`; one that looks at its messages and nothing else is not privileged.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentdistill_environments.terminal import Terminal

from agentdistill import Completion, Message, Request, ToolCall

_END = "END_OF_THE_SCRIPT"


class DoNothing:
    """Submits what it finds: it must never be right."""

    name = "do-nothing"
    privileged = False

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """Submit."""
        return [_turn(request, "submit") for request in requests]


class _Script:
    """Runs one script, whole, and submits."""

    name = ""
    privileged = True

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """The script, if it has not been run yet; then submit."""
        return [self._next(request) for request in requests]

    def _next(self, request: Request) -> Completion:
        assert isinstance(request.world, Terminal)
        command = f"bash <<'{_END}'\n{self.script(request.world).rstrip()}\n{_END}"
        said = (call.arguments.get("command") for message in request.messages for call in message.tool_calls)
        return _turn(request, "submit") if command in said else _turn(request, "bash", command=command)

    def script(self, world: Terminal) -> str:
        """What to run."""
        raise NotImplementedError


class BlindSolution(_Script):
    """Runs the reference solution as if nothing had happened: how many messes does it take more to climb out of?"""

    name = "blind-solution"

    def script(self, world: Terminal) -> str:
        """The task's ``solution/solve.sh``."""
        return world.harbor.solution["solve.sh"].content.decode()


class Recover(_Script):
    """Runs the way out that comes with the mess: it must always be right."""

    name = "recover"

    def script(self, world: Terminal) -> str:
        """The mess's ``recover.sh``."""
        name = world.task.id.rpartition("/")[2]
        return next(mess.recovery for mess in world.harbor.messes if mess.name == name)


def _turn(request: Request, tool: str, **arguments: str) -> Completion:
    turn = sum(message.role == "assistant" for message in request.messages)
    call = ToolCall(id=f"call_{turn}_0", name=tool, arguments=dict(arguments))
    return Completion(message=Message(role="assistant", tool_calls=(call,)))
