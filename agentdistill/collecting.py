"""Collecting recovery traces and nothing else: a student acts on folders of tasks, a teacher takes over where it fails.

Nothing is trained. The student may be a model behind a server, whose tokens nobody knows: traces are kept as messages,
and become ids where its tokenizer is named. All the teacher reads and writes counts against one budget, over every
resumption; what was bought is never bought again.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.chat import Renderer
from agentdistill.collection import CHUNK, Collector
from agentdistill.divergence import DetectorSpec
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import BudgetError, ConfigError, TaskError
from agentdistill.formats.harbor import find_tasks, read_task
from agentdistill.kept import kept_traces
from agentdistill.ledger import Budget, CallLedger
from agentdistill.loading import load_policy
from agentdistill.opening import ActorSpec, open_actor, open_environments, renderer_in, share_backend, told_settings
from agentdistill.policies import Policy
from agentdistill.policies.calling import ConnectionConfig
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.policies.informed import Informed
from agentdistill.policies.local import Checkpoint, LocalPolicy, Sampling
from agentdistill.policies.metered import Metered
from agentdistill.recipes import TakeoverRecipe
from agentdistill.records import Record, Task, digest_of
from agentdistill.rollout import Rollout, Watcher
from agentdistill.sandbox import Limits
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.store import RunStore
from agentdistill.ways import People, gather

ARM = "collect"
"""What the one arm of such a run is called."""
ENVIRONMENT = "agentdistill/Terminal-v0"
"""Runs task folders."""
DETECTORS: tuple[DetectorSpec, ...] = ({"name": "first_of", "of": ["judge", "last_step"]},)
"""One question to the teacher for each failed run; where it names no step, the last one before the end."""


class CollectConfig(BaseModel):
    """One collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: Path
    """The folder under which the task folders lie."""
    student: ActorSpec
    """Who acts first."""
    teacher: ActorSpec
    """Who takes over."""
    budget: int = Field(gt=0)
    """Tokens that the teacher may read and write, together."""
    recipe: TakeoverRecipe = TakeoverRecipe(detectors=DETECTORS)
    """How: detectors, takeover, curation."""
    tries: int = Field(default=4, gt=0)
    """Runs of the student on each task."""
    split: str = "train"
    """Of which split the tasks are, `all` for every one. Who trains on held-out tasks cannot be measured on them."""
    tokenizer: Path | None = None
    """Folder with the student's tokenizer, where the student does not bring it along."""
    environment: str = ENVIRONMENT
    """What runs the tasks; it takes their folder as `tasks`."""
    seed: int = 0
    """Decides all luck."""
    sampling: Sampling = Sampling()
    """Of a student that is a local model, and of a teacher that is one."""
    live: int = Field(default=16, gt=0)
    """Most episodes in flight, each with a sandbox of its own."""
    sandbox: str = "bubblewrap"
    """Where commands run."""
    sandbox_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to that backend."""
    sandbox_limits: Limits = Limits()
    """What a sandbox, and each command in it, may use."""

    @field_validator("teacher")
    @classmethod
    def _has_ids_of_its_own(cls, teacher: ActorSpec) -> ActorSpec:
        if isinstance(teacher, EndpointConfig) and teacher.gives_ids:
            raise ValueError("a teacher's token ids are not the student's: token_ids = false, infer_ids = false")
        return teacher

    def identity(self, tasks: list[Task]) -> dict[str, JsonValue]:
        """What decides the outcome and may not change between resumptions: all but budget, tries, and who is where."""
        own = {"tasks", "student", "teacher", "budget", "recipe", "tries", "live", "tokenizer"}
        kept: dict[str, JsonValue] = {"kind": "collect", **self.model_dump(mode="json", exclude=own)}
        kept["tasks"] = {"folder": str(self.tasks), "digest": digest_of([task.content_hash for task in tasks])}
        kept["student"], kept["teacher"] = _who(self.student), _who(self.teacher)
        kept["tokenizer"] = str(self.student_tokenizer) if self.student_tokenizer else None
        return kept | {"recipe": self.recipe.model_dump(mode="json")}

    @property
    def student_tokenizer(self) -> Path | None:
        """The folder with the student's tokenizer, if there is one on this machine."""
        if isinstance(self.student, Checkpoint):
            return Path(self.student.model).resolve() if Path(self.student.model).is_dir() else None
        served = self.student.tokenizer if isinstance(self.student, EndpointConfig) else None
        folder = self.tokenizer or served
        return folder.resolve() if folder else None


