"""What runs inside a sandbox: standard library only, nothing of `agentdistill`, on any CPython from 3.9 on."""
