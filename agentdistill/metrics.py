"""What is known of each optimiser step: on the progress bar, in the run's store, and with trackers."""

from __future__ import annotations

import time

from agentdistill.rollout import Watcher
from agentdistill.store import RunStore
from agentdistill.trackers import Trackers
from agentdistill.training import Progress


class StepLog:
    """Is told of each optimiser step of one stage of a run; see `RunStore.put_metrics`.

    Kept are what `Progress` has, what the losses measured among it, and `tokens_per_second`: supervised tokens, over
    the time since the step before ended.
    """

    def __init__(self, store: RunStore, stage: str, watch: Watcher, trackers: Trackers | None = None) -> None:
        self.store = store
        self.stage = stage
        self.watch = watch
        self.trackers = trackers
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """One step was taken."""
        now = time.monotonic()
        speed = progress.supervised_tokens / max(now - self._last, 1e-9)
        self._last = now
        values = {
            **progress.metrics,
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "gradient_norm": progress.gradient_norm,
            "supervised_tokens": progress.supervised_tokens,
            "computed_tokens": progress.computed_tokens,
            "tokens_per_second": speed,
        }
        self.store.put_metrics(self.stage, progress.step, values)
        if self.trackers is not None:
            self.trackers.log(progress.step, values)
        self.watch.advance(
            1, f"loss {progress.loss:.3f}, {speed:,.0f} tokens/s, gradient norm {progress.gradient_norm:.2f}"
        )
