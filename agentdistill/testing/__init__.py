"""The conformance suites that ship: what every environment and every sandbox backend passes, ours and anybody's.

``check_environment(make)`` checks an environment (`agentdistill env check`), ``check_sandboxes(spec)`` a backend of
sandboxes (`agentdistill sandbox check`), ``check_loss(loss)`` of `agentdistill.testing.losses` a loss (with torch).
``ChatServer`` is a chat server that fails as it is told to, for tests.
"""

from agentdistill.testing.chat_server import ChatServer
from agentdistill.testing.environments import TASKS, TRIES, Check, check_environment
from agentdistill.testing.sandboxes import Finding, check_sandboxes

__all__ = ["TASKS", "TRIES", "ChatServer", "Check", "Finding", "check_environment", "check_sandboxes"]
