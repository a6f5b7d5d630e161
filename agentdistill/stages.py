"""The stages of one run: each takes from the store what is there, does the rest, and leaves its records."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from agentdistill.collection import Collected, Collector, run_stored
from agentdistill.divergence import detector
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError
from agentdistill.evaluation import Bank, freeze_bank, success_rate
from agentdistill.policies import Policy, Scorer
from agentdistill.policies.local import Checkpoint, LocalPolicy
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import make_student, make_tokenizer
from agentdistill.probing import Laboratory
from agentdistill.records import Segment, Task, Trajectory, derive_seed
from agentdistill.results import ArmResult, RunReport, rate_of
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher
from agentdistill.segments import segments_of
from agentdistill.settings import Arm, RunConfig
from agentdistill.store import RunStore
from agentdistill.training import Pool, Progress, TrainingConfig, checkpoint_facts, save_checkpoint, train
from agentdistill.transcripts import transcripts

SAMPLED = 128
"""Episodes that are run at a time until enough of them have failed."""


def untrained_student(folder: Path) -> Path:
    """Where a run in `folder` keeps the student it begins with."""
    return folder / "checkpoints" / "untrained"


@dataclass
class Run:
    """The stages of one run; each takes from the store what is there and does the rest."""

    config: RunConfig
    folder: Path
    store: RunStore
    watch: Watcher
    make_environment: functools.partial[ToolEnvironment]
    teacher: Policy | None = None
    """Who is asked in place of the environment's scripted teacher."""
    _evaluated: dict[str, list[Trajectory]] = field(default_factory=dict, init=False)

    def make_student(self) -> Path:
        """The student before it learns anything: the user's own, or a tiny one with a tokenizer of the environment."""
        folder = untrained_student(self.folder)
        if checkpoint_facts(folder) is None:
            if self.config.checkpoint is not None:
                self.watch.begin(f"loading {self.config.checkpoint.model}")
                model, tokenizer = self.config.checkpoint.load()
            else:
                self.watch.begin("transcripts for the tokenizer")
                texts = transcripts(self.make_environment, self.config.seed, self.watch)
                tokenizer = make_tokenizer(texts, self.config.student)
                model = make_student(tokenizer, self.config.student, self.config.seed)
            parameters = sum(p.numel() for p in model.parameters())
            save_checkpoint(model, tokenizer, folder, {"parameters": parameters})
            self.watch.end(f"{len(tokenizer)} tokens in the vocabulary, {parameters:,} parameters in the student")
        return folder

    def train_base(self, untrained: Path) -> tuple[Path, list[Segment]]:
        """The student every arm starts from, and the clean traces it learnt from."""
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
        replay = self.config.replay[arm]
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

    def failures(self, student: Path, wanted: int) -> list[Trajectory]:
        """So many failed runs of a student on training tasks, or as many as `most_student_episodes` hold."""
        rollout = self._rollout(student, keep_snapshots=True)
        self.watch.begin(f"{student.name}: {wanted} failed runs", wanted)
        failed: list[Trajectory] = []
        first = 0
        while len(failed) < wanted and first < self.config.most_student_episodes:
            tasks = self._tasks("detectors", first, SAMPLED)
            specs = [EpisodeSpec(task, derive_seed("detectors", self.config.seed, task.id)) for task in tasks]
            traces = run_stored(self.store, rollout, "detectors", student.name, first, specs, self.watch)
            found = [trace for trace in traces if trace.failed]
            self.watch.advance(len(found))
            failed += found
            first += SAMPLED
        self.watch.end(f"from {first} runs")
        return failed[:wanted]

    def laboratory(self, student: Path, scorer: Scorer | None = None) -> Laboratory:
        """What detectors may try out: this student, the run's teacher, and who scores in the teacher's place."""
        acting = self._rollout(student, keep_snapshots=False)
        policy = cast("LocalPolicy", acting.policy)
        teacher = self.teacher or ScriptedTeacher("knowing", policy.renderer.count)
        return Laboratory(
            student=acting,
            teacher=Rollout(self.make_environment, teacher, live=self.config.live, keep_snapshots=False),
            renderer=policy.renderer,
            student_scorer=policy,
            teacher_scorer=scorer,
        )

    def _buy(self, arm: str, number: int, student: Path, budget: int) -> list[Segment]:
        """Collect for an arm until `budget` is spent, and cut the verified traces into segments.

        What was bought once stays what it was: a resumed run trains on the same traces.
        """
        policy = self._load(student, f"{arm}-{number}")
        stored = self.store.result(f"bought/{arm}/{number}")
        if stored is not None:
            traces = self._stored_traces(arm, number, stored["traces"])
            return segments_of(traces, policy.renderer, policy.context)[0]
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
            self.teacher or ScriptedTeacher(style, policy.renderer.count),
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

    def _stored_traces(self, arm: str, number: int, wanted: Sequence[str]) -> list[Trajectory]:
        """The traces of these ids, in their order."""
        if arm == "recovery":
            found = {each.trajectory.id: each.trajectory for _, each in self.store.recoveries("takeover", arm, number)}
        else:
            found = {trace.id: trace for _, trace in self.store.trajectories("clean", arm, number)}
        return [found[name] for name in wanted]

    def _train(self, arm: str, number: int, start: Path, pools: Sequence[Pool], settings: TrainingConfig) -> Path:
        """Train from `start` on the pools, once; returns the checkpoint's folder."""
        folder = self.folder / "checkpoints" / f"{arm}-{number}"
        if checkpoint_facts(folder) is not None:
            return folder
        policy = self._load(start)
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
        if arm in self._evaluated:
            return self._evaluated[arm]
        tasks = self._held_out()
        specs = [EpisodeSpec(task, derive_seed("evaluation", self.config.evaluation.seed, task.id)) for task in tasks]
        self.watch.begin(f"{arm}: {len(specs)} held-out tasks", len(specs))
        rollout = self._rollout(student, keep_snapshots=arm == "base")
        traces = run_stored(self.store, rollout, "evaluation", arm, 0, specs, self.watch, count=True)
        passed = sum(trace.succeeded for trace in traces)
        self.watch.end(f"{rate_of(passed, len(traces)).rate:.1%}")
        self._evaluated[arm] = traces
        return traces

    def _rollout(self, student: Path, *, keep_snapshots: bool) -> Rollout:
        policy = self._load(student)
        return Rollout(self.make_environment, policy, live=self.config.live, keep_snapshots=keep_snapshots)

    def _load(self, student: Path, name: str = "") -> LocalPolicy:
        """A student of this run, where and as the user's own model was to be."""
        given = self.config.checkpoint or Checkpoint(model="")
        checkpoint = given.model_copy(update={"model": str(student), "adapter": None})  # which has been merged
        return LocalPolicy.load(checkpoint, self.config.sampling, name or student.name)

    def _tasks(self, stream: str, first: int, count: int) -> list[Task]:
        seed = derive_seed("tasks", self.config.seed, stream) % 2**31
        return self._generator.make_tasks("train", count, seed, first)

    def _held_out(self) -> list[Task]:
        return self._generator.make_tasks("heldout", self.config.evaluation.tasks, self.config.evaluation.seed)

    @functools.cached_property
    def _generator(self) -> ToolEnvironment:
        return self.make_environment()


def _bought(got: Collected, segments: Sequence[Segment], refused: Any) -> dict[str, JsonValue]:
    return {
        "segments": len(segments),
        "supervised_tokens": sum(segment.supervised for segment in segments),
        "teacher_tokens": got.teacher_tokens,
        "student_tokens": got.student_tokens,
        "episodes": got.episodes,
        "refused": dict(refused),
        "traces": [trace.id for trace in got.traces],
    }
