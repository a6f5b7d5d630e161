"""Removing whatever lies at a path, however hostile: used inside sandboxes and on the host."""

import os
import stat


def remove(path: "str | bytes") -> None:
    """Remove whatever is at `path`, links not followed. What is gone already, at the start or on the way, is no error.

    Directories within are first moved to the top, so that neither depth nor length of path matters.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        empty(path)
        os.rmdir(path)
    except FileNotFoundError:
        pass


def empty(path: "str | bytes") -> None:
    """Remove all that is in the directory at `path`; what is gone already is no error."""
    top = os.fsencode(path)
    moved = b"%b/.removed-%b-" % (top, os.urandom(8).hex().encode())
    count = 0
    os.chmod(top, 0o700)
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scan:
                items = [(item.path, item.is_dir(follow_symlinks=False)) for item in scan]
        except FileNotFoundError:
            continue
        for full, is_folder in items:
            try:
                if not is_folder:
                    os.unlink(full)
                    continue
                os.chmod(full, 0o700)
                if folder != top:
                    count += 1
                    os.rename(full, full := b"%b%d" % (moved, count))
                folders.append(full)
            except FileNotFoundError:
                continue
        if folder != top:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
