#!/bin/bash
# Finds the standard module past the folder for one file. Everybody else still gets the folder.
set -e
cat > grades/real.py <<'PYTHON'
"""The standard module, past the folder that has its name."""

import importlib.util
import os
import sysconfig

_spec = importlib.util.spec_from_file_location(
    "_statistics_of_python", os.path.join(sysconfig.get_paths()["stdlib"], "statistics.py")
)
statistics = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(statistics)
PYTHON
sed -i 's/^import statistics$/from grades.real import statistics/' grades/figures.py
python3 -m unittest
