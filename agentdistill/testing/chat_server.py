"""A chat server on loopback that does what it is told: canned answers or a real model's, and every fault on demand.

    with ChatServer(["hello"], faults={"rate_limit": 0.1, "cut": 0.05}, seed=3) as server:
        policy = EndpointPolicy(EndpointConfig(url=server.url, model="any"))

It speaks OpenAI's chat completions with vLLM's additions (token ids, log-probabilities of prompts). Which call meets
which fault depends on the seed, on what is asked and on how often it was asked before, never on the order in which
threads arrive. It counts what it served, so that a client's books can be compared.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agentdistill.policies.base import Policy, Request
from agentdistill.policies.chat_format import message_to_json
from agentdistill.records import Completion, derive_seed
from agentdistill.testing.chat_http import Handler, Http
from agentdistill.testing.chat_replies import (
    PASSING,
    PIECE,
    Fault,
    Reply,
    Script,
    Served,
    as_completion,
    call_text,
    read_request,
    word_id,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["PASSING", "ChatServer", "Fault", "Served"]


class ChatServer:
    """A context manager; `url` is its base address, `served` its books, `seen` all requests as they came.

    Args:
        script: answers in the order in which different requests come (the same request gets the same answer again), a
            function of the request, or a policy: `LocalPolicy` serves a real model's ids and log-probabilities.
        model: what the served model is called.
        tokenizer: of that policy, to spell its tokens; without one, words are tokens.
        key: refuse requests without it.
        latency: seconds for each answer.
        faults: which fault strikes how often, as shares of all calls.
        seed: decides which calls they strike.
        retry_after: seconds that `rate_limit` and `overloaded` ask for.
        capacity: so many calls at once; more are refused with 429.
        context: tokens of prompt that fit; longer ones are refused, or cut at the front where `cuts` is true.
        gives: what it gives if asked: `tools`, `token_ids`, `logprobs`, `prompt_logprobs`.
        strict: whether it refuses what it is asked for and does not give, as `transformers serve` does.
        complete: token ids of a prompt and a request's JSON → sampled ids and their log-probabilities, for completions.
        score: log-probability of each id given those before it (the first is not looked at), for prompts of ids.
    """

    def __init__(
        self,
        script: Script,
        *,
        model: str = "fake",
        tokenizer: PreTrainedTokenizerBase | None = None,
        key: str = "",
        latency: float = 0.0,
        faults: Mapping[Fault, float] | None = None,
        seed: int = 0,
        retry_after: float = 0.0,
        capacity: int | None = None,
        context: int | None = None,
        cuts: bool = False,
        gives: Sequence[str] = ("tools", "token_ids", "logprobs", "prompt_logprobs"),
        strict: bool = False,
        complete: Callable[[Sequence[int], dict[str, Any]], tuple[Sequence[int], Sequence[float]]] | None = None,
        score: Callable[[Sequence[int]], Sequence[float]] | None = None,
    ) -> None:
        self.script = script
        self.model = model
        self.tokenizer = tokenizer
        self.key = key
        self.latency = latency
        self.faults = dict(faults or {})
        self.seed = seed
        self.retry_after = retry_after
        self.capacity = capacity
        self.context = context
        self.cuts = cuts
        self.gives = frozenset(gives)
        self.strict = strict
        self.complete = complete
        self.score = score
        self.served = Served()
        self.seen: list[dict[str, Any]] = []
        self.guard = threading.Lock()
        self.acting = threading.Lock()
        self.stopping = threading.Event()
        self._tries: Counter[str] = Counter()
        self._places: dict[str, int] = {}
        self._busy = 0
        self._http = Http(("127.0.0.1", 0), Handler)
        self._http.chat = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The base address, for a client's settings."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and let go of whoever hangs."""
        self.stopping.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    # ---- what a handler asks -------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """One more call in flight; False if that is too many."""
        with self.guard:
            self._busy += 1
            self.served.peak = max(self.served.peak, self._busy)
            return self.capacity is None or self._busy <= self.capacity

    def leave(self) -> None:
        """One call fewer."""
        with self.guard:
            self._busy -= 1

    def fault(self, request: str) -> str:
        """The fault that strikes this try of a request, or an empty string."""
        with self.guard:
            self._tries[request] += 1
            luck = random.Random(derive_seed("fault", self.seed, request, self._tries[request])).random()
            for name, share in self.faults.items():
                if luck < share:
                    self.served.faults[name] += 1
                    return name
                luck -= share
        return ""

    def reply(self, body: dict[str, Any], request: str) -> Reply:
        """What this request is answered with."""
        asked = read_request(body, with_tools="tools" in self.gives)
        if isinstance(self.script, Policy):
            with self.acting:
                (completion,) = self.script.act([asked])
        elif callable(self.script):
            completion = as_completion(self.script(asked))
        else:
            with self.guard:
                place = self._places.setdefault(request, len(self._places))
            completion = as_completion(self.script[place % len(self.script)])
        return self._tokens(asked, completion)

    def _tokens(self, asked: Request, said: Completion) -> Reply:
        prompt, ids, logprobs = list(said.context_ids), list(said.token_ids), list(said.logprobs)
        if self.tokenizer is not None and ids:
            from agentdistill.policies.inferring import byte_speller

            pieces = list(map(byte_speller(self.tokenizer), ids))
        else:
            text = said.message.content + "".join(call_text(call) for call in said.message.tool_calls)
            pieces = [each.encode() for each in PIECE.findall(text)]
            ids = [word_id(each) for each in pieces]
            logprobs = [-0.5] * len(ids)
            told = "".join(json.dumps(message_to_json(message)) for message in asked.messages)
            told += "".join(spec.model_dump_json() for spec in asked.tools)
            prompt = [word_id(each.encode()) for each in PIECE.findall(told)]
        finish = "tool_calls" if said.message.tool_calls and said.finish == "stop" else said.finish
        return Reply(said.message, finish, prompt, ids, pieces, logprobs)
