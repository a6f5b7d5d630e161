"""The stages of one run: each takes from the store what is there, does the rest, and leaves its records."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

from pydantic import JsonValue

from agentdistill.bought import Bought
from agentdistill.collection import Collector
from agentdistill.curriculum import is_flat, share_of_budget
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError
from agentdistill.evaluation import Bank, freeze_bank, success_rate
from agentdistill.metrics import StepLog
from agentdistill.policies import Policy
from agentdistill.policies.local import Checkpoint, LocalPolicy
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import make_student
from agentdistill.probing import Laboratory
from agentdistill.recipes import Recipe, asks_scorer
from agentdistill.records import Segment, Task, Trajectory, derive_seed
from agentdistill.results import ArmResult, Rate, RunReport, rate_of
from agentdistill.resuming import run_stored
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher
from agentdistill.settings import RunConfig
from agentdistill.store import RunStore
from agentdistill.trackers import tracked
from agentdistill.training import Pool, TrainingConfig, checkpoint_facts, save_checkpoint, train
from agentdistill.transcripts import tokenizer_of
from agentdistill.ways import People, gather, pools_of, refreshed

_SAME: Mapping[str, JsonValue] = MappingProxyType({})

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
                tokenizer = tokenizer_of(self.make_environment, self.config.student, self.watch)
                model = make_student(tokenizer, self.config.student, self.config.seed)
            parameters = sum(p.numel() for p in model.parameters())
            save_checkpoint(model, tokenizer, folder, {"parameters": parameters})
            self.watch.end(f"{len(tokenizer)} tokens in the vocabulary, {parameters:,} parameters in the student")
        return folder

    def train_base(self, untrained: Path) -> tuple[Path, list[Segment]]:
        """The student every arm starts from, and the clean traces it learnt from."""
        bought = self._buy("base", self.config.base, 0, untrained, self.config.base_tokens)
        pools = [Pool(bought.segments, 1.0)]
        return self._train("base", 0, untrained, pools, self.config.base_training), bought.segments

    def freeze_bank(self, base: Path) -> Bank:
        """The base student's failures on the held-out tasks, each frozen at its first mistake."""
        failures = [trace for trace in self._evaluate_success("base", base) if trace.failed]
        return freeze_bank(failures, self.make_environment)

    def rounds(self, arm: str) -> int:
        """How many rounds an arm has.

        Raises:
            ConfigError: the arm's results in this folder are another recipe's.
        """
        kept, here = self.store.result(f"arm/{arm}"), self.config.arm_identity(arm)
        if kept is None:
            self.store.put_result(f"arm/{arm}", here)
        elif kept != here:
            raise ConfigError(
                f"the arm {arm!r} in {self.folder} was made with other settings "
                f"({', '.join(key for key in here if kept.get(key) != here[key])}): give it another name"
            )
        return self.config.arms[arm].rounds or self.config.rounds

    def buy(self, arm: str, number: int, student: Path) -> Bought:
        """What one round's share of the budget buys for an arm."""
        recipe, rounds = self.config.arms[arm], self.rounds(arm)
        budget = share_of_budget(recipe.curriculum, number, rounds, self.config.budget_tokens)
        return self._buy(arm, recipe, number, student, budget)

    def train(self, arm: str, number: int, student: Path, clean: list[Segment], bought: Bought) -> Path:
        """The student after one round: what the arm bought so far, mixed with the base's clean traces."""
        recipe = self.config.arms[arm]
        if number:
            rows, stale = refreshed(recipe, bought.segments, self._load(student))
            bought = replace(bought, segments=rows)
            self.store.put_result(f"stale/{arm}/{number}", dict(stale))
        pools = pools_of(recipe, clean, bought)
        settings = self.config.training.model_copy(
            update={"steps": max(1, self.config.training.steps // self.rounds(arm))}
        )
        return self._train(arm, number, student, pools, settings)

    def is_flat(self, arm: str, number: int, before: Path, now: Path, bank: Bank) -> bool:
        """Whether an arm's recipe wants to stop after this round, since recovery does not rise any more."""
        least = self.config.arms[arm].curriculum.stop_when_flat
        if least is None or number + 1 >= self.rounds(arm):
            return False
        earlier, _ = self._recovery(f"{arm}-{number - 1}", before, bank)
        later, _ = self._recovery(f"{arm}-{number}", now, bank)
        return is_flat(earlier, later, least)

    def evaluate(self, arm: str, student: Path, bank: Bank) -> ArmResult:
        """Success on the held-out tasks and recovery from the bank."""
        stored = self.store.result(f"evaluation/{arm}")
        if stored is not None:
            return ArmResult.model_validate(stored)
        traces = self._evaluate_success(arm, student)
        recovery, climbs = self._recovery(arm, student, bank)
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
            outcomes=_letters(traces),
            climbs=_letters(climbs),
        )
        self.store.put_result(f"evaluation/{arm}", result.model_dump(mode="json"))
        return result

    def _recovery(self, arm: str, student: Path, bank: Bank) -> tuple[Rate, list[Trajectory]]:
        """How often a student climbs out of the frozen states, and the runs in which it tried, in the bank's order."""
        specs = list(bank.specs(self.config.evaluation.seed))
        self.watch.begin(f"{arm}: recovery from {len(specs)} frozen states", len(specs))
        rollout = self._rollout(student, keep_snapshots=False)
        climbs = run_stored(self.store, rollout, "bank", arm, 0, specs, self.watch, count=True)
        rate = success_rate(climbs)
        self.watch.end(f"{rate.rate:.1%}")
        return rate, climbs

    def report(self, results: dict[str, ArmResult], bank: Bank) -> RunReport:
        """All that is to be said of the run, kept in the store."""
        refused: dict[str, dict[str, int]] = {}
        for name in results:
            counted: Counter[str] = Counter()
            for key, kept in self.store.results().items():
                stage = key.rpartition("/")[0]
                if stage in (f"bought/{name}", f"stale/{name}"):
                    counted += Counter(cast("dict[str, int]", kept["refused"] if stage[0] == "b" else kept))
            refused[name] = dict(sorted(counted.items()))
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

    def laboratory(self, student: Path, scorer: LocalPolicy | None = None) -> Laboratory:
        """What detectors may try out: this student, the run's teacher, and who scores in the teacher's place."""
        return replace(self._people(self._load(student)), scorer=scorer).laboratory

    def _buy(self, arm: str, recipe: Recipe, number: int, student: Path, budget: int) -> Bought:
        """Collect for an arm until `budget` is spent.

        What was bought once stays what it was: a resumed run trains on the same rows. An arm whose tokens bought
        nothing to learn from is no error: it learns from the base's clean traces alone, and the report says why.

        Raises:
            ConfigError: the base has nothing to learn from, or an arm's teacher has said nothing at all.
        """
        place = f"bought/{arm}/{number}"
        stored = self.store.result(place)
        if stored is not None:
            return Bought.load(stored)
        policy = self._load(student, f"{arm}-{number}")
        fixed = recipe.curriculum.tasks == "by_success"  # then all rounds have the same tasks, and their past
        stream = "base" if arm == "base" else "fixed" if fixed else f"arm-{number}"
        collector = Collector(
            store=self.store,
            renderer=policy.renderer,
            tasks=functools.partial(self._tasks, stream),
            watch=self.watch,
            arm=arm,
            round=number,
            seed=derive_seed("arm", self.config.seed, number),
            budget=budget,
            most_episodes=self.config.most_student_episodes,
            curriculum=recipe.curriculum,
            history=self._history(arm, number) if fixed else {},
        )
        people = self._people(policy)
        self.watch.begin(f"{arm}: buying {budget:,} teacher tokens, round {number + 1}", budget)
        bought = gather(recipe, collector, people)
        if bought.empty and (arm == "base" or not bought.teacher_tokens):
            reasons = ", ".join(f"{count} {reason}" for reason, count in bought.refused.items()) or "none at all"
            raise ConfigError(f"arm {arm!r}: {budget} teacher tokens bought no trace to learn from ({reasons})")
        self.store.put_result(place, bought.dump())
        learnt = f"{len(bought.segments)} segments" + (f" and {len(bought.pairs)} pairs" if bought.pairs else "")
        self.watch.end(f"{learnt}, {bought.teacher_tokens:,} tokens from {bought.episodes} episodes")
        return bought

    def _history(self, arm: str, number: int) -> dict[str, list[bool]]:
        """How each task's runs ended in the rounds before `number`, oldest first, by the task's content hash."""
        history: dict[str, list[bool]] = {}
        for earlier in range(number):
            runs = sorted(self.store.trajectories("rollout", arm, earlier), key=lambda run: run[0].attempt)
            for _, trace in runs:
                if not trace.errored:
                    history.setdefault(trace.task.content_hash, []).append(trace.succeeded)
        return history

    def _people(self, student: LocalPolicy) -> People:
        """Who acts in a round with this student."""
        rollout = Rollout(self.make_environment, student, live=self.config.live)
        return People(
            student=rollout,
            renderer=student.renderer,
            context=student.context,
            teacher=functools.partial(self._teacher, student),
            scorer=self._scorer,
            seed=self.config.seed,
        )

    def _teacher(self, student: LocalPolicy, style: str, world: Mapping[str, JsonValue] = _SAME) -> Rollout:
        """The run's teacher, in the student's world with these options changed."""
        policy = self.teacher or ScriptedTeacher(style, student.renderer.count)
        make = functools.partial(self.make_environment, **world)
        return Rollout(make, policy, live=self.config.live, keep_snapshots=False)

    @functools.cached_property
    def _scorer(self) -> LocalPolicy | None:
        """The run's learned teacher, where an arm asks it anything.

        Raises:
            ConfigError: it has another vocabulary than the student.
        """
        if self.config.scorer is None or not any(map(asks_scorer, self.config.arms.values())):
            return None
        scorer = LocalPolicy.load(self.config.scorer, self.config.sampling, "scorer")
        student = self._load(untrained_student(self.folder))
        if scorer.renderer.tokenizer.get_vocab() != student.renderer.tokenizer.get_vocab():
            raise ConfigError(f"the scorer {self.config.scorer.model} has another vocabulary than the student")
        return scorer

    def _train(self, arm: str, number: int, start: Path, pools: Sequence[Pool], settings: TrainingConfig) -> Path:
        """Train from `start` on the pools, once; returns the checkpoint's folder."""
        folder = self.folder / "checkpoints" / f"{arm}-{number}"
        if checkpoint_facts(folder) is not None:
            return folder
        policy = self._load(start)
        before = checkpoint_facts(start) or {}
        self.watch.begin(f"{arm}: training, round {number + 1}", settings.steps)
        seed = derive_seed("train", self.config.seed, number) % 2**31
        teacher = self._scorer.model if self._scorer else None
        name = f"{self.folder.resolve().name}-{arm}-{number}"
        told = {**self.config.identity(), **(self.config.arm_identity(arm) if arm in self.config.arms else {})}
        with tracked(self.config.trackers, name, self.folder, told) as trackers:
            log = StepLog(self.store, f"{arm}/{number}", self.watch, trackers)
            state = folder.with_name(f"{folder.name}.state")
            seen = train(policy.model, pools, settings, seed, log, teacher=teacher, state=state)
        bought = cast("dict[str, int]", self.store.result(f"bought/{arm}/{number}") or {})
        facts = {
            "optimiser_steps": settings.steps + int(before.get("optimiser_steps", 0)),
            "supervised_tokens": seen + int(before.get("supervised_tokens", 0)),
            "student_tokens": bought.get("student_tokens", 0) + int(before.get("student_tokens", 0)),
        }
        save_checkpoint(policy.model, policy.renderer.tokenizer, folder, facts, state=state)
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


def _letters(traces: Sequence[Trajectory]) -> str:
    """One letter for each: ``1`` passed, ``0`` failed, ``x`` errored."""
    return "".join("x" if trace.errored else "1" if trace.succeeded else "0" for trace in traces)
