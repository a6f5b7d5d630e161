"""What was sent is remembered under the key that it has, by all layers."""

import json
import os
import tempfile
import unittest

from mirror import Note, Remote, Unreachable, load_state, make_plan, read_folder, save_state, sync


class MirrorTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=".")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.state = os.path.join(folder.name, "state.json")
        self.remote = Remote()

    def asked(self, *notes, remote=None):
        """What a sync of these notes asks the remote to do."""
        remote = self.remote if remote is None else remote
        before = len(remote.log)
        sync([Note(*note) for note in notes], remote, self.state)
        return list(remote.log)[before:]

    def test_a_second_sync_asks_for_nothing_at_all(self):
        notes = [("Shopping", "milk"), ("Plans/May", "sail"), ("straße", "a"), ("İzmir", "b"), ("plain", "c")]
        self.assertEqual(len(self.asked(*notes)), 5)
        self.assertEqual(self.asked(*notes), [])
        self.assertEqual(self.asked(*notes), [])

    def test_changes_are_sent_and_nothing_else(self):
        self.asked(("Shopping", "milk"), ("Plans", "sail"))
        self.assertEqual(self.asked(("Shopping", "bread"), ("Plans", "sail")), [("upload", "Shopping")])
        self.assertEqual(self.asked(("Shopping", "bread"), ("Plans", "sail", ("sea",))), [("upload", "Plans")])
        self.assertEqual(self.remote.read(), {"Shopping": "bread", "Plans": "sail"})

    def test_back_to_an_earlier_text_is_a_change(self):
        self.asked(("Shopping", "milk"))
        self.asked(("Shopping", "bread"))
        self.assertEqual(self.asked(("Shopping", "milk")), [("upload", "Shopping")])
        self.assertEqual(self.remote.read(), {"Shopping": "milk"})

    def test_the_order_of_tags_is_no_change(self):
        self.asked(("Shopping", "milk", ("home", "food")))
        self.assertEqual(self.asked(("Shopping", "milk", ("food", "home"))), [])

    def test_notes_that_differ_by_case_are_kept_apart(self):
        notes = [("README", "loud"), ("Readme", "calm"), ("readme", "calm")]
        self.assertEqual(self.asked(*notes), [("upload", key) for key, _ in notes])
        self.assertEqual(self.remote.read(), dict(notes))
        self.assertEqual(self.asked(*notes), [])
        notes[1] = ("Readme", "changed")
        self.assertEqual(self.asked(*notes), [("upload", "Readme")])
        self.assertEqual(self.asked(*notes[:2]), [("delete", "readme")])

    def test_a_rename_that_changes_the_case_is_an_upload_and_a_deletion(self):
        self.asked(("Readme", "calm"))
        self.assertEqual(self.asked(("README", "calm")), [("upload", "README"), ("delete", "Readme")])
        self.assertEqual(self.remote.read(), {"README": "calm"})

    def test_what_is_gone_is_deleted_under_its_key(self):
        self.asked(("Shopping", "milk"), ("Plans/May", "sail"))
        self.assertEqual(self.asked(("Shopping", "milk")), [("delete", "Plans/May")])
        self.assertEqual(self.remote.read(), {"Shopping": "milk"})

    def test_the_state_file_has_keys_as_they_are(self):
        self.asked(("Plans\\May", "sail"), ("B", "x"))
        with open(self.state, encoding="utf-8") as file:
            sent = json.load(file)["sent"]
        self.assertEqual(sorted(sent), ["B", "Plans/May"])
        self.assertEqual(load_state(self.state), sent)

    def test_old_state_files_with_backslashes_are_read(self):
        mark = Note("Plans/May", "sail").fingerprint
        with open(self.state, "w", encoding="utf-8") as file:
            json.dump({"sent": {"Plans\\May": mark}}, file)
        self.assertEqual(load_state(self.state), {"Plans/May": mark})
        self.assertEqual(self.asked(("Plans/May", "sail")), [])

    def test_states_go_through_a_file_unchanged(self):
        save_state(self.state, {"README": "1", "Readme": "2", "a/B": "3"})
        self.assertEqual(load_state(self.state), {"README": "1", "Readme": "2", "a/B": "3"})

    def test_a_sync_that_stops_half_way_goes_on_from_there(self):
        notes = [("A", "1"), ("B", "2"), ("C", "3")]
        with self.assertRaises(Unreachable):
            self.asked(*notes, remote=Remote(answers=2))
        self.assertEqual(self.asked(*notes), [("upload", "C")])

    def test_the_plan_compares_keys_as_they_are(self):
        note = Note("Readme", "calm")
        plan = make_plan([note], {"readme": note.fingerprint})
        self.assertEqual([each.key for each in plan.uploads], ["Readme"])
        self.assertEqual(list(plan.deletions), ["readme"])

    def test_the_remote_does_what_it_is_asked(self):
        for _ in range(2):
            self.remote.upload(Note("Readme", "calm"))
        self.remote.delete("README")
        self.assertEqual(list(self.remote.log), [("upload", "Readme"), ("upload", "Readme"), ("delete", "README")])
        self.assertEqual(self.remote.read(), {"Readme": "calm"})

    def test_a_folder_keeps_the_case_of_its_files(self):
        with open(os.path.join(self.folder, "Readme.txt"), "w", encoding="utf-8") as file:
            file.write("tags: a\ncalm")
        self.assertEqual([(note.key, note.text) for note in read_folder(self.folder)], [("Readme", "calm")])
