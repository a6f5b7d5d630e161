"""Several processes train what one would have trained, whether each has all weights or a part; and the reverse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("worker.py")


def trained(
    folder: Path, size: int, kind: str = "", *, state: str = "", stop: int = 0, dtype: str = "float32"
) -> dict[str, Any]:
    """What `size` processes come to; nothing if they were to stop."""
    out = folder / f"{size}-{kind or 'whole'}-{dtype}-{bool(state)}.json"
    alone = [sys.executable]
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    command = [*(alone if size == 1 else together), str(WORKER), str(out), state, str(stop), kind, dtype]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    return found


def same(found: dict[str, Any], wanted: dict[str, Any], far: float) -> None:
    assert [step for step, *_ in found["told"]] == [step for step, *_ in wanted["told"]]
    for one, other in zip(found["told"], wanted["told"], strict=True):
        assert one == pytest.approx(other, rel=far)
    for name, values in wanted["weights"].items():
        assert found["weights"][name] == pytest.approx(values, abs=far), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process comes to, in double precision."""
    return trained(tmp_path_factory.mktemp("alone"), 1, dtype="float64")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "sharded"])
def test_two_processes_come_to_the_losses_and_the_student_of_one(tmp_path, alone, kind):
    same(trained(tmp_path, 2, kind, dtype="float64"), alone, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "sharded"])
def test_losses_agree_to_a_millionth_in_single_precision(tmp_path, kind):
    for one, other in zip(trained(tmp_path, 2, kind)["told"], trained(tmp_path, 1)["told"], strict=True):
        assert one[1] == pytest.approx(other[1], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "sharded"])
@pytest.mark.parametrize("sizes", [(2, 1), (1, 2)])
def test_what_some_have_written_down_others_go_on_with(tmp_path, alone, kind, sizes):
    before, after = sizes
    state = str(tmp_path / "state")
    assert not trained(tmp_path, before, kind if before == 2 else "", state=state, stop=5, dtype="float64")
    resumed = trained(tmp_path, after, kind if after == 2 else "", state=state, dtype="float64")
    rest = {"told": alone["told"][3:], "weights": alone["weights"]}
    same(resumed, rest, 1e-6)
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == ["state"]  # whole, until the student is kept