class Collected(Record):
    """What a collection has come to, over all its resumptions.

    `teacher_input` and `teacher_output` are tokens, judgements included; of a teacher behind a server `lost` is the
    most that calls without an answer can have cost besides. `refused` counts what was not kept, by reason.
    """

    tasks: int
    tasks_tried: int
    runs: int
    failed: int
    errored: int
    divergences: int
    takeovers: int
    kept: int
    tasks_kept: int
    teacher_calls: int
    teacher_input: int
    teacher_output: int
    lost: int
    budget: int
    ended: str
    refused: dict[str, int]


def collect(config: CollectConfig, folder: Path, watch: Watcher) -> Collected:
    """Collect in `folder`, or go on where the last collection there stopped.

    It ends when every task has had its tries, or when the budget is spent: both are a normal end.

    Raises:
        UsageError: the configuration is at fault, or the folder belongs to another one.
        InfrastructureError: the machinery broke beyond its retries.
    """
    backend = BackendSpec(config.sandbox, config.sandbox_options)
    make = open_environments(config.environment, {"tasks": config.tasks}, backend)
    tasks = _tasks(config, make())
    _try_out(config)
    with ExitStack() as stack:
        store = stack.enter_context(RunStore.resume(folder, config.identity(tasks)))
        store.put_result(f"arm/{ARM}", {"recipe": config.recipe.model_dump(mode="json")})
        environments = share_backend(make, backend, config.sandbox_limits, folder, stack)
        calls = stack.enter_context(CallLedger(folder, Budget(tokens=config.budget)))
        books = stack.enter_context(CallLedger(folder / "student"))
        people, collector = _gathered(config, store, watch, environments, tasks, calls, books, stack)
        watch.begin(f"collecting on {len(tasks)} tasks, {config.budget:,} teacher tokens", config.budget)
        ended = "every task has had its tries"
        try:
            gather(config.recipe.model_copy(update={"curriculum": collector.curriculum}), collector, people)
            if collector.spent >= config.budget:
                ended = "the budget is spent"
        except BudgetError:
            ended = "the budget is spent"
        found = _summary(store, config, tasks, calls, collector.bought.refused, ended)
        watch.end(f"{found.kept} verified recoveries")
        store.put_result("collected", found.model_dump(mode="json"))
        return found


def _gathered(
    config: CollectConfig,
    store: RunStore,
    watch: Watcher,
    environments: functools.partial[ToolEnvironment],
    tasks: list[Task],
    calls: CallLedger,
    books: CallLedger,
    stack: ExitStack,
) -> tuple[People, Collector]:
    """Who acts, and what keeps it."""
    student = open_actor(_with_tokenizer(config), stack, books, config.sampling, "student")
    renderer, context = _reading(config, student)
    spent = store.teacher_tokens(ARM)
    teacher = _bounded(
        config, open_actor(config.teacher, stack, calls, config.sampling), spent.input + spent.output, renderer
    )
    acting = Rollout(environments, student, live=config.live)
    teaching = Rollout(environments, teacher, live=config.live, keep_snapshots=False)

    def whoever(style: str, world: Mapping[str, object]) -> Rollout:
        return teaching

    people = People(acting, renderer, context, whoever, None, config.seed)
    collector = Collector(
        store=store,
        renderer=None if isinstance(config.teacher, EndpointConfig) else renderer,
        tasks=lambda first, count: tasks[first : first + count],
        watch=watch,
        arm=ARM,
        round=0,
        seed=config.seed,
        budget=config.budget,
        most_episodes=config.tries * len(tasks),
        reading=True,
        at_once=min(CHUNK, len(tasks)),
        first=1,
        curriculum=config.recipe.curriculum.model_copy(update={"tasks": "in_turn", "set_size": len(tasks)}),
    )
    return people, collector


