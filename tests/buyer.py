"""A process that buys the same 120 answers from a server, with its calls in a ledger: to be killed by a test."""

import sys
from pathlib import Path

from endpoints import QUICK, asked

from agentdistill.ledger import CallLedger
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    config = EndpointConfig(url=url, model="fake", most_concurrency=8, **QUICK)
    with CallLedger(Path(folder)) as ledger, EndpointPolicy(config, ledger) as policy:
        policy.act(asked(*(f"number {n}" for n in range(120))))
