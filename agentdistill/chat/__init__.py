"""The one place where messages become token ids and a loss mask, and model text becomes tool calls."""

from agentdistill.chat.proofs import Form, Stop
from agentdistill.chat.rendering import Prompt, Renderer, Row, Trained

__all__ = ["Form", "Prompt", "Renderer", "Row", "Stop", "Trained"]
