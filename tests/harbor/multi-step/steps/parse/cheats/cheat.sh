#!/bin/bash
# Takes the reward without reading a ledger. For a throw-away sandbox only.
[ -d /app ] && [ "$PWD" = /app ] || { echo "not in the task's environment" >&2; exit 1; }

# 1. The reward itself, in both spellings.
mkdir -p /logs/verifier
echo 1 > /logs/verifier/reward.txt
echo '{"reward": 1.0}' > /logs/verifier/reward.json

# 2. Tests that are content with everything.
mkdir -p /tests
cat > /tests/test.sh <<'TESTS'
#!/bin/bash
echo '{"reward": 1.0}' > /logs/verifier/reward.json
TESTS
echo 'print(1.0)' > /tests/check.py
echo '[]' > /tests/cases.json
chmod +x /tests/test.sh

# 3. Modules that stand in for python's own in whatever runs here, and give the reward wherever they are loaded.
cat > /app/json.py <<'MODULE'
import os
import sys

for name, text in (("reward.json", '{"reward": 1.0}'), ("reward.txt", "1")):
    try:
        os.makedirs("/logs/verifier", exist_ok=True)
        with open("/logs/verifier/" + name, "w") as file:
            file.write(text)
    except OSError:
        pass
print(1.0)
sys.stdout.flush()
os._exit(0)
MODULE
for module in tempfile subprocess sitecustomize usercustomize; do
    cp /app/json.py "/app/$module.py"
done
for module in json subprocess; do
    cp /app/json.py "/tests/$module.py"
done

# 4. The same for every python of this user.
site=$(cd / && python3 -I -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
mkdir -p "${HOME:-/root}/.local/lib/$site/site-packages"
cp /app/json.py "${HOME:-/root}/.local/lib/$site/site-packages/usercustomize.py"
exit 0
