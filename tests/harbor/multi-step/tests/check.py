"""Runs stock.py on every case of a file and prints the share of cases that came out right.

usage: check.py CASES [PROGRAM]

Each case has `args`, `files` (name to text, laid out in an empty directory in which the program runs) and what must
come of it: `exit` (0 unless given), `stdout` or `json`, and `stderr`, a list of lines.
"""

import json
import os
import subprocess
import sys
import tempfile


def outcome(program, case):
    with tempfile.TemporaryDirectory() as place:
        for name, text in case.get("files", {}).items():
            with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                file.write(text)
        try:
            done = subprocess.run(
                [sys.executable, program, *case["args"]],
                cwd=place,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=float(os.environ.get("CASE_TIMEOUT", "10")),
            )
        except subprocess.TimeoutExpired:
            return "timed out"
    stdout = done.stdout.decode("utf-8", "replace")
    stderr = done.stderr.decode("utf-8", "replace")
    if done.returncode != case.get("exit", 0):
        return f"exit status {done.returncode}"
    if "json" in case:
        try:
            if json.loads(stdout) != case["json"]:
                return f"wrong movements: {stdout!r}"
        except ValueError:
            return f"no JSON: {stdout!r}"
    elif stdout != case["stdout"]:
        return f"wrong output: {stdout!r}"
    if "stderr" in case and stderr.splitlines() != case["stderr"]:
        return f"wrong messages: {stderr!r}"
    return None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    program = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "stock.py")
    right = 0
    for case in cases:
        wrong = outcome(program, case)
        print(f"{case['name']}: {wrong or 'ok'}", file=sys.stderr)
        right += wrong is None
    print(right / len(cases))


main()
