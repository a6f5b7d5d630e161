"""Messes: recorded wrong starts of a task, from which recovery is judged. Ours; other readers pass them by.

``messes/<name>/mess.toml`` says what was done, ``messes/<name>/recover.sh`` how to come out of it again::

    description = "The rename was done with sed over everything, the data files too."
    by = "hand"

    [[actions]]
    say = "I will rename it everywhere at once."
    tool = "bash"
    arguments = {command = "grep -rl amount . | xargs sed -i s/amount/level/g"}
"""

from __future__ import annotations

from pydantic import Field, JsonValue, StrictStr

from agentdistill.records import Record


class MessAction(Record):
    """One call of a tool in a mess."""

    tool: StrictStr = Field(min_length=1, description="its name in the environment, such as `bash`")
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    say: StrictStr = Field("", description="what was said with it")


class MessFile(Record):
    """A ``mess.toml``."""

    description: StrictStr = Field(min_length=1, description="what has gone wrong, in a sentence")
    by: StrictStr = Field(min_length=1, description="`hand`, or the name of the policy that did it")
    actions: tuple[MessAction, ...] = Field(min_length=1, description="in the order in which they were done")
    world: StrictStr = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="digest of the files they lead to: where it is another, that is told",
    )


class Mess(MessFile):
    """A recorded wrong start."""

    name: str
    recovery: str = Field(
        description="a bash script: run in the working directory after the actions, it ends in reward 1"
    )
