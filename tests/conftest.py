"""What all tests share: nothing is fetched, and property tests neither hurry nor differ from run to run in CI."""

import os

from hypothesis import HealthCheck, settings

# The libraries underneath look for models on a hub unless told not to.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
