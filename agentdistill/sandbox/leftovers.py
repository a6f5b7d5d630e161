"""What programs that were killed left on this machine, and removing it by hand.

Every start of a backend does the same for what it may meet; this is for machines where nothing starts any more, and for
whoever wants to be sure. Nothing that belongs to a program that lives is touched: each holds a lock on what it has.
The processes of bubblewrap's sandboxes end by themselves when the program that started them does.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox import cgroups, homes


def clean(folders: Iterable[Path] = ()) -> list[str]:
    """Remove control groups, with what runs in them, and folders of dead programs; what that was, a line each.

    What is on a Docker engine is not looked at; see `docker.leftovers`.

    Args:
        folders: where backends kept their snapshots; the snapshots stay.
    """
    removed = [f"control group {path}" for path in cgroups.reap()]
    with suppress(SandboxUnavailableError):  # nobody could have put anything there
        shared = homes.temporary()
        folders = [shared, *folders]
        removed += [f"folder {path}" for path in homes.reap(shared / "docker")]
    for folder in folders:
        removed += [f"folder {path}" for path in homes.reap(folder.resolve() / "live")]
    return removed
