"""Judge the workspace in the current directory: exit 0 if every case prints what it should.

What the agent wrote runs only in child processes and is never imported here, so that no trick in it (leaving early
with exit code 0, patching `assert`) reaches the verdict. What is expected is known here alone.
"""

import subprocess
import sys

SETUP = """
import sys
sys.path.insert(0, ".")
from stock import *
a, b = Warehouse("a", 10), Warehouse("b", 3)
a.add("bolt", 5); a.add("cup", 2); b.add("cup", 1)
def levels():
    return [(w.name, i, w.level(i)) for w in (a, b) for i in ("bolt", "cup")]
def refused(call, *args):
    try:
        call(*args)
    except (Full, Missing) as error:
        return f"{type(error).__name__}: {error}"
"""
CASES = [
    ("print(summary(a), '|', summary(b))", "a: bolt 5, cup 2 | b: cup 1"),
    ("print(shortages(a, {'bolt': 7, 'cup': 1, 'jar': 2}))", "{'bolt': 2, 'jar': 2}"),
    ("print(hasattr(Warehouse, 'amount'))", "False"),
    (
        "a.transfer('bolt', 2, b); print(levels())",
        "[('a', 'bolt', 3), ('a', 'cup', 2), ('b', 'bolt', 2), ('b', 'cup', 1)]",
    ),
    (
        "print(refused(a.transfer, 'bolt', 3, b)); print(levels())",
        "Full: b: no room for 3\n[('a', 'bolt', 5), ('a', 'cup', 2), ('b', 'bolt', 0), ('b', 'cup', 1)]",
    ),
    (
        "print(refused(a.transfer, 'bolt', 6, b)); print(levels())",
        "Missing: a: only 5 of bolt\n[('a', 'bolt', 5), ('a', 'cup', 2), ('b', 'bolt', 0), ('b', 'cup', 1)]",
    ),
    ("print(refused(b.transfer, 'cup', 1, a)); print(b.items(), a.level('cup'))", "None\n[] 3"),
]

for number, (case, expected) in enumerate(CASES, 1):
    child = subprocess.run(
        [sys.executable, "-B", "-c", SETUP + case], capture_output=True, text=True, timeout=5, errors="replace"
    )
    if child.stdout.strip() != expected:
        print(f"case {number} of {len(CASES)} is wrong")
        sys.exit(1)
print("all cases are right")
