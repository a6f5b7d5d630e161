import unittest
import unittest as module
from unittest import mock

import shop


def callback():
    return 1


def generator():
    yield 1


class Fake:
    _secret = 5
    here = module

    def ask(self):
        return 1


class ShopTest(unittest.TestCase):
    expected = 5
