"""The ready environments, one file or folder each.

Importing this package registers them: since Gymnasium 1.0 stopped loading plug-ins, that is how it finds environments
(``gymnasium.make("agentdistill_environments:agentdistill/Depot-v0")``). `agentdistill.loading` reads the entry point.
"""

from __future__ import annotations

import gymnasium

READY = ("Depot", "Repair", "Terminal")


def register() -> None:
    """Tell Gymnasium about every ready environment; again is nothing new."""
    for name in READY:
        if f"agentdistill/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                id=f"agentdistill/{name}-v0",
                entry_point=f"agentdistill_environments.{name.lower()}:{name}",
                order_enforce=False,
                disable_env_checker=True,
            )


register()
