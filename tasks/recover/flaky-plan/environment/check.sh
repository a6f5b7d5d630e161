#!/bin/bash
# The gate before a release, as the build server runs it: every run is a fresh one, as in production.
export PYTHONHASHSEED=random
exec python3 -B -m unittest "$@"
