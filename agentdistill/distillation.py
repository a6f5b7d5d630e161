"""The whole loop: task → rollout → verdict → divergence → takeover → verdict → segment → train → evaluate → again.

`distill` reads aloud. Every stage leaves its records in the run's folder, so the same call again goes on where the last
one stopped. The arms are compared at equal teacher tokens, from the same base student, with the same number of
optimiser steps.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.collection import Collected, Collector, run_stored
from agentdistill.divergence import detector
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError, StoreError
from agentdistill.evaluation import ArmResult, Bank, freeze_bank, rate_of, success_rate
from agentdistill.loading import load_environment
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer
from agentdistill.records import Record, Segment, Task, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher
from agentdistill.segments import segments_of
from agentdistill.store import RunStore
from agentdistill.training import Pool, Progress, TrainingConfig, checkpoint_facts, save_checkpoint, train
from agentdistill.transcripts import transcripts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Arm = Literal["clean", "clean-explore", "recovery"]
REPLAY: dict[Arm, float] = {"clean": 0.5, "clean-explore": 0.0, "recovery": 0.5}


class EvaluationConfig(BaseModel):
    """What every arm is measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: int = Field(default=300, gt=0)
    """Held-out tasks; the base student's failures on them make the bank."""
    seed: int = 0
    """Decides the held-out tasks and the luck met in them: the same for every arm, and for every seed of a run."""


class RunConfig(BaseModel):
    """One run of the loop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    """Which one: `repair`, `agentdistill/Repair-v0`, `module:Class` or `file.py:Class`."""
    environment_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to the environment's constructor, `gap` for one."""
    seed: int = 0
    """Decides everything but the evaluation tasks."""
    student: TinyConfig = TinyConfig()
    sampling: Sampling = Sampling()
    base_tokens: int = Field(default=30_000, gt=0)
    """Teacher tokens of clean traces that the base student learns from; charged to every arm."""
    base_training: TrainingConfig = TrainingConfig()
    budget_tokens: int = Field(default=20_000, gt=0)
    """Teacher tokens that each arm may spend beyond the base, over all its rounds."""
    rounds: int = Field(default=1, gt=0)
    """How often: sample, take over, train, again with the student that came of it."""
    training: TrainingConfig = TrainingConfig()
    """Per arm; its steps are divided among the rounds."""
    arms: tuple[Arm, ...] = ("clean", "clean-explore", "recovery")
    replay: dict[Arm, Annotated[float, Field(ge=0, le=1)]] = REPLAY
    """Share of each step's supervised tokens drawn from the base's clean traces; the rest is what the arm bought."""
    detectors: tuple[str, ...] = ("first_tool_error", "failing_visible_test", "loop")
    """The earliest of these is the point of divergence."""
    most_student_episodes: int = Field(default=20_000, gt=0)
    """Per round of the recovery arm, in case the student fails too seldom to spend the budget."""
    evaluation: EvaluationConfig = EvaluationConfig()
    live: int = Field(default=256, gt=0)
    """Most episodes in flight."""
    in_memory_sandboxes: bool = False
    """Keep live workspaces in /dev/shm: about twice as fast where worlds are small; snapshots stay on disk."""

    @field_validator("replay")
    @classmethod
    def _fill_in(cls, shares: dict[Arm, float]) -> dict[Arm, float]:
        return REPLAY | shares  # `--set replay.clean=0.3` says nothing of the other arms

    @field_validator("detectors")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        detector(names)  # a wrong name is told now, not when the base student has been trained
        return names


class RunReport(Record):
    """What a run came to."""

    environment: str
    options: dict[str, JsonValue]
    seed: int
    bank_states: int
    bank_fatal: int
    bank_unseen: int
    bank_digest: str
    arms: dict[str, ArmResult]
    refused: dict[str, dict[str, int]]
    tokens: Literal["exact", "inferred"] = "exact"


