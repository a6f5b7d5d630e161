"""A transformers causal language model as a policy and a scorer.

The loop that samples is our own (`continuous`, `slots`, `prefixes`), and not the continuous batching that transformers
has (`generate_batch`, version 5.23), by measurement: `tests/bench/bench_local_policy.py`, 16 episodes x 10 turns with
tool results between them, contexts up to 1,468 tokens, a Llama of 0.8 million parameters, float32, one thread of a busy
CPU, medians of three rounds, the same ids from all three:

===========================================================  ===================
this policy                                                  724 tokens a second
`generate_batch`, its manager and shared blocks kept         350 tokens a second
one batched `generate` a turn, which feeds everything again  223 tokens a second
===========================================================  ===================

Three more reasons: its luck belongs to the run and not to the request, so that the company in a batch changes what is
sampled; it shares only whole blocks of a prefix; and it serves from a thread with a pool of blocks of fixed size, where
we want a bound on bytes and an error that says which request it was. On CUDA with flash attention it may well be
faster than we are: not measured.
"""

from agentdistill.policies.local.policy import LocalPolicy
from agentdistill.policies.local.pretrained import Checkpoint
from agentdistill.policies.local.sampling import Sampling

__all__ = ["Checkpoint", "LocalPolicy", "Sampling"]
