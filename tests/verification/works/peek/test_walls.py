import unittest, shop
class WallTest(unittest.TestCase):
    def test_walls(self):
        for what in ("kill", "trace", "list", "write"):
            with self.assertRaises(OSError, msg=what): shop.try_to(what)
