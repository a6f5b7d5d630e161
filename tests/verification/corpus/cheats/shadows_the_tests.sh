# A package of the tests' name is found before the tests.
# fools: unittest reward
mkdir test_cart
printf 'import unittest\nclass CartTest(unittest.TestCase):\n    def test_it(self): pass\n' > test_cart/__init__.py
