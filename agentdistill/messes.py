"""Messes as starts: recorded wrong beginnings of tasks, played through the environment's own tools, to climb out of.

What is played is a real conversation in a real world, a turn for each action. Whoever is put behind it is told nothing
of another hand, and has all of its own steps: those of the mess count apart.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from agentdistill.config import read_config
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError, TaskError, nearest, printable
from agentdistill.formats.harbor import HarborTask, Mess, find_tasks, read_task
from agentdistill.records import Completion, Message, Record, Task, ToolCall, Trajectory, derive_seed, digest_of
from agentdistill.rollout import Episode, EpisodeSpec

FILE = "benchmark.toml"
ENVIRONMENT = "terminal"
"""Where messes are played by default: its tools are those that they name."""
_ALL = 1_000_000  # tasks of a split: as many as there are
_NOT_PLAYABLE = {"unknown_tool": "tool", "bad_argument": "arguments", "malformed": "arguments"}


class BenchmarkFile(Record):
    """A ``benchmark.toml``: what a set of tasks is called, and the digest by which its version is known."""

    name: str = Field(min_length=1)
    version: str = Field(pattern=r"^\d+\.\d+$")
    digest: str = Field("", pattern=r"^([0-9a-f]{64})?$")


@dataclass(frozen=True)
class Start:
    """One mess of one task. The task's id has the mess's name behind it, so that each is known by its own."""

    root: Path
    folder: str
    harbor: HarborTask
    mess: Mess
    task: Task

    @property
    def place(self) -> dict[str, str]:
        """By what results are grouped: kind of group → its name."""
        about = self.harbor.table("metadata")
        told = {key: str(about.get(key, "")) or "(none)" for key in ("family", "difficulty")}
        return {**told, "split": self.task.split, "task": self.folder, "mess": f"{self.folder}/{self.mess.name}"}

    def problem(self, told: str) -> TaskError:
        """What is wrong with this mess, in one line."""
        return TaskError(printable(f"{self.root / self.folder}: messes/{self.mess.name}/mess.toml: {told}"))


@dataclass(frozen=True)
class TaskSet:
    """The messes of a folder of tasks, in the order of their names.

    Attributes:
        name: of the set; the folder's, where it has no ``benchmark.toml``.
        version: empty without one.
        pinned: the digest that belongs to that version; empty where none is written down.
        starts: the messes.
    """

    name: str
    version: str
    pinned: str
    starts: tuple[Start, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides a result: instructions, settings, files, hidden tests, and what messes do.

        Reference solutions, scripts of recovery, wrong fixes and cheats are left out: nobody is measured by them.
        """
        tasks: dict[str, HarborTask] = {start.folder: start.harbor for start in self.starts}
        return digest_of(
            {folder: _decisive(tasks[folder], [s.mess for s in self.starts if s.folder == folder]) for folder in tasks}
        )


def read_set(root: Path, environment: ToolEnvironment, only: Sequence[str] = (), split: str = "all") -> TaskSet:
    """The messes below `root`, as tasks of an environment that was made for these task folders.

    Args:
        root: the folder of tasks, with a ``benchmark.toml`` where the set has a version.
        environment: whose ``make_tasks`` names each task's folder in ``data["folder"]``.
        only: patterns for the names of task folders; all of them by default.
        split: of which split, or `all`.

    Raises:
        TaskError: a task cannot be read, or there is no mess.
        ConfigError: ``benchmark.toml`` is at fault, or a pattern or split fits nothing.
    """
    about = read_config(root / FILE, [], BenchmarkFile) if (root / FILE).exists() else None
    harbors = {path.relative_to(root).as_posix(): read_task(path) for path in find_tasks(root)}
    kept = _chosen(harbors, only, split)
    tasks: dict[str, Task] = {}
    for each in sorted({harbor.split for harbor in kept.values()}):
        tasks |= {str(task.data.get("folder")): task for task in environment.make_tasks(each, _ALL)}
    starts = []
    for folder, harbor in kept.items():
        for mess in harbor.messes:
            if folder not in tasks:
                raise TaskError(f"{root / folder}: {type(environment).__name__} makes no task of this folder")
            task = tasks[folder].model_copy(update={"id": f"{tasks[folder].id}/{mess.name}"})
            starts.append(Start(root, folder, harbor, mess, task))
    if not starts:
        raise TaskError(f"{root}: no task has a mess: write messes/<name>/mess.toml and recover.sh in a task's folder")
    pinned = about.digest if about and not only and split == "all" else ""
    return TaskSet(about.name if about else root.resolve().name, about.version if about else "", pinned, tuple(starts))


def play(start: Start, environment: ToolEnvironment, owner: str = "") -> tuple[Trajectory, str]:
    """Do what a mess says, and see that it is one: as `act_out`, and the world does not pass in the end."""
    trajectory, world = act_out(start, environment, owner)
    if environment.verify().passed:
        raise start.problem("this is no mess, the hidden tests pass after its actions: make it one, or remove it")
    return trajectory, world


