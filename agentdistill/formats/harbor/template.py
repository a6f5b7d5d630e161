"""A small complete task to begin one's own from: a bug, hidden tests, a solution, a natural wrong fix and a mess."""

from __future__ import annotations

import re
from pathlib import Path

from agentdistill.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_FILES = {
    "task.toml": """\
schema_version = "1.4"

[task]
name = "mine/{name}"
description = "Count pages without losing the last one." # one sentence
keywords = ["python"]

[metadata]
split = "train" # or "heldout": never trained on
difficulty = "easy" # or "medium", "hard"
family = "edges"

[metadata.agentdistill]
needs_image = false # bash and python3 are all it uses, and any sandbox has those

[metadata.agentdistill.verifier]
modules = ["listing"] # what the hidden tests import of the work
packages = false # whether installed packages can be imported

[agent]
timeout_sec = 300.0

[verifier]
timeout_sec = 20.0

[environment]
docker_image = "python:3.12-slim"
workdir = "/workspace"
network_mode = "no-network"
""",
    "instruction.md": """\
`listing` shows long lists in pages. `python3 -m unittest` fails: where the last page is not full, it is not counted.
Fix it.
""",
    "environment/listing/__init__.py": """\
from listing.pages import page, pages

__all__ = ["page", "pages"]
""",
    "environment/listing/pages.py": '''\
"""Long lists in pages."""


def pages(total, size):
    """How many pages of `size` entries it takes to show `total` of them."""
    return total // size


def page(entries, number, size):
    """The entries of a page; the first has the number 1."""
    if not 1 <= number <= pages(len(entries), size):
        raise IndexError(f"there is no page {number}")
    return entries[(number - 1) * size : number * size]
''',
    "environment/tests/__init__.py": "",
    "environment/tests/test_pages.py": """\
import unittest

from listing import page, pages


class PagesTest(unittest.TestCase):
    def test_a_last_page_that_is_not_full_counts(self):
        self.assertEqual(pages(11, 5), 3)
        self.assertEqual(page(list("abcdefg"), 2, 4), ["e", "f", "g"])
""",
    "tests/test.sh": """\
#!/bin/bash
# For other runners of Harbor tasks, which trust what this says. agentdistill runs the Python tests beside it by itself,
# with the work in a process of its own (see [metadata.agentdistill.verifier] in task.toml).
PYTHONPATH="$(dirname "$0"):$PWD" python3 -B -m unittest test_hidden_pages
code=$?
if [ -d /logs/verifier ]; then
    echo $((code == 0)) > /logs/verifier/reward.txt
fi
exit $code
""",
    "tests/test_hidden_pages.py": '''\
"""Every edge, also those that the tests in the workspace do not look at."""

import unittest

from listing import page, pages


class HiddenPagesTest(unittest.TestCase):
    def test_a_last_page_that_is_not_full_counts(self):
        self.assertEqual([pages(total, 5) for total in (1, 4, 6, 11)], [1, 1, 2, 3])

    def test_full_pages_are_not_followed_by_an_empty_one(self):
        self.assertEqual([pages(total, 5) for total in (0, 5, 10)], [0, 1, 2])

    def test_a_page_past_the_end_is_refused(self):
        with self.assertRaises(IndexError):
            page(list("abcd"), 3, 2)
''',
    "solution/solve.sh": """\
#!/bin/bash
set -e
sed -i 's|return total // size|return -(-total // size)|' listing/pages.py
python3 -m unittest
""",
    "wrong/one-more.sh": """\
#!/bin/bash
# The tests in the workspace pass, and full pages are followed by an empty one.
set -e
sed -i 's|return total // size|return total // size + 1|' listing/pages.py
python3 -m unittest
""",
    "messes/one-more-everywhere/mess.toml": """\
description = "The extra page was added in two places, and an entry is shown twice."
by = "hand"

[[actions]]
say = "One page is missing, so I add one."
tool = "bash"
arguments = {command = "sed -i 's|return total // size|return total // size + 1|' listing/pages.py"}

[[actions]]
say = "The slice must grow with it."
tool = "bash"
arguments = {command = "sed -i 's|number \\\\* size\\\\]|number * size + 1]|' listing/pages.py; python3 -m unittest"}
""",
    "messes/one-more-everywhere/recover.sh": """\
#!/bin/bash
set -e
sed -i 's|return total // size + 1|return -(-total // size)|; s|number \\* size + 1\\]|number * size]|' listing/pages.py
python3 -m unittest
""",
}  # fmt: skip


def new_task(name: str, folder: Path) -> Path:
    """Write a complete task called `name` into a new folder below `folder`, and return where.

    Raises:
        UsageError: the name is no name for a task, or the folder is there already, or cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a task: write small letters, digits and -, such as lost-page")
    place = folder / name
    if place.exists():
        raise UsageError(f"{str(place)!r} is there already: choose another name")
    try:
        for path, text in _FILES.items():
            written = place / path
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(text.replace("{name}", name), encoding="utf-8")
            written.chmod(0o755 if path.endswith(".sh") else 0o644)
    except OSError as error:
        raise UsageError(f"{str(place)!r} cannot be written: {error.strerror}") from error
    return place
