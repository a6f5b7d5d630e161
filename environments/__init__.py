"""The ready environments, one file each; importing this registers nothing."""

from __future__ import annotations

import gymnasium


def register() -> None:
    """Tell Gymnasium about every ready environment (called through the ``gymnasium.envs`` entry point)."""
    for name in ("Depot", "Repair"):
        gymnasium.register(
            id=f"agentdistill/{name}-v0",
            entry_point=f"agentdistill_environments.{name.lower()}:{name}",
            order_enforce=False,
            disable_env_checker=True,
        )
