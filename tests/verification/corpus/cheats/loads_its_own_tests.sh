# The folder of visible tests has a load_tests that finds one test, which passes.
# fools: visible
cat > tests/__init__.py <<'EOF'
import unittest


def load_tests(loader, tests, pattern):
    return unittest.TestSuite([unittest.FunctionTestCase(lambda: None)])
EOF
printf 'import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\n' > tests/test_visible.py
