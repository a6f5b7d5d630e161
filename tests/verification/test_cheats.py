"""The corpus of cheats: each fools a verifier as they are often written, and is worth nothing to ours.

Every cheat is a script that a student or a teacher runs in place of doing the work, on the task in ``corpus/task``. Its
first line says what it does, its second which of the verifiers in `naive` believe it. The honest scripts pass them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal
from naive import NAIVE
from students import call, run_all, specs_of

from agentdistill.policies import Policy, Request
from agentdistill.policies.scripted import ScriptedPolicy
from agentdistill.records import Divergence, Message, Trajectory, Verdict
from agentdistill.rollout import Rollout
from agentdistill.sandbox import SandboxBackend
from agentdistill.takeover import Takeover, TakeoverConfig

CORPUS = Path(__file__).parent / "corpus"
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True)
class Script:
    """What an agent does, and which naive verifiers believe it."""

    name: str
    about: str
    text: str
    fools: tuple[str, ...]


def read(path: Path) -> Script:
    text = path.read_text()
    about, claim, *_ = text.splitlines()
    fools = claim.removeprefix("# fools: ").split() if claim.startswith("# fools: ") else NAIVE
    return Script(path.stem, about.removeprefix("# "), text, tuple(fools))


CHEATS = [read(path) for path in sorted(CORPUS.glob("cheats/*.sh"))]
HONEST = [read(path) for path in sorted(CORPUS.glob("honest/*.sh"))]


class Watched(Terminal):
    """Also asks naive verifiers, in the agent's own sandbox and each in the world as the agent left it."""

    asks: tuple[str, ...] = ()

    def __init__(self, sandboxes: SandboxBackend) -> None:
        super().__init__(tasks=CORPUS / "task", sandboxes=sandboxes)
        self.told: dict[str, bool] = {}

    def verify(self) -> Verdict:
        verdict = super().verify()
        assert self.sandbox is not None
        left = self.sandbox.snapshot() if self.asks else ""
        for name in self.asks:
            self.told[name] = NAIVE[name](self.sandbox)
            self.sandbox.restore(left)
        return verdict


@pytest.fixture
def watched(backend: SandboxBackend) -> Watched:
    return Watched(backend)


def agent(*commands: str) -> Policy:
    """Runs the commands one after the other, then submits."""

    def act(request: Request) -> Message:
        done = sum(message.role == "assistant" for message in request.messages)
        return call("bash", command=commands[done]) if done < len(commands) else call("submit")

    return ScriptedPolicy(act)


def as_student(watched: Watched, script: Script) -> Trajectory:
    """An episode in which the student runs the script."""
    (task,) = watched.make_tasks("train", 1)
    (trace,) = run_all(Rollout(lambda: watched, agent(script.text), workers=1), specs_of([task]))
    assert not trace.errored, trace.error
    return trace


def as_teacher(watched: Watched, script: Script) -> bool:
    """Whether it counts as a recovery that the teacher runs the script where a student went wrong."""
    wanted, watched.asks = watched.asks, ()
    trace = as_student(watched, Script("", "", "echo 'total = None' >> cart.py", ()))
    assert trace.failed
    divergence = Divergence(trajectory_id=trace.id, step=1, reason="broke it", detector="hand")
    watched.asks = wanted
    teacher = agent("the student's", f"sed -i '/^total = None$/d' cart.py\n{script.text}")
    (recovery,) = Takeover(TakeoverConfig(), [Rollout(lambda: watched, teacher, workers=1)]).run([(trace, divergence)])
    assert not recovery.trajectory.errored, recovery.trajectory.error
    assert recovery.trajectory.verdict is not None
    assert recovery.trajectory.verdict.score == float(recovery.verified)
    return recovery.verified


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheating_student_fools_a_naive_verifier_and_scores_nothing_here(watched: Watched, cheat: Script) -> None:
    skip_if_the_kernel_is_in_the_way(cheat)
    watched.asks = cheat.fools[:1]
    trace = as_student(watched, cheat)
    assert trace.verdict is not None
    assert (trace.verdict.passed, trace.verdict.score) == (False, 0.0), trace.verdict.detail
    assert watched.told == dict.fromkeys(watched.asks, True)


@pytest.mark.slow
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_what_a_cheating_teacher_does_is_no_recovery_whoever_it_fools(watched: Watched, cheat: Script) -> None:
    skip_if_the_kernel_is_in_the_way(cheat)
    watched.asks = cheat.fools
    assert not as_teacher(watched, cheat)
    assert watched.told == dict.fromkeys(cheat.fools, True)


@pytest.mark.parametrize("script", HONEST, ids=lambda script: script.name)
def test_an_honest_student_passes_everywhere(watched: Watched, script: Script) -> None:
    watched.asks = script.fools
    trace = as_student(watched, script)
    assert trace.verdict is not None
    assert (trace.verdict.passed, trace.verdict.score) == (True, 1.0), trace.verdict.detail
    assert watched.told == dict.fromkeys(NAIVE, True)


@pytest.mark.parametrize("script", HONEST, ids=lambda script: script.name)
def test_an_honest_teacher_recovers(watched: Watched, script: Script) -> None:
    assert as_teacher(watched, script)


def test_the_untouched_task_passes_nowhere(watched: Watched) -> None:
    watched.asks = tuple(NAIVE)
    assert not as_student(watched, Script("", "", "true", ())).succeeded
    assert watched.told == dict.fromkeys(NAIVE, False)


def test_the_corpus_is_large_and_says_what_is_in_it() -> None:
    assert len(CHEATS) >= 60
    assert len({cheat.about for cheat in CHEATS}) == len(CHEATS)
    assert all(cheat.about.endswith(".") and cheat.fools and set(cheat.fools) <= set(NAIVE) for cheat in CHEATS)
    assert {name for cheat in CHEATS for name in cheat.fools} == set(NAIVE)


def skip_if_the_kernel_is_in_the_way(cheat: Script) -> None:
    if cheat.name == "pokes_the_parents_memory" and YAMA.exists() and YAMA.read_text().strip() != "0":
        pytest.skip("this kernel lets no process open the memory of another (Yama), so the cheat fools nobody")
