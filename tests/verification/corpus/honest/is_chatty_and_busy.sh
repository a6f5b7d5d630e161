# The work prints, logs, writes files, starts a thread and a process, and keeps its own helpers and settings.
printf '[project]\nname = "cart"\n' > pyproject.toml
mkdir -p helpers
cat > helpers/__init__.py <<'EOF'
def check(lines):
    if min((count for _, count in lines), default=0) < 0:
        raise ValueError("a negative count")
EOF
cat > cart.py <<'EOF'
import atexit
import logging
import subprocess
import sys
import tempfile
import threading

from helpers import check

print("cart is loaded", file=sys.stderr)
logging.warning("this goes to stderr")
atexit.register(print, "cart is done", file=sys.stderr)


def total(lines):
    check(lines)
    found = []
    thread = threading.Thread(target=lambda: found.append(sum(price * count for price, count in lines)))
    thread.start()
    thread.join()
    return found[0]


def average(lines):
    pieces = sum(count for _, count in lines)
    command = [sys.executable, "-c", f"print({total(lines)} / {pieces})"]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def receipt(lines):
    with tempfile.TemporaryFile("w+") as file:
        for price, count in lines:
            print(count, "x", price, "=", price * count, file=file)
        print("total", total(lines), end="", file=file)
        file.seek(0)
        return file.read()
EOF
