"""Files shown to commands: laid once, used again, and no more of them kept than needed."""

import os
import threading

import pytest

from agentdistill.sandbox.shelf import Shelf


def test_equal_files_share_a_folder_and_others_do_not(tmp_path):
    shelf = Shelf(tmp_path / "files")
    with shelf.lay({"a": b"1", "b/c": b"2"}) as first, shelf.lay({"b/c": b"2", "a": b"1"}) as same:
        assert first == same
        assert (first / "b/c").read_bytes() == b"2"
        assert os.access(first / "a", os.X_OK)
        with shelf.lay({"a": b"1", "b/c": b"3"}) as other, shelf.lay({"a": b"", "1b/c": b"2"}) as odd:
            assert len({first, other, odd}) == 3


def test_few_unused_folders_are_kept_and_used_ones_all(tmp_path):
    shelf = Shelf(tmp_path, kept=2)
    with shelf.lay({"used": b""}) as used:
        for number in range(6):
            with shelf.lay({"n": b"%d" % number}):
                pass
        assert used.is_dir()
        assert len(os.listdir(tmp_path)) == 2


def test_threads_that_lay_the_same_files_do_not_disturb_each_other(tmp_path):
    shelf = Shelf(tmp_path, kept=0)
    wrong = []

    def work():
        for number in range(100):
            with shelf.lay({"n": b"%d" % (number % 3)}) as folder:
                if (folder / "n").read_bytes() != b"%d" % (number % 3):
                    wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not os.listdir(tmp_path)


def test_a_name_that_leaves_the_folder_is_refused(tmp_path):
    shelf = Shelf(tmp_path)
    with pytest.raises(PermissionError), shelf.lay({"../x": b""}):
        pass
    assert not os.listdir(tmp_path)
