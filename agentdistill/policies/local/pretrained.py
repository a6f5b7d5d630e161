"""Loading models safely: safetensors only, and code that comes with a model only where it was asked for and pinned."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentdistill.errors import ConfigError

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
UNWANTED = ["*/*"]


class Checkpoint(BaseModel):
    """Which model, from where, and as what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """A folder in the Hugging Face layout, or a hub id such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = None
    """Of a hub id: it is downloaded at this branch, tag or commit. Without one, only what is in the cache is used."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model; only with a `revision` that is a commit of 40 hex digits."""
    device: str = "cpu"
    """Any that torch knows, `cuda` or `cuda:1` for two."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights; `auto` takes them as they are stored."""
    adapter: str | None = None
    """A folder with a LoRA adapter, which is merged into the weights; needs the package peft."""

    def load(self) -> tuple[Any, Any]:
        """The model, ready to sample, and its tokenizer.

        Raises:
            ConfigError: there is no model, it cannot be loaded safely, or something is missing for it.
        """
        if self.trust_remote_code and not COMMIT.fullmatch(self.revision or ""):
            raise ConfigError(
                f"{self.model}: trust_remote_code runs what its authors wrote: it needs revision set to a commit of 40 "
                f"hex digits, not {self.revision!r}"
            )
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            # Of a hub id too, only a folder is ever loaded: pickles are not even downloaded, nor converted in secret.
            folder = self.find()
            _refuse_pickles(folder)
            common = {"local_files_only": True, "trust_remote_code": self.trust_remote_code}
            if self.trust_remote_code:
                # Code that a model borrows from another repository is not there at this commit: refused, not fetched.
                common["code_revision"] = self.revision  # type: ignore[assignment]
            dtype = self.dtype if self.dtype == "auto" else getattr(torch, self.dtype)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=dtype, **common)
            tokenizer = AutoTokenizer.from_pretrained(folder, **common)
            model = model.to(torch.device(self.device))
        except (OSError, ValueError, RuntimeError, ImportError, AssertionError, SafetensorError) as error:
            raise ConfigError(f"no model can be loaded from {self.model}: {_first_line(error)}") from error
        if self.adapter is not None:
            model = _merge(model, Path(self.adapter))
        return model, tokenizer

    def find(self) -> Path:
        """The folder with the files; those of a hub id with a revision are brought here first.

        Raises:
            ConfigError: there is none.
        """
        folder = Path(self.model)
        if folder.is_dir():
            return folder
        if not HUB_ID.fullmatch(self.model) or folder.is_absolute():
            raise ConfigError(f"no model can be loaded from {self.model}: there is no such folder")
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted = [*WANTED, *(["*.py"] if self.trust_remote_code else [])]
        try:
            return Path(
                snapshot_download(
                    self.model,
                    revision=self.revision,
                    local_files_only=self.revision is None,
                    allow_patterns=wanted,
                    ignore_patterns=UNWANTED,
                )
            )
        except LocalEntryNotFoundError as error:
            if self.revision is not None:
                raise
            raise ConfigError(
                f"no model can be loaded from {self.model}: there is no such folder, nor a hub model of that name on "
                "this machine; to fetch one, name its revision"
            ) from error


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ConfigError(
            f"no model is loaded from {folder}: its weights are pickled ({pickles[0]}), and loading them may run any "
            "code; save them as safetensors"
        )
    raise ConfigError(f"no model can be loaded from {folder}: there is no *.safetensors in it")


def _merge(model: Any, folder: Path) -> Any:
    """The model with a LoRA adapter added to its weights.

    Raises:
        ConfigError: peft is not installed, or the folder holds no adapter that fits.
    """
    _refuse_pickles(folder)
    try:
        peft = importlib.import_module("peft")
    except ImportError as error:
        raise ConfigError(f"the adapter {folder} needs the package peft: pip install peft") from error
    try:
        return peft.PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ConfigError(f"no adapter can be loaded from {folder}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
