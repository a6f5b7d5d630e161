"""Models are loaded from safetensors only, and their code only where it was asked for and pinned."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from students import depot_tokenizer, untrained

from agentdistill.errors import ConfigError
from agentdistill.policies.local import Checkpoint, LocalPolicy
from agentdistill.policies.tiny import save_student

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import pathlib
pathlib.Path({marker!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM
class Config(LlamaConfig):
    model_type = "ours-alone"
class Model(LlamaForCausalLM):
    config_class = Config
"""


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "student"
    save_student(untrained(), depot_tokenizer(), folder)
    return folder


@pytest.fixture
def with_code(student: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model that brings code along, and the file that the code writes when it is run."""
    marker = tmp_path / "ran"
    (student / "modeling.py").write_text(CODE.format(marker=str(marker)))
    config = json.loads((student / "config.json").read_text())
    config["model_type"] = "ours-alone"
    config["auto_map"] = {"AutoConfig": "modeling.Config", "AutoModelForCausalLM": "modeling.Model"}
    (student / "config.json").write_text(json.dumps(config))
    return student, marker


def problem(checkpoint: Checkpoint | Path) -> str:
    """The one line that loading it ends with."""
    with pytest.raises(ConfigError) as caught:
        LocalPolicy.load(checkpoint)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_pickled_weights_are_refused_and_named(student: Path, name: str) -> None:
    (student / "model.safetensors").unlink()
    torch.save(untrained().state_dict(), student / name)
    told = problem(student)
    assert name in told
    assert "pickled" in told
    assert "safetensors" in told


def test_pickles_beside_safetensors_are_not_read(student: Path) -> None:
    (student / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert LocalPolicy.load(student).name == "student"


def test_broken_safetensors_are_one_line(student: Path) -> None:
    (student / "model.safetensors").write_bytes(b"not safe at all")
    assert str(student) in problem(student)


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:39], COMMIT + "0", COMMIT.replace("a", "g")])
def test_code_of_a_model_needs_a_commit_beside_the_flag(with_code: tuple[Path, Path], revision: str | None) -> None:
    folder, marker = with_code
    told = problem(Checkpoint(model=str(folder), trust_remote_code=True, revision=revision))
    assert "40 hex digits" in told
    assert not marker.exists()


def test_code_of_a_model_is_not_run_without_the_flag(with_code: tuple[Path, Path]) -> None:
    folder, marker = with_code
    problem(Checkpoint(model=str(folder), revision=COMMIT))
    assert not marker.exists()


def test_code_of_a_model_runs_with_flag_and_commit(
    with_code: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = with_code
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    model, _ = Checkpoint(model=str(folder), trust_remote_code=True, revision=COMMIT).load()
    assert type(model).__name__ == "Model"
    assert marker.exists()


def test_code_borrowed_from_another_repository_is_not_fetched(
    with_code: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = with_code
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {key: f"someone/else--{value}" for key, value in config["auto_map"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    problem(Checkpoint(model=str(folder), trust_remote_code=True, revision=COMMIT))
    assert not marker.exists()


def test_a_hub_id_without_a_revision_is_looked_for_in_the_cache_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert "someone/model" in problem(Checkpoint(model="someone/model"))


def test_a_hub_id_with_a_revision_is_downloaded_without_pickles(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(student)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert LocalPolicy.load(Checkpoint(model="someone/model", revision=COMMIT)).name == "model"
    assert asked["repo"] == "someone/model"
    assert asked["revision"] == COMMIT
    assert not asked["local_files_only"]
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in asked["allow_patterns"])


def test_a_commit_that_is_in_the_cache_is_loaded_from_there(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    shutil.copytree(student, tmp_path / "cache" / "models--someone--model" / "snapshots" / COMMIT)
    assert LocalPolicy.load(Checkpoint(model="someone/model", revision=COMMIT)).name == "model"


@pytest.mark.parametrize("model", ["no/such/folder", "/no/such", "nothing", "a b/c", "no/such"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_said_so(model: str) -> None:
    assert "there is no such folder" in problem(Checkpoint(model=model))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_taken_as_what_was_asked_for(student: Path, dtype: str) -> None:
    policy = LocalPolicy.load(Checkpoint(model=str(student), dtype=dtype))
    assert policy.model.dtype == getattr(torch, dtype)


def test_a_device_that_is_not_there_is_one_line(student: Path) -> None:
    assert "cuda:77" in problem(Checkpoint(model=str(student), device="cuda:77")) or not torch.cuda.is_available()


def test_an_adapter_without_peft_says_what_to_install(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install peft" in problem(Checkpoint(model=str(student), adapter=str(student)))


def test_a_pickled_adapter_is_refused(student: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(b"")
    assert "adapter_model.bin" in problem(Checkpoint(model=str(student), adapter=str(tmp_path / "adapter")))


def test_an_adapter_is_merged(student: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    plain, _ = Checkpoint(model=str(student)).load()
    adapted = peft.get_peft_model(
        untrained(), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        expected, without = adapted.eval()(ids).logits, plain(ids).logits
        found = LocalPolicy.load(Checkpoint(model=str(student), adapter=str(tmp_path / "adapter"))).model(ids).logits
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, without, atol=1e-2)