def distill(config: RunConfig, folder: Path, watch: Watcher) -> RunReport:
    """Run the loop of `config` in `folder`, or what is left of it.

    Raises:
        UsageError: the configuration is at fault, or the folder belongs to another one.
        InfrastructureError: the machinery broke beyond its retries.
    """
    environment = _load_environment(config)
    with ExitStack() as stack:
        store = stack.enter_context(RunStore.resume(folder, config.model_dump(mode="json")))
        run = Run(config, folder, store, watch, _share_backend(environment, folder, stack))
        tokenizer = run.make_tokenizer()
        base, clean = run.train_base(tokenizer)
        bank = run.freeze_bank(base)
        results = {"base": run.evaluate("base", base, bank)}
        for arm in config.arms:
            student = base
            bought: list[Segment] = []
            for number in range(config.rounds):
                bought += run.buy(arm, number, student)
                student = run.train(arm, number, student, clean, bought)
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
        config = RunConfig.model_validate(store.config)
        run = Run(config, folder, store, watch, _share_backend(_load_environment(config), folder, stack))
        base = folder / "checkpoints" / "base-0"
        if checkpoint_facts(base) is None:
            raise ConfigError(f"the run in {folder} has no base student yet: let it finish first")
        weights = _digest_of_weights(student)
        if name in ("base", *config.arms) or store.result(f"student/{name}") not in (None, weights):
            raise ConfigError(f"another student's results are kept in {folder} as {name!r}: choose another --name")
        store.put_result(f"student/{name}", weights)
        return run.evaluate(name, student, run.freeze_bank(base))


def read_report(folder: Path) -> RunReport:
    """What the run in `folder` came to.

    Raises:
        StoreError: the folder holds no run, or one that is not finished.
    """
    with RunStore.read(folder) as store:
        found = store.result("report")
    if found is None:
        raise StoreError(f"the run in {folder} is not finished: the command that began it goes on where it stopped")
    return RunReport.model_validate(found)


