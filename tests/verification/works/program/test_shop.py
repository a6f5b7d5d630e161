import importlib
import pathlib
import queue
import subprocess
import sys
import unittest

import shop.prices
from helpers.more import expected
from shop import *
from shop import prices

made = []


def setUpModule():
    made.append("module")


class ShopTest(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        made.append("class")

    def test_modules(self):
        assert price() == prices.price() == shop.prices.price() == expected()
        assert "hidden" not in globals()
        assert queue.here() == "ours"
        assert made == ["module", "class"]
        with self.assertRaises(ImportError):
            importlib.import_module("shop.nothing")

    def test_programs(self):
        command = [sys.executable, "cli.py", "4"]
        done = subprocess.run(command, env={"PYTHONPATH": "src"}, capture_output=True, text=True)
        assert done.stdout == "7\n", done.stderr

    def test_files(self):
        assert pathlib.Path(__file__).with_name("data.txt").read_text() == "beside the tests"
        with open("data.txt") as file:
            assert file.read() == "in the workspace"

    async def test_later(self):
        assert shop.price() == 3


class TestPlain:
    def setup_method(self):
        self.ready = True

    def test_method(self):
        assert self.ready


def test_function():
    assert price() == 3
