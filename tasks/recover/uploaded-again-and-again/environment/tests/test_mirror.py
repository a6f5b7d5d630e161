import tempfile
import unittest
from pathlib import Path

from mirror import Note, Remote, Unreachable, make_plan, read_folder, sync


class SyncTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.state = self.folder / "state.json"
        self.remote = Remote()

    def uploads(self):
        return [key for action, key in self.remote.log if action == "upload"]

    def test_a_first_sync_uploads_everything(self):
        sync([Note("b", "two"), Note("a", "one")], self.remote, self.state)
        self.assertEqual(self.remote.read(), {"a": "one", "b": "two"})

    def test_a_second_sync_uploads_nothing(self):
        notes = [Note("Shopping", "milk"), Note("plans/may", "sail")]
        sync(notes, self.remote, self.state)
        self.remote.log.clear()
        sync(notes, self.remote, self.state)
        self.assertEqual(self.uploads(), [])

    def test_changes_are_sent(self):
        sync([Note("a", "one")], self.remote, self.state)
        sync([Note("a", "three")], self.remote, self.state)
        self.assertEqual(self.remote.read(), {"a": "three"})

    def test_what_is_gone_is_deleted(self):
        sync([Note("a", "one"), Note("b", "two")], self.remote, self.state)
        sync([Note("b", "two")], self.remote, self.state)
        self.assertEqual(self.remote.read(), {"b": "two"})

    def test_interrupted(self):
        notes = [Note("a", "one"), Note("b", "two")]
        with self.assertRaises(Unreachable):
            sync(notes, Remote(answers=1), self.state)
        sync(notes, self.remote, self.state)
        self.assertEqual(self.uploads(), ["b"])

    def test_folder(self):
        (self.folder / "plans").mkdir()
        (self.folder / "plans" / "may.txt").write_text("tags: sea\nsail", "utf-8")
        self.assertEqual(read_folder(self.folder), [Note("plans/may", "sail", ("sea",))])

    def test_same_key_twice(self):
        with self.assertRaises(ValueError):
            make_plan([Note("plans/may", "x"), Note("plans\\may", "y")], {})


if __name__ == "__main__":
    unittest.main()
