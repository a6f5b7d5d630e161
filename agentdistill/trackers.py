"""Experiment trackers: where a training's numbers are shown besides the run store. One protocol, three ready ones.

None is imported, or has to be installed, unless it is asked for. They are told of each optimiser step and may fall
away: a tracker that breaks in the middle costs its curves, never the training.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import JsonValue

from agentdistill.errors import ConfigError, UnknownNameError, UsageError, nearest
from agentdistill.plugins import load_object
from agentdistill.records import digest_of
from agentdistill.redaction import redact_json

PROJECT = "agentdistill"
"""What runs are filed under, where a tracker has projects and its own variable names none."""


@runtime_checkable
class Tracker(Protocol):
    """Shows one training as it goes. A tracker of yours is one such class that takes no arguments."""

    def start(self, name: str, folder: Path, config: Mapping[str, JsonValue]) -> None:
        """Training begins, or is gone on with.

        Args:
            name: of the run: the same when it is gone on with.
            folder: of the run; what is written to disk belongs there.
            config: its settings.
        """
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One optimiser step (1-based) was taken. After a resumption steps may come again: the later ones stand."""
        ...

    def close(self) -> None:
        """Training has ended, or was stopped."""
        ...


class TensorBoard:
    """Event files in the run's folder, for `tensorboard --logdir`."""

    def __init__(self) -> None:
        _need("tensorboard")
        self._make: Callable[[int], Any] = lambda step: None
        self._writer: Any = None

    def start(self, name: str, folder: Path, config: Mapping[str, JsonValue]) -> None:
        """See `Tracker`."""

        def make(step: int) -> Any:
            from torch.utils.tensorboard import SummaryWriter

            # Of what a killed run had shown beyond this step, nothing is shown any more.
            writer: Any = SummaryWriter(str(folder / "tensorboard" / name), purge_step=step, flush_secs=10)
            writer.add_text("config", f"```json\n{json.dumps(config, indent=1)}\n```", 0)
            return writer

        self._make = make

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        if self._writer is None:
            self._writer = self._make(step)
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        """See `Tracker`."""
        if self._writer is not None:
            self._writer.close()


class WandB:
    """Weights & Biases, as its own variables set it up: `WANDB_API_KEY`, `WANDB_MODE=offline`, `WANDB_PROJECT`."""

    def __init__(self) -> None:
        self._wandb = _need("wandb")
        self._run: Any = None

    def start(self, name: str, folder: Path, config: Mapping[str, JsonValue]) -> None:
        """See `Tracker`."""
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=digest_of([str(folder.resolve()), name])[:16],
            resume="allow",
            dir=str(folder),
            config=dict(config),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        if self._run is not None:
            self._run.finish()


class Trackio:
    """Trackio's dashboard, on this machine: `trackio show`."""

    def __init__(self) -> None:
        self._trackio = _need("trackio")

    def start(self, name: str, folder: Path, config: Mapping[str, JsonValue]) -> None:
        """See `Tracker`."""
        self._trackio.init(project=PROJECT, name=name, config=dict(config), resume="allow")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._trackio.log(dict(metrics), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._trackio.finish()


READY: Mapping[str, Callable[[], Tracker]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}


def load_tracker(name: str) -> Tracker:
    """The tracker that a name stands for: one of `READY`, ``module:Name`` or ``file.py:Name``.

    Raises:
        UnknownNameError: nothing of that name; the message has the nearest one.
        ConfigError: its package is not installed; the message says what to install.
        UsageError: what is found is no tracker.
    """
    if ":" not in name:
        if name not in READY:
            hint = nearest(name, READY)
            raise UnknownNameError(f"there is no tracker {name!r}.{hint} Ours: {', '.join(READY)}; yours: file.py:Name")
        return READY[name]()
    found = load_object(name, lambda value: isinstance(value, type) and issubclass(value, Tracker))
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(f"{name!r} cannot be made without arguments: {error}") from error
    if not isinstance(found, Tracker):
        raise UsageError(
            f"{name!r} is no tracker: it needs start(name, folder, config), log(step, metrics) and close()"
        )
    return found


class Trackers:
    """Several trackers of one training, told together; one that breaks is told of once and left out from then on."""

    def __init__(self) -> None:
        self.alive: dict[str, Tracker] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.log(step, metrics))

    def close(self) -> None:
        """See `Tracker`."""
        self._each(lambda tracker: tracker.close())

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.alive.items()):
            try:
                with redirect_stdout(sys.stderr):  # what they have to say is no output of ours
                    tell(tracker)
            except Exception as error:  # noqa: BLE001 - somebody else's service must not take a training down
                warnings.warn(f"the tracker {name} is left out from now on: {_line(error)}", stacklevel=3)
                del self.alive[name]


@contextmanager
def tracked(names: Sequence[str], name: str, folder: Path, config: Mapping[str, JsonValue]) -> Iterator[Trackers]:
    """Trackers of one training, started; closed however it ends. Settings reach them without secrets.

    Args:
        names: see `load_tracker`.
        name: see `Tracker`, as the rest.
        folder: of the run.
        config: its settings.

    Raises:
        UsageError: one cannot be loaded or started.
    """
    told: dict[str, JsonValue] = json.loads(redact_json(json.dumps(dict(config))))
    together = Trackers()
    try:
        for each, tracker in load_trackers(names).items():
            try:
                with redirect_stdout(sys.stderr):
                    tracker.start(name, folder, told)
            except Exception as error:
                raise ConfigError(f"the tracker {each} cannot be started: {_line(error)}") from error
            together.alive[each] = tracker
        yield together
    finally:
        together.close()


def load_trackers(names: Sequence[str]) -> dict[str, Tracker]:
    """See `load_tracker`; by name."""
    return {name: load_tracker(name) for name in names}


def _need(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"the tracker {package} needs the package {package}: pip install {package}") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
