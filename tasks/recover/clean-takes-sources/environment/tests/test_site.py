import tempfile
import unittest
from pathlib import Path

from sitegen import build, check, clean, read_page, to_html

HERE = Path(__file__).parents[1]


class SiteTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "pages").mkdir()
        (self.root / "pages" / "a.txt").write_text("title: First\n\nSome *text*.\n")
        (self.root / "theme").mkdir()
        (self.root / "theme" / "frame.html").write_text("@TITLE@ (@MENU@) @TEXT@")

    def test_markup(self):
        self.assertEqual(to_html("# A & B\n\n- one\n- [two](2.html)\n\nx\ny"), (
            '<h2>A &amp; B</h2>\n<ul><li>one</li><li><a href="2.html">two</a></li></ul>\n<p>x y</p>'
        ))

    def test_build(self):
        self.assertEqual(build(self.root), ["made 1 files of 1 pages"])
        made = (self.root / "site" / "a.html").read_text()
        self.assertEqual(made, 'First (<li><a href="a.html">First</a></li>) <p>Some <strong>text</strong>.</p>')

    def test_clean(self):
        build(self.root)
        self.assertEqual(clean(self.root), ["removed site/a.html"])
        self.assertEqual(clean(self.root), ["nothing to remove"])

    def test_check(self):
        build(self.root)
        self.assertEqual(check(self.root), ["nothing changed"])
        (self.root / "pages" / "a.txt").write_text("title: Other\n\n")
        self.assertEqual(check(self.root), ["changed: pages/a.txt"])

    def test_pages_of_the_club_can_be_read(self):
        titles = [read_page(path).title for path in sorted((HERE / "pages").glob("*.txt"))]
        self.assertEqual(titles, ["Board", "Welcome", "Plots"])


if __name__ == "__main__":
    unittest.main()
