"""The office has its new settings, the others their old ones, and what cannot be read is told."""

import configparser
import datetime
import os
import tempfile
import unittest

from nightmail import BadSetting, is_quiet, load, next_delivery, profiles
from nightmail.__main__ import describe


def told(profile):
    settings = load(profile)
    return [settings.limit, settings.subject, settings.kinds, settings.quiet]


class ProfilesTest(unittest.TestCase):
    def test_the_office_has_what_was_asked_for(self):
        self.assertEqual(told("office"), [50, "Office digest", (), (datetime.time(21, 30), datetime.time(6, 15))])
        self.assertEqual(
            describe(load("office")), "limit = 50\nsubject = Office digest\nkinds = all\nquiet = 21:30-06:15"
        )

    def test_the_field_keeps_what_was_agreed(self):
        quiet = (datetime.time(20), datetime.time(4))
        self.assertEqual(told("field"), [20, "Daily digest", ("alarm", "repair"), quiet])

    def test_the_night_keeps_what_was_agreed(self):
        self.assertEqual(told("night"), [5, "Night watch", ("alarm",), None])

    def test_there_are_the_same_profiles(self):
        self.assertEqual(profiles(), ["field", "night", "office"])

    def test_the_field_still_inherits_from_the_office(self):
        here = os.path.join("nightmail", "profiles")
        with tempfile.TemporaryDirectory(dir=".") as folder:
            for name in ("base", "office", "field"):
                parser = configparser.ConfigParser(interpolation=None)
                parser.read(os.path.join(here, name + ".ini"), "utf-8")
                if name == "office":
                    parser.read_dict({"digest": {"kinds": "party"}})
                if name == "field":
                    parser.remove_option("digest", "kinds")
                with open(os.path.join(folder, name + ".ini"), "w", encoding="utf-8") as file:
                    parser.write(file)
            self.assertEqual(load("field", folder).kinds, ("party",))

    def test_quiet_times_are_kept_to_the_minute(self):
        office = load("office")
        times = [datetime.time(21, 29), datetime.time(21, 30), datetime.time(6, 14), datetime.time(6, 15)]
        self.assertEqual([is_quiet(each, office) for each in times], [False, True, True, False])
        late = datetime.datetime(2024, 3, 5, 23, 50, 10)
        self.assertEqual(next_delivery(late, office), datetime.datetime(2024, 3, 6, 6, 15))


class OwnFolderTest(unittest.TestCase):
    """Profiles in a folder of their own."""

    def loaded(self, profile, **files):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            for name, text in files.items():
                with open(os.path.join(folder, name + ".ini"), "w", encoding="utf-8") as file:
                    file.write(text)
            return load(profile, folder)

    def refusal(self, text):
        with self.assertRaises(BadSetting) as caught:
            self.loaded("office", base="[digest]\nlimit = 7\n", office="[profile]\nextends = base\n" + text)
        return str(caught.exception)

    def test_settings_come_from_that_folder_alone(self):
        loaded = self.loaded("one", base="[digest]\nlimit = 7\n", one="[profile]\nextends = base\n")
        self.assertEqual([loaded.limit, loaded.subject, loaded.quiet], [7, "Digest", None])

    def test_minutes_are_read(self):
        loaded = self.loaded("one", one="[delivery]\nquiet = 8:05-09:00\n")
        self.assertEqual(loaded.quiet, (datetime.time(8, 5), datetime.time(9)))

    def test_whole_hours_are_still_read(self):
        self.assertEqual(self.loaded("one", one="[delivery]\nquiet = 8-17\n").quiet, (datetime.time(8), datetime.time(17)))

    def test_a_limit_that_is_no_number_is_told(self):
        self.assertEqual(self.refusal("[digest]\nlimit = many\n"), "office.ini: [digest] limit: cannot read 'many'")

    def test_a_quiet_time_that_is_none_is_told(self):
        for text in ("25:00-06:00", "21:75-06:00", "21:30", "late"):
            with self.subTest(text):
                wanted = f"office.ini: [delivery] quiet: cannot read {text!r}"
                self.assertEqual(self.refusal(f"[delivery]\nquiet = {text}\n"), wanted)
