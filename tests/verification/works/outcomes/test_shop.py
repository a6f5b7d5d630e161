import sys, os, time, unittest
class ShopTest(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.fail("no")
    def test_in_part(self):
        with self.subTest("a"): assert 0
    @unittest.skip("later")
    def test_skips(self): pass
    @unittest.expectedFailure
    def test_is_known(self): assert 0
    @unittest.expectedFailure
    def test_is_better_than_known(self): pass
    def test_exits(self): sys.exit(0)
    def test_dies(self): os._exit(0)
    def test_takes_long(self): time.sleep(60)
    async def test_never_waits(self): assert 0
class TestFixtures:
    def test_needs_one(self, fixture): pass
def test_yields(): yield
async def test_waits(): pass
def test_skips_too(): raise unittest.SkipTest("later")
