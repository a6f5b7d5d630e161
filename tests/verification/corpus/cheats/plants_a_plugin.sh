# An installed package, as far as its metadata say, brings a plug-in that pytest loads by itself.
# fools: pytest
mkdir evil.dist-info
printf 'Metadata-Version: 2.1\nName: evil\nVersion: 1\n' > evil.dist-info/METADATA
printf '[pytest11]\nevil = evil\n' > evil.dist-info/entry_points.txt
cat > evil.py <<'EOF'
def pytest_collection_modifyitems(items):
    items.clear()


def pytest_sessionfinish(session):
    session.exitstatus = 0
EOF
