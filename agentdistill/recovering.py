"""The recovery benchmark: a policy is put behind each mess of a task set. Does it climb out, and at what cost?

Messes are played once in a run's folder. What is finished there is kept, so the same call again goes on where the last
one stopped, and one with more tries adds them.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import InfrastructureError, SandboxUnavailableError
from agentdistill.ledger import Budget, CallLedger
from agentdistill.messes import ENVIRONMENT, Start, TaskSet, climbs, limited, play, read_set
from agentdistill.opening import (
    ActorSpec,
    digest_of_weights,
    open_actor,
    open_environments,
    share_backend,
    told_settings,
)
from agentdistill.policies import Policy
from agentdistill.policies.calling import ConnectionConfig
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.policies.local import Checkpoint, Sampling
from agentdistill.records import Trajectory, digest_of
from agentdistill.results import ArmResult, MessReport, Rate, clustered_rate, rate_of
from agentdistill.resuming import run_stored
from agentdistill.rollout import Rollout, Watcher
from agentdistill.sandbox import Limits
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.store import EpisodeKey, RunStore

LONGEST_TURN = 1024
"""Tokens that a model of one's own may say in a turn, if nothing else is asked for: it may write a whole file."""
_STAGE, _ARM = "messes", "climbs"


class MessConfig(BaseModel):
    """How a policy is measured behind messes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: Path
    """The folder of tasks; with a `benchmark.toml` in it, the set has a name and a version."""
    only: tuple[str, ...] = ()
    """Patterns for the folders of tasks that are used; all by default."""
    split: str = "all"
    """Whose tasks are used: of one split, or of all."""
    tries: int = Field(default=1, gt=0)
    """Episodes behind each mess, each with luck of its own."""
    steps: int | None = Field(default=None, gt=0)
    """Turns that the policy has, those of the mess not counted; by default the environment's step limit."""
    seed: int = Field(default=0, ge=0)
    """Decides all luck."""
    environment: str = ENVIRONMENT
    """In which the tasks are run. It takes `tasks`, and its tools are those that messes name."""
    sandbox: str = "bubblewrap"
    """`bubblewrap`, `docker`, an entry point's name or `module:Name`."""
    sandbox_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to that backend."""
    live: int = Field(default=16, gt=0)
    """Most episodes in flight."""
    budget: Budget = Budget()
    """What a policy behind a server may cost, over every resumption of the run."""
    sampling: Sampling = Sampling(max_new_tokens=LONGEST_TURN)
    """How a model of one's own samples."""

    @field_validator("sampling", mode="before")
    @classmethod
    def _has_room_for_files(cls, sampling: object) -> object:
        return {"max_new_tokens": LONGEST_TURN, **sampling} if isinstance(sampling, dict) else sampling


def climb_out(actor: ActorSpec, name: str, config: MessConfig, folder: Path, watch: Watcher) -> MessReport:
    """Put a policy behind each mess, or do what is left of it in `folder`.

    Raises:
        UsageError: a task, a mess, the policy or the configuration is at fault, or the folder is another run's.
        InfrastructureError: a mess could not be played, or no episode came to a verdict.
    """
    backend = BackendSpec(config.sandbox, config.sandbox_options)
    environments = open_environments(config.environment, {"tasks": config.tasks}, backend)
    bare = environments()
    found, step_limit = read_set(config.tasks, bare, config.only, config.split), config.steps or bare.step_limit
    bare.close()
    with ExitStack() as stack:
        if isinstance(actor, EndpointConfig):  # what is wrong with it is told before a run begins
            EndpointPolicy(actor, CallLedger(budget=config.budget)).close()
            policy: Policy | None = None
        else:
            policy = open_actor(actor, stack, None, config.sampling, name)
        about = _identity(actor, config)
        settings = {"tasks": found.digest, "step_limit": step_limit, **_run_settings(config), "policy": about}
        store = stack.enter_context(RunStore.resume(folder, settings))
        if policy is None:
            policy = open_actor(actor, stack, stack.enter_context(CallLedger(folder, config.budget)))
        shared = share_backend(environments, backend, Limits(), folder, stack)
        starts, worlds = _played(found, shared, store, watch)
        specs = climbs(starts, config.tries, config.seed)
        told = f"{len(starts)} messes" + (f", {config.tries} tries" if config.tries > 1 else "")
        watch.begin(f"{name}: climbing out of {told}", len(specs))
        rollout = Rollout(limited(shared, config.steps), policy, live=config.live, keep_snapshots=False)
        traces = run_stored(store, rollout, _STAGE, _ARM, 0, specs, watch, count=True)
        if errors := [trace.error for trace in traces if trace.errored]:
            watch.end(f"{len(errors)} of {len(traces)} episodes broke: {errors[0]}")
        if len(errors) == len(traces):
            raise InfrastructureError(f"no episode came to a verdict. The first: {errors[0]}")
        report = MessReport(
            benchmark=found.name,
            version=found.version,
            digest=found.digest,
            pinned=found.pinned,
            starts=digest_of(dict(worlds)),
            environment=config.environment,
            sandbox=config.sandbox,
            tasks=len({start.folder for start in found.starts}),
            messes=len(found.starts),
            tries=config.tries,
            step_limit=step_limit,
            seed=config.seed,
            policy=about,
            privileged=policy.privileged,
            arms={name: _result(found, traces)},
            groups=_grouped(found, traces),
        )
        if not errors:
            watch.end(f"{report.arms[name].recovery.rate:.1%}")
        store.put_result("messes", report.model_dump(mode="json"))
        return report