def _tasks(config: CollectConfig, environment: ToolEnvironment) -> list[Task]:
    """The tasks of the split, by name.

    Raises:
        TaskError: there are none, or one cannot be read.
    """
    known = sorted({read_task(folder).split for folder in find_tasks(config.tasks)})
    most = 1_000_000  # more folders than anybody has
    splits = known if config.split == "all" else [config.split]
    found = [task for split in splits for task in environment.make_tasks(split, most)]
    environment.close()
    if not found:
        there = ", ".join(known) or "no task folders"
        raise TaskError(f"there is no task of the split {config.split!r} under {config.tasks}, there are: {there}")
    return found


def _try_out(config: CollectConfig) -> None:
    """What is wrong with who acts is told before a run begins.

    Raises:
        UsageError: somebody cannot be had.
    """
    if isinstance(config.student, Checkpoint) and config.tokenizer:
        raise ConfigError("the student's folder has its tokenizer: leave --tokenizer out")
    for spec in (_with_tokenizer(config), config.teacher):
        if isinstance(spec, EndpointConfig):
            EndpointPolicy(spec, CallLedger()).close()
        elif isinstance(spec, str):
            load_policy(spec)
    if config.student_tokenizer is not None:
        renderer_in(config.student_tokenizer)


def _with_tokenizer(config: CollectConfig) -> ActorSpec:
    """The student; one behind a server with the tokenizer that was named."""
    if isinstance(config.student, EndpointConfig) and config.tokenizer:
        return config.student.model_copy(update={"tokenizer": config.tokenizer})
    return config.student


def _reading(config: CollectConfig, student: Policy) -> tuple[Renderer | None, int]:
    """The student's renderer, and how many tokens it holds; none where its tokens are not known."""
    if isinstance(student, LocalPolicy):
        return student.renderer, student.context
    folder = config.student_tokenizer
    return (None, 0) if folder is None else renderer_in(folder)


def _bounded(config: CollectConfig, teacher: Policy, spent: int, renderer: Renderer | None) -> Policy:
    """The teacher, who reads private notes, gives no ids of its own, and cannot pass the budget."""
    if not isinstance(config.teacher, EndpointConfig):  # a server's calls are bounded by their ledger
        teacher = Metered(teacher, config.budget, spent, renderer)
    notes = config.recipe.takeover.note
    return Informed(teacher) if isinstance(config.teacher, Checkpoint) or notes else teacher


def _who(spec: ActorSpec) -> JsonValue:
    if isinstance(spec, EndpointConfig):
        return told_settings(spec, tuple(ConnectionConfig.model_fields))
    return spec if isinstance(spec, str) else told_settings(spec, ("device",))


def _summary(
    store: RunStore, config: CollectConfig, tasks: list[Task], calls: CallLedger, refused: Counter[str], ended: str
) -> Collected:
    """What stands in the store, whoever put it there."""
    runs = [trace for _, trace in store.trajectories("rollout", ARM)]
    takeovers = [recovery for _, recovery in store.recoveries("takeover", ARM)]
    kept, not_kept = kept_traces(store, {ARM: config.recipe})
    found: dict[str, list[object]] = store.result(f"found/{ARM}/0") or {}
    before = {name: count for name, count in refused.items() if name not in not_kept}
    spent, totals = store.teacher_tokens(ARM), calls.totals
    behind = isinstance(config.teacher, EndpointConfig)
    return Collected(
        tasks=len(tasks),
        tasks_tried=len({trace.task.content_hash for trace in runs if not trace.errored}),
        runs=sum(not trace.errored for trace in runs),
        failed=sum(trace.failed for trace in runs),
        errored=sum(trace.errored for trace in runs) + sum(each.trajectory.errored for each in takeovers),
        divergences=sum(divergence is not None for divergence, *_ in found.values()),
        takeovers=len(takeovers),
        kept=len(kept),
        tasks_kept=len({each.trajectory.task.content_hash for each in kept}),
        teacher_calls=totals.answered if behind else sum(len(r.trajectory.steps) for r in takeovers),
        teacher_input=totals.usage.input_tokens if behind else spent.input,
        teacher_output=totals.usage.output_tokens if behind else spent.output,
        lost=totals.lost_tokens,
        budget=config.budget,
        ended=ended,
        refused={**before, **not_kept},
    )
