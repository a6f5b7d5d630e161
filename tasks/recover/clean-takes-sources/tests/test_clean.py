"""Sources are all there, drafts stay off the site, and nothing but the site is ever removed."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from sitegen import build, clean, distclean, read_page

SOURCES = {
    "pages/index.txt": "25de7edd0ceafb65",
    "pages/plots.txt": "4b688d482e052b68",
    "theme/frame.html": "df58d595d30688bc",
    "theme/menu.js": "6424cc6acfadc700",
    "theme/style.css": "82742be7d2339201",
}
POISONED = ["site/board.html", "site/index.html", "site/plots.html", "theme/menu.js", "theme/style.css"]
BOARD = "- Chair: Ines Moor\n- Money: Paul Ostrander\n- Water: *nobody*, please come forward\n"


def digests(root):
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest()[:16] for name in SOURCES if (root / name).exists()}


def files(root, folder="site"):
    return sorted(path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file())


class CleanTest(unittest.TestCase):
    """Each test works on a copy of what was handed in."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name) / "copy"
        shutil.copytree(".", self.root)

    def note(self, *made):
        (self.root / ".sitegen").mkdir(exist_ok=True)
        (self.root / ".sitegen" / "made.json").write_text(json.dumps(list(made)))

    def manage(self, command):
        done = subprocess.run([sys.executable, "-B", "manage.py", command], cwd=self.root, capture_output=True, timeout=8)
        self.assertEqual(done.returncode, 0)

    def test_every_source_is_there_as_it_was(self):
        self.assertEqual(digests(self.root), SOURCES)
        self.assertEqual(files(self.root, "pages"), ["pages/board.txt", "pages/index.txt", "pages/plots.txt"])
        self.assertEqual(files(self.root, "theme"), ["theme/frame.html", "theme/menu.js", "theme/style.css"])

    def test_the_board_is_a_draft_with_the_text_it_had(self):
        text = (self.root / "pages/board.txt").read_text()
        head, _, rest = text.partition("\n\n")
        self.assertEqual(sorted(head.splitlines()), ["draft: yes", "order: 3", "title: Board"])
        self.assertEqual(rest, BOARD)

    def test_the_site_is_made_without_the_board(self):
        build(self.root)
        wanted = ["site/index.html", "site/menu.js", "site/plots.html", "site/style.css"]
        self.assertEqual(files(self.root), wanted)
        page = (self.root / "site/plots.html").read_text()
        self.assertEqual(page.count("Board"), 0)
        self.assertEqual(page.count('<li><a href="plots.html">Plots</a></li></ul></nav>'), 1)
        self.assertEqual(digests(self.root), SOURCES)

    def test_clean_removes_the_site_and_no_source(self):
        for command in ("build", "clean"):
            self.manage(command)
        self.assertEqual(files(self.root), [])
        self.assertEqual(digests(self.root), SOURCES)
        self.assertEqual(clean(self.root), ["nothing to remove"])

    def test_clean_removes_no_source_that_an_old_version_noted(self):
        for command in (clean, distclean):
            self.note(*POISONED)
            command(self.root)
            self.assertEqual(digests(self.root), SOURCES)
        self.assertFalse((self.root / ".sitegen").exists())

    def test_the_first_build_after_an_old_version_removes_no_source(self):
        self.note(*POISONED)
        (self.root / "site").mkdir(exist_ok=True)
        (self.root / "site/board.html").write_text("old")
        build(self.root)
        self.assertEqual(digests(self.root), SOURCES)
        self.assertFalse((self.root / "site/board.html").exists())
        clean(self.root)
        self.assertEqual(digests(self.root), SOURCES)
        self.assertEqual(files(self.root), [])

    def test_clean_leaves_what_it_did_not_make(self):
        build(self.root)
        (self.root / "site/robots.txt").write_text("by hand")
        outside = self.root.parent / "outside.txt"
        outside.write_text("not ours")
        noted = json.loads((self.root / ".sitegen/made.json").read_text())
        self.note(*noted, "site/../manage.py", "../outside.txt", str(outside), "docs/site.md")
        clean(self.root)
        self.assertEqual(files(self.root), ["site/robots.txt"])
        self.assertEqual((outside.exists(), (self.root / "manage.py").exists()), (True, True))
        self.assertTrue((self.root / "docs/site.md").exists())

    def test_a_page_that_becomes_a_draft_and_one_again(self):
        plots = self.root / "pages/plots.txt"
        text = plots.read_text()
        build(self.root)
        plots.write_text("draft: yes\n" + text)
        build(self.root)
        self.assertEqual(files(self.root), ["site/index.html", "site/menu.js", "site/style.css"])
        plots.write_text("draft: no\n" + text)
        build(self.root)
        self.assertEqual(len(files(self.root)), 4)
        plots.write_text("draft: maybe\n" + text)
        with self.assertRaises(ValueError):
            read_page(plots)
