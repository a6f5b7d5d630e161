"""What is kept of what was collected."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class CurationConfig(BaseModel):
    """What is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verified: bool = True
    """Only what the hidden check passed."""
