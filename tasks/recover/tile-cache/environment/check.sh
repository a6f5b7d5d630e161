#!/bin/bash
# What the build server runs.
exec python3 -B -m unittest "$@"
