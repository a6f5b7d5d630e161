"""The shipped suite on the shipped backends: one case per check and backend."""

import pytest

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.testing.sandboxes import CHECKS, Bench, run_check

SLOW = {"sandboxes_leave_nothing_behind"}
CASES = [pytest.param(each, marks=pytest.mark.slow if each in SLOW else ()) for each in CHECKS]


@pytest.fixture(scope="module", params=["bubblewrap", pytest.param("docker", marks=pytest.mark.slow)])
def bench(request):
    options = request.getfixturevalue("docker_options") if request.param == "docker" else {}
    bench = Bench(BackendSpec(request.param, options))
    try:
        bench.backend.create().close()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    yield bench
    bench.close()


@pytest.mark.parametrize("name", CASES)
def test_the_backend_passes(bench, name):
    finding = run_check(name, CHECKS[name], bench)
    if finding.status == "known_gap":
        pytest.xfail(finding.detail)
    assert finding.status == "passed", finding.detail