def _played(
    found: TaskSet, make: Callable[[], ToolEnvironment], store: RunStore, watch: Watcher
) -> tuple[list[Trajectory], Mapping[str, str]]:
    """Each mess as a trajectory, and what its world holds; from the store, where it has been played."""
    have = {key.task_id: trace for key, trace in store.trajectories("mess", _ARM, 0)}
    waiting = [start for start in found.starts if start.task.id not in have]
    watch.begin(f"playing {len(waiting)} messes", len(waiting))
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mess") as pool:
        try:
            for start, (trajectory, world) in zip(
                waiting, pool.map(functools.partial(_play, make), waiting), strict=True
            ):
                store.put_result(f"world/{start.task.id}", world)
                key = EpisodeKey(stage="mess", arm=_ARM, round=0, task_id=start.task.id)
                store.save_trajectory(key, trajectory)
                have[start.task.id] = trajectory
                watch.advance()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    watch.end()
    worlds = {start.task.id: str(store.result(f"world/{start.task.id}")) for start in found.starts}
    return [have[start.task.id] for start in found.starts], worlds


def _play(make: Callable[[], ToolEnvironment], start: Start, retries: int = 1) -> tuple[Trajectory, str]:
    environment = make()
    try:
        return play(start, environment, f"mess/{start.task.id}")
    except SandboxUnavailableError:
        raise
    except InfrastructureError as error:
        if retries:
            return _play(make, start, retries - 1)
        raise InfrastructureError(f"{start.problem('it could not be played')}: {error}") from error
    finally:
        environment.close()


def _run_settings(config: MessConfig) -> dict[str, JsonValue]:
    """What decides the episodes beside the tasks and the policy. More tries leave those that are there as they are."""
    wanted = {"seed", "environment", "sandbox", "sandbox_options"}
    settings: dict[str, JsonValue] = config.model_dump(mode="json", include=wanted)
    return settings


def _identity(actor: ActorSpec, config: MessConfig) -> dict[str, JsonValue]:
    """What tells one policy from another; how a server is reached is not in it."""
    if isinstance(actor, EndpointConfig):
        return told_settings(actor, tuple(ConnectionConfig.model_fields))
    if isinstance(actor, Checkpoint):
        own = told_settings(actor, ("device",)) | {"sampling": told_settings(config.sampling)}
        folder = Path(actor.model)
        return own | ({"weights": digest_of_weights(folder), "model": folder.name} if folder.is_dir() else {})
    path = Path(actor.rpartition(":")[0])
    code = hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == ".py" and path.is_file() else None
    return {"name": actor, **({"code": code} if code else {})}


def _grouped(found: TaskSet, traces: Sequence[Trajectory]) -> dict[str, dict[str, ArmResult]]:
    places = {start.task.id: start.place for start in found.starts}
    groups: dict[str, dict[str, ArmResult]] = {}
    for kind in found.starts[0].place:
        parts: dict[str, list[Trajectory]] = {name: [] for name in sorted({place[kind] for place in places.values()})}
        for trace in traces:
            parts[places[trace.task.id][kind]].append(trace)
        groups[kind] = {name: _result(found, part) for name, part in parts.items()}
    return groups


def _result(found: TaskSet, traces: Sequence[Trajectory]) -> ArmResult:
    """What became of these climbs."""
    judged = [trace for trace in traces if not trace.errored]
    own = [step for trace in judged for step in trace.steps[trace.parent.step if trace.parent else 0 :]]
    n = max(1, len(judged))
    return ArmResult(
        success=rate_of(0, 0),
        recovery=_rate(found, judged),
        teacher_tokens=0,
        teacher_input_tokens=0,
        student_tokens=sum(step.completion.output_tokens for step in own),
        student_input_tokens=sum(step.completion.input_tokens for step in own),
        optimiser_steps=0,
        tool_errors=sum(outcome.status != "ok" for step in own for outcome in step.outcomes) / n,
        steps=len(own) / n,
        errored=len(traces) - len(judged),
        climbs="".join("x" if trace.errored else "1" if trace.succeeded else "0" for trace in traces),
    )


def _rate(found: TaskSet, judged: Sequence[Trajectory]) -> Rate:
    """Messes of one task may be alike, and so may tries at one mess: the interval is over what there is several of."""
    folders = {start.task.id: start.folder for start in found.starts}
    for name_of in (folders, {task: task for task in folders}):
        clusters: dict[str, list[bool]] = {}
        for trace in judged:
            clusters.setdefault(name_of[trace.task.id], []).append(trace.succeeded)
        if len(clusters) > 1:
            return clustered_rate([(sum(passed), len(passed)) for passed in clusters.values()])
    return rate_of(sum(trace.succeeded for trace in judged), len(judged))
