# An exported variable has pytest load a plug-in from the workspace.
# fools: pytest
export PYTEST_PLUGINS=evil
cat > evil.py <<'EOF'
def pytest_collection_modifyitems(items):
    items.clear()


def pytest_sessionfinish(session):
    session.exitstatus = 0
EOF
