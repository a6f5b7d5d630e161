"""A teacher of one's own, in one file: it pours what is missing into the tank of tank.py, going by the conversation.

A teacher is any class with `name`, `privileged` and `act`. This one reads what everybody can read; one that declares
itself privileged would find the live environment in `request.world`. Its name is examples/own_teacher.py:Pourer.
"""

import re

from agentdistill import Completion, Message, ToolCall


class Pourer:
    """Subtracts what the tank says it holds from what was ordered."""

    name = "pourer"
    privileged = False

    def act(self, requests):
        return [self.turn(request.messages) for request in requests]

    def turn(self, messages):
        ordered = int(re.search(r"\d+", messages[0].content)[0])
        held = [int(said[1]) for message in messages if (said := re.fullmatch(r"(\d+) litres", message.content))]
        missing = ordered - (held[-1] if held else 0)
        name, arguments = ("fill", {"litres": min(40_000, missing)}) if missing > 0 else ("close_tank", {})
        number = sum(message.role == "assistant" for message in messages)
        call = ToolCall(id=f"call_{number}_0", name=name, arguments=arguments)
        # A scripted teacher's bill is its own choice: here each turn counts as eight tokens.
        return Completion(message=Message(role="assistant", tool_calls=(call,)), output_tokens=8, model=self.name)