@dataclass
class Run:
    """The stages of one run; each takes from the store what is there and does the rest."""

    config: RunConfig
    folder: Path
    store: RunStore
    watch: Watcher
    make_environment: functools.partial[ToolEnvironment]

    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        """The student's tokenizer, from transcripts of the environment."""
        from transformers import PreTrainedTokenizerFast

        folder = self.folder / "checkpoints" / "untrained"
        if checkpoint_facts(folder) is None:
            self.watch.begin("transcripts for the tokenizer")
            texts = transcripts(self.make_environment, self.config.seed, self.watch)
            tokenizer = make_tokenizer(texts, self.config.student)
            model = make_student(tokenizer, self.config.student, self.config.seed)
            parameters = sum(p.numel() for p in model.parameters())
            save_checkpoint(model, tokenizer, folder, {"parameters": parameters})
            self.watch.end(f"{len(tokenizer)} tokens in the vocabulary, {parameters:,} parameters in the student")
        return cast("PreTrainedTokenizerFast", PreTrainedTokenizerFast.from_pretrained(folder))

    def train_base(self, tokenizer: PreTrainedTokenizerFast) -> tuple[Path, list[Segment]]:
        """The student every arm starts from, and the clean traces it learnt from."""
        untrained = self.folder / "checkpoints" / "untrained"
        bought = self._buy("base", 0, untrained, self.config.base_tokens)
        pools = [Pool(bought, 1.0)]
        return self._train("base", 0, untrained, pools, self.config.base_training), bought

    def freeze_bank(self, base: Path) -> Bank:
        """The base student's failures on the held-out tasks, each frozen at its first mistake."""
        failures = [trace for trace in self._evaluate_success("base", base) if trace.failed]
        return freeze_bank(failures, self.make_environment)

    def buy(self, arm: Arm, number: int, student: Path) -> list[Segment]:
        """What one round's share of the budget buys for an arm."""
        return self._buy(arm, number, student, self.config.budget_tokens // self.config.rounds)

    def train(self, arm: Arm, number: int, student: Path, clean: list[Segment], bought: list[Segment]) -> Path:
        """The student after one round: the arm's segments so far, mixed with the base's clean traces."""
        replay = self.config.replay.get(arm, 0.0)
        pools = [Pool(part, share) for part, share in ((clean, replay), (bought, 1 - replay)) if share > 0 and part]
        steps = self.config.training.steps // self.config.rounds
        settings = self.config.training.model_copy(update={"steps": max(1, steps)})
        return self._train(arm, number, student, pools, settings)

    def evaluate(self, arm: str, student: Path, bank: Bank) -> ArmResult:
        """Success on the held-out tasks and recovery from the bank."""
        stored = self.store.result(f"evaluation/{arm}")
        if stored is not None:
            return ArmResult.model_validate(stored)
        traces = self._evaluate_success(arm, student)
        specs = list(bank.specs(self.config.evaluation.seed))
        self.watch.begin(f"{arm}: recovery from {len(specs)} frozen states", len(specs))
        climbs = run_stored(
            self.store, self._rollout(student, keep_snapshots=False), "bank", arm, 0, specs, self.watch, count=True
        )
        recovery = success_rate(climbs)
        self.watch.end(f"{recovery.rate:.1%}")
        spent = self.store.teacher_tokens(arm)
        base = self.store.teacher_tokens("base")
        own = 0 if arm == "base" else 1
        judged = [trace for trace in traces if not trace.errored]
        errors = sum(o.status != "ok" for trace in judged for step in trace.steps for o in step.outcomes)
        facts = checkpoint_facts(student) or {}
        result = ArmResult(
            success=success_rate(traces),
            recovery=recovery,
            teacher_tokens=base.output + own * spent.output,
            teacher_input_tokens=base.input + own * spent.input,
            student_tokens=int(facts.get("student_tokens", 0)),
            optimiser_steps=int(facts.get("optimiser_steps", 0)),
            tool_errors=errors / max(1, len(judged)),
            steps=sum(len(trace.steps) for trace in judged) / max(1, len(judged)),
            errored=sum(trace.errored for trace in [*traces, *climbs]),
        )
        self.store.put_result(f"evaluation/{arm}", result.model_dump(mode="json"))
        return result

    def report(self, results: dict[str, ArmResult], bank: Bank) -> RunReport:
        """All that is to be said of the run, kept in the store."""
        refused: dict[str, dict[str, int]] = {}
        for name in ("base", *self.config.arms):
            counts = [
                self.store.result(f"bought/{name}/{number}") or {}
                for number in range(1 if name == "base" else self.config.rounds)
            ]
            reasons = [cast("dict[str, dict[str, int]]", each).get("refused", {}) for each in counts]
            refused[name] = {
                r: sum(each.get(r, 0) for each in reasons) for r in sorted({r for e in reasons for r in e})
            }
        report = RunReport(
            environment=self.config.environment,
            options=self.config.environment_options,
            seed=self.config.seed,
            bank_states=len(bank.states),
            bank_fatal=bank.fatal,
            bank_unseen=bank.unseen,
            bank_digest=bank.digest,
            arms=results,
            refused=refused,
        )
        self.store.put_result("report", report.model_dump(mode="json"))
        return report

    def _buy(self, arm: str, number: int, student: Path, budget: int) -> list[Segment]:
        """Collect for an arm until `budget` is spent, and cut the verified traces into segments."""
        policy = LocalPolicy.load(student, self.config.sampling, f"{arm}-{number}")
        collector = Collector(
            store=self.store,
            renderer=policy.renderer,
            tasks=functools.partial(self._tasks, "base" if arm == "base" else f"arm-{number}"),
            watch=self.watch,
            arm=arm,
            round=number,
            seed=derive_seed("arm", self.config.seed, number),
        )
        style = "exploring" if arm == "clean-explore" else "knowing"
        teacher = Rollout(
            self.make_environment,
            ScriptedTeacher(style, policy.renderer.count),
            live=self.config.live,
            keep_snapshots=False,
        )
        self.watch.begin(f"{arm}: buying {budget:,} teacher tokens, round {number + 1}", budget)
        if arm == "recovery":
            acting = self._rollout(student, keep_snapshots=True)
            find = detector(self.config.detectors, self.config.seed)
            got = collector.recoveries(acting, teacher, find, budget, self.config.most_student_episodes)
        else:
            got = collector.clean(teacher, budget)
        segments, unfit = segments_of(got.traces, policy.renderer, policy.context)
        if not segments:
            reasons = ", ".join(f"{count} {reason}" for reason, count in (got.refused + unfit).items()) or "none at all"
            raise ConfigError(f"arm {arm!r}: {budget} teacher tokens bought no trace to learn from ({reasons})")
        self.store.put_result(f"bought/{arm}/{number}", _bought(got, segments, got.refused + unfit))
        self.watch.end(f"{len(segments)} segments, {got.teacher_tokens:,} tokens from {got.episodes} episodes")
        return segments

    def _train(self, arm: str, number: int, start: Path, pools: Sequence[Pool], settings: TrainingConfig) -> Path:
        """Train from `start` on the pools, once; returns the checkpoint's folder."""
        folder = self.folder / "checkpoints" / f"{arm}-{number}"
        if checkpoint_facts(folder) is not None:
            return folder
        policy = LocalPolicy.load(start)
        before = checkpoint_facts(start) or {}
        self.watch.begin(f"{arm}: training, round {number + 1}", settings.steps)

        def advance(progress: Progress) -> None:
            self.watch.advance(1, f"loss {progress.loss:.3f}")

        seen = train(policy.model, pools, settings, derive_seed("train", self.config.seed, number) % 2**31, advance)
        bought = cast("dict[str, int]", self.store.result(f"bought/{arm}/{number}") or {})
        facts = {
            "optimiser_steps": settings.steps + int(before.get("optimiser_steps", 0)),
            "supervised_tokens": seen + int(before.get("supervised_tokens", 0)),
            "student_tokens": bought.get("student_tokens", 0) + int(before.get("student_tokens", 0)),
        }
        save_checkpoint(policy.model, policy.renderer.tokenizer, folder, facts)
        self.watch.end()
        return folder

    def _evaluate_success(self, arm: str, student: Path) -> list[Trajectory]:
        """The held-out episodes of an arm; the base's keep their snapshots, for the bank."""
        tasks = self._held_out()
        specs = [EpisodeSpec(task, derive_seed("evaluation", self.config.evaluation.seed, task.id)) for task in tasks]
        self.watch.begin(f"{arm}: {len(specs)} held-out tasks", len(specs))
        rollout = self._rollout(student, keep_snapshots=arm == "base")
        traces = run_stored(self.store, rollout, "evaluation", arm, 0, specs, self.watch, count=True)
        passed = sum(trace.succeeded for trace in traces)
        self.watch.end(f"{rate_of(passed, len(traces)).rate:.1%}")
        return traces

    def _rollout(self, student: Path, *, keep_snapshots: bool) -> Rollout:
        policy = LocalPolicy.load(student, self.config.sampling, student.name)
        return Rollout(self.make_environment, policy, live=self.config.live, keep_snapshots=keep_snapshots)

    def _tasks(self, stream: str, first: int, count: int) -> list[Task]:
        seed = derive_seed("tasks", self.config.seed, stream) % 2**31
        return self._generator.make_tasks("train", count, seed, first)

    def _held_out(self) -> list[Task]:
        return self._generator.make_tasks("heldout", self.config.evaluation.tasks, self.config.evaluation.seed)

    @functools.cached_property
    def _generator(self) -> ToolEnvironment:
        return self.make_environment()


def _load_environment(config: RunConfig) -> functools.partial[ToolEnvironment]:
    """Makes bare environments of the configuration. One is made here: what is wrong is told before a run begins."""
    make = functools.partial(load_environment(config.environment), **config.environment_options)
    try:
        make().close()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"environment_options do not fit {config.environment}: {error}") from error
    return make


def _share_backend(
    make: functools.partial[ToolEnvironment], folder: Path, stack: ExitStack
) -> functools.partial[ToolEnvironment]:
    """Makes environments that share one sandbox backend, if they use any; its snapshots live in the run's folder."""
    if not make().uses_sandbox:
        return make
    from agentdistill.sandbox.bubblewrap import BubblewrapBackend

    backend = BubblewrapBackend(folder / "sandbox")
    stack.callback(backend.close)
    return functools.partial(make, sandboxes=backend)


def _digest_of_weights(student: Path) -> str:
    """SHA-256 over a model's weight files: tells one student from another of the same name.

    Raises:
        ConfigError: there are none.
    """
    weights = sorted(student.glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"no model can be loaded from {student}: there is no *.safetensors in it")
    found = hashlib.sha256()
    for path in weights:
        found.update(path.read_bytes())
    return found.hexdigest()


def _bought(got: Collected, segments: Sequence[Segment], refused: Any) -> dict[str, JsonValue]:
    return {
        "segments": len(segments),
        "supervised_tokens": sum(segment.supervised for segment in segments),
        "teacher_tokens": got.teacher_tokens,
        "student_tokens": got.student_tokens,
        "episodes": got.episodes,
        "refused": dict(refused),
    }