def act_out(start: Start, environment: ToolEnvironment, owner: str = "") -> tuple[Trajectory, str]:
    """Do what a mess says, whatever it is worth.

    Args:
        start: the mess.
        environment: a bare one, of which the step limit is changed.
        owner: for whom snapshots are kept.

    Returns:
        The trajectory, paused after the last action, and the digest of what the world then holds.

    Raises:
        TaskError: an action cannot be done, ends the episode, or leads to another world than the pinned one.
        InfrastructureError: the machinery broke.
    """
    actions = start.mess.actions
    environment.step_limit = len(actions) + 1
    spec = EpisodeSpec(start.task, derive_seed("mess", start.task.id), most_steps=len(actions))
    episode = Episode(spec, environment, f"mess by {start.mess.by}", keep_snapshots=True, owner=owner)
    episode.begin()
    for number, action in enumerate(actions):
        if episode.ending is not None:
            raise start.problem(f"actions[{number - 1}] ends the task: leave it out, and what comes behind it")
        call = ToolCall(id=f"call_{number}_0", name=action.tool, arguments=action.arguments)
        turn = Message(role="assistant", content=action.say, tool_calls=(call,))
        episode.feed(Completion(message=turn, model=episode.policy))
        for outcome in episode.steps[-1].outcomes:
            if key := _NOT_PLAYABLE.get(outcome.status):
                raise start.problem(f"actions[{number}].{key}: {outcome.text.removeprefix('error: ')}")
    trajectory = episode.trajectory()
    if not trajectory.paused:
        raise start.problem(f"actions[{len(actions) - 1}] ends the task: leave it out")
    world = world_digest(environment, trajectory)
    if start.mess.world and start.mess.world != world:
        raise start.problem(f"world: its actions lead to {world} here: write that if it is meant, or find what changed")
    return trajectory, world


def world_digest(environment: ToolEnvironment, trajectory: Trajectory) -> str:
    """SHA-256 over the files of the world as it is (bytecode left out); over its state, where it has no sandbox."""
    if environment.sandbox is None:
        last = trajectory.world(len(trajectory.steps))
        return last.world_digest if last else ""
    files = environment.sandbox.download()
    return digest_of(
        {
            name: [hashlib.sha256(file.content).hexdigest(), file.executable]
            for name, file in files.items()
            if "__pycache__" not in name.split("/")
        }
    )


def rewound(trajectory: Trajectory) -> Trajectory:
    """The same with the clock of its last world at zero: who goes on from there has all of the steps."""
    *before, last = trajectory.steps
    assert last.snapshot is not None
    last = last.model_copy(update={"snapshot": last.snapshot.model_copy(update={"steps_taken": 0})})
    return trajectory.model_copy(update={"steps": (*before, last)})


def climbs(starts: Sequence[Trajectory], tries: int, seed: int) -> list[EpisodeSpec]:
    """The episodes in which a policy is put behind each mess, so many times, with luck of its own each time."""
    return [
        EpisodeSpec(
            task=start.task,
            seed=derive_seed("climb", seed, start.task.id, attempt),
            fork=(rewound(start), len(start.steps)),
            reseed=True,
            attempt=attempt,
        )
        for attempt in range(tries)
        for start in starts
    ]


def limited(make: Callable[[], ToolEnvironment], steps: int | None) -> Callable[[], ToolEnvironment]:
    """Makes the same environments with another step limit."""

    def made() -> ToolEnvironment:
        environment = make()
        if steps is not None:
            environment.step_limit = steps
        return environment

    return made


def _decisive(harbor: HarborTask, messes: Sequence[Mess]) -> str:
    bare = tuple(mess.model_copy(update={"recovery": "", "description": "", "world": ""}) for mess in messes)
    steps = tuple(step.model_copy(update={"solution": {}}) for step in harbor.steps)
    return harbor.model_copy(update={"solution": {}, "wrong": {}, "cheats": {}, "messes": bare, "steps": steps}).digest


def _chosen(harbors: dict[str, HarborTask], only: Sequence[str], split: str) -> dict[str, HarborTask]:
    for pattern in only:
        if not fnmatch.filter(harbors, pattern):
            raise ConfigError(f"--only {pattern!r} fits no task.{nearest(pattern, harbors)}")
    known = sorted({harbor.split for harbor in harbors.values()})
    if harbors and split not in (*known, "all"):
        raise ConfigError(f"--split {split!r}: write {', '.join(known)} or all")
    return {
        folder: harbor
        for folder, harbor in harbors.items()
        if (not only or any(fnmatch.fnmatch(folder, pattern) for pattern in only)) and split in (harbor.split, "all")
    }
