"""The whole loop: task → rollout → verdict → divergence → takeover → verdict → segment → train → evaluate → again.

`distill` reads aloud. Every stage leaves its records in the run's folder, so the same call again goes on where the last
one stopped. The arms are compared at equal teacher tokens, from the same base student, with the same number of
optimiser steps.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from agentdistill.accuracy import (
    AccuracyReport,
    DetectorAccuracy,
    WatchedRecoverable,
    report_accuracy,
    score_detector,
    true_divergence,
    with_perfect_judge,
)
from agentdistill.bought import Bought
from agentdistill.divergence import DetectorSpec, Judge, LastRecoverable, detector, is_oracle
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError, TemplateError
from agentdistill.ledger import CallLedger
from agentdistill.opening import digest_of_weights, open_actor, open_environments, share_backend
from agentdistill.policies import Policy
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.policies.local import Checkpoint, LocalPolicy
from agentdistill.probing import find_all
from agentdistill.recipes import needs_scorer
from agentdistill.results import ArmResult, RunReport
from agentdistill.rollout import Watcher
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.settings import RunConfig
from agentdistill.stages import Run, untrained_student
from agentdistill.store import RunStore
from agentdistill.trackers import load_trackers
from agentdistill.training import checkpoint_facts


def distill(config: RunConfig, folder: Path, watch: Watcher) -> RunReport:
    """Run the loop of `config` in `folder`, or what is left of it.

    Raises:
        UsageError: the configuration is at fault, or the folder belongs to another one.
        InfrastructureError: the machinery broke beyond its retries.
    """
    _open(config)
    need_scorer(config)
    load_trackers(config.trackers)
    if isinstance(config.teacher, EndpointConfig):  # what is wrong with it is told before a run begins
        EndpointPolicy(config.teacher, CallLedger(budget=config.teacher_budget)).close()
    if config.checkpoint is not None and checkpoint_facts(untrained_student(folder)) is None:
        _try_out(config.checkpoint)
    with ExitStack() as stack:
        store = stack.enter_context(RunStore.resume(folder, config.identity()))
        if (finished := _finished(store, config)) is not None:
            return finished
        environments = _environments(config, folder, stack)
        run = Run(config, folder, store, watch, environments, _make_teacher(config, folder, stack))
        base, clean = run.train_base(run.make_student())
        bank = run.freeze_bank(base)
        results = {"base": run.evaluate("base", base, bank)}
        for arm in config.arms:
            student, bought = base, Bought()
            for number in range(run.rounds(arm)):
                bought += run.buy(arm, number, student)
                before, student = student, run.train(arm, number, student, clean, bought)
                if run.is_flat(arm, number, before, student, bank):
                    break
            results[arm] = run.evaluate(arm, student, bank)
        return run.report(results, bank)


def evaluate_student(student: Path, folder: Path, name: str, watch: Watcher) -> ArmResult:
    """Measure any student on the held-out tasks and the bank of a finished run; kept in it under `name`.

    Raises:
        ConfigError: no student can be loaded, the run has no base student yet, or `name` is another student's.
        StoreError: the folder holds no run.
    """
    with ExitStack() as stack:
        store = stack.enter_context(RunStore.open(folder))
        config = RunConfig.model_validate({key: value for key, value in store.config.items() if key != "teacher"})
        run = Run(config, folder, store, watch, _environments(config, folder, stack))
        base = folder / "checkpoints" / "base-0"
        if checkpoint_facts(base) is None:
            raise ConfigError(f"the run in {folder} has no base student yet: let it finish first")
        weights = digest_of_weights(student)
        if name in ("base", *config.arms) or store.result(f"student/{name}") not in (None, weights):
            raise ConfigError(f"another student's results are kept in {folder} as {name!r}: choose another --name")
        store.put_result(f"student/{name}", weights)
        return run.evaluate(name, student, run.freeze_bank(base))


def need_scorer(config: RunConfig) -> None:
    """See that the learned teacher is there where an arm needs one: told now, not when students have been trained.

    Raises:
        ConfigError: it is not.
    """
    for name, recipe in config.arms.items():
        if needs_scorer(recipe):
            if config.scorer is None:
                raise ConfigError(f"arm {name!r} needs a teacher that gives log-probabilities: set scorer.model=FOLDER")
            config.scorer.find()


def _finished(store: RunStore, config: RunConfig) -> RunReport | None:
    """The report, if all that the configuration asks for is in it."""
    kept = store.result("report")
    if kept is None or list(kept["arms"]) != ["base", *config.arms]:
        return None
    if any(store.result(f"arm/{arm}") != config.arm_identity(arm) for arm in config.arms):
        return None
    return RunReport.model_validate(kept)


def compare_detectors(
    folder: Path, watch: Watcher, wanted: int, specs: Mapping[str, DetectorSpec], scorer: Path | None = None
) -> AccuracyReport:
    """Run detectors on failed runs of a run's base student, and hold what they find against the environment's truth.

    Args:
        folder: of a run that has its base student; the failed runs are kept in it.
        watch: is told how far it is.
        wanted: failed runs.
        specs: the detectors, by what the report calls them.
        scorer: folder of a model of the student's vocabulary that scores in the teacher's place.

    A judge is played by an oracle where the run has the environment's scripted teacher, which reads no transcript.

    Raises:
        ConfigError: the run has no base student yet, or a detector is unknown or wrongly set.
        StoreError: the folder holds no run.
    """
    made = {name: detector([spec]) for name, spec in specs.items()}
    with ExitStack() as stack:
        store = stack.enter_context(RunStore.open(folder))
        config = RunConfig.model_validate(store.config)
        environments = _environments(config, folder, stack)
        run = Run(config, folder, store, watch, environments, _make_teacher(config, folder, stack))
        base = folder / "checkpoints" / "base-0"
        if checkpoint_facts(base) is None:
            raise ConfigError(f"the run in {folder} has no base student yet: let it finish first")
        failed = run.failures(base, wanted)
        laboratory = run.laboratory(base, LocalPolicy.load(scorer) if scorer else None)
        environment = environments()
        stack.callback(environment.close)
        truths = [true_divergence(trajectory, environment) for trajectory in failed]
        scores: dict[str, DetectorAccuracy] = {}
        for name, find in made.items():
            watch.begin(name)
            if type(find) is LastRecoverable and find.actor == "teacher":
                find = WatchedRecoverable(**find.model_dump())
            asked = laboratory
            if isinstance(find, Judge) and config.teacher is None:
                asked = with_perfect_judge(laboratory, find, failed, truths)
            oracle = asked is not laboratory or is_oracle(find)
            scores[name] = score_detector(truths, find_all(find, failed, asked), oracle)
            if isinstance(find, WatchedRecoverable):
                scores[name] = find.checked(scores[name], failed, environment)
            watch.end(f"{scores[name].within_one.rate:.1%} within one step")
        return report_accuracy(config.environment, config.environment_options, base.name, failed, truths, scores)


def _try_out(checkpoint: Checkpoint) -> None:
    """See that a model can be loaded and learn from conversations, before a run begins with it.

    Raises:
        ConfigError: it cannot; the message says why.
    """
    try:
        LocalPolicy(*checkpoint.load())
    except TemplateError as error:
        raise ConfigError(f"{checkpoint.model} cannot be a student: {error}") from error


def _environments(config: RunConfig, folder: Path, stack: ExitStack) -> functools.partial[ToolEnvironment]:
    """Makes environments of the configuration that share one sandbox backend."""
    make, backend = _open(config)
    return share_backend(make, backend, config.sandbox_limits, folder, stack)


def _open(config: RunConfig) -> tuple[functools.partial[ToolEnvironment], BackendSpec]:
    """Makes bare environments of the configuration, and what makes their backend; what is wrong with them is told."""
    backend = BackendSpec(config.sandbox, config.sandbox_options)
    return open_environments(config.environment, config.environment_options, backend), backend


def _make_teacher(config: RunConfig, folder: Path, stack: ExitStack) -> Policy | None:
    """The teacher of the configuration, if it is not the environment's scripted one.

    What one behind a server is paid is in the run's folder before it is used.
    """
    if config.teacher is None:
        return None
    if isinstance(config.teacher, str):
        return open_actor(config.teacher, stack)
    return open_actor(config.teacher, stack, stack.enter_context(CallLedger(folder, config.teacher_budget)))
