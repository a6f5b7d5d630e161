"""Every exception this project raises on purpose.

The tree says who can mend what::

    AgentDistillError
    ├── UsageError                  the operator's input; one line, exit code 2
    │   ├── ConfigError             a key, a type or a value in a config
    │   ├── UnknownNameError        an environment, backend or detector nobody registered
    │   ├── TaskError               a task that does not fit its environment or format
    │   ├── StoreError              a run folder that is not one, or belongs to another config
    │   └── BudgetError             what may be spent is spent, or cannot be known
    ├── ToolError                   raised inside a tool: becomes an observation, never an exception
    ├── SegmentError                a trace that cannot be trained on
    │   ├── NothingSupervisedError  no token would carry loss
    │   ├── SegmentTooLongError     longer than the student's context
    │   └── TemplateError           the chat template does not let the mask be proved
    └── InfrastructureError         the machinery broke: the episode is errored, never failed
        ├── SandboxError            a sandbox could not do what it promised
        │   ├── SandboxUnavailableError   this machine cannot isolate; says what to install
        │   ├── SandboxLostError          it is gone in the middle of an episode
        │   └── SnapshotError             a snapshot is missing, or a restore does not match its digest
        │       └── ReplayError             what was done again did not do the same
        ├── PolicyError             a model or its server did not answer
        └── VerifierError           the grader broke; says nothing about the work it graded
            ├── MissingRewardError        it wrote no reward file
            ├── EmptyRewardError          its reward file is empty
            └── UnreadableRewardError     its reward file says no finite number

`UsageError` ends a command with one line. `ToolError` is the only one a model ever reads.
`InfrastructureError` may be retried, and is never counted as the student's failure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AgentDistillError(Exception):
    """Root of the tree; catch it to catch everything this project raises on purpose."""


class UsageError(AgentDistillError):
    """The operator's input is at fault; the message says what is wrong and how to mend it."""


class ConfigError(UsageError):
    """A config has a wrong key, type or value."""


class UnknownNameError(UsageError):
    """A name that nothing is registered under."""


class TaskError(UsageError):
    """A task does not fit its environment or its format."""


class StoreError(UsageError):
    """A run folder is not one, or was made by another configuration."""


class BudgetError(UsageError):
    """The next call could pass the budget, or its price is not known; what was bought is kept."""


class ToolError(AgentDistillError):
    """Raise it in a tool to tell the model, in one line, why its call did not work."""


class SegmentError(AgentDistillError):
    """A trace cannot become training data; it is refused and counted."""


class NothingSupervisedError(SegmentError):
    """No token of the row would carry loss."""


class SegmentTooLongError(SegmentError):
    """The row is longer than the student's context."""


class TemplateError(SegmentError):
    """The chat template rewrites earlier turns, so the mask cannot be proved."""


class InfrastructureError(AgentDistillError):
    """The machinery broke; nothing is said about the policy that was acting."""


class SandboxError(InfrastructureError):
    """A sandbox could not do what it promised."""


class SandboxUnavailableError(SandboxError):
    """This machine cannot isolate commands; the message says what to install or allow."""


class SandboxLostError(SandboxError):
    """A sandbox is gone in the middle of an episode."""


class SnapshotError(SandboxError):
    """A snapshot is missing, or what was restored does not match its digest."""


class ReplayError(SnapshotError):
    """Commands that were run again, to come to where they had led, said something else this time."""


class PolicyError(InfrastructureError):
    """A model or its server did not answer."""


class VerifierError(InfrastructureError):
    """The grader broke before it could judge."""


class MissingRewardError(VerifierError):
    """A task's own verifier wrote no reward file."""


class EmptyRewardError(VerifierError):
    """A reward file is empty."""


class UnreadableRewardError(VerifierError):
    """A reward file does not hold finite numbers in the form it must have."""


def printable(text: str) -> str:
    """A text as one line for a terminal: what cannot be printed, such as the escape that begins a terminal's commands,
    and every run of white space, becomes one blank. Names and output in a message may be anybody's.
    """
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as `` Did you mean 'repair'?`` for a misspelt name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
