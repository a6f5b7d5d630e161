"""What a server behind an endpoint can do, found out by asking it, and what to start it with where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from agentdistill.errors import PolicyError, UsageError
from agentdistill.ledger import Usage
from agentdistill.policies.base import ScoreRequest
from agentdistill.policies.calling import Caller, ConnectionConfig, ContextFullError
from agentdistill.policies.chat_format import Answer, read_answer, tool_to_json
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.records import Record, ToolSpec

CODE_WORD = "heliotrope"
TOOL = ToolSpec(
    name="look",
    description="Look at one thing and say what it is like.",
    parameters={
        "type": "object",
        "properties": {"at": {"type": "string", "description": "One thing to look at."}},
        "required": ["at"],
    },
)
_TOOLS = (
    "vLLM: --enable-auto-tool-choice --tool-call-parser NAME (hermes for Qwen 2.5 and 3); SGLang: --tool-call-parser "
    "NAME; llama-server: --jinja; Ollama: a model whose page says `tools`"
)
_CONTEXT = "vLLM: --max-model-len N; SGLang: --context-length N; llama-server: -c N; Ollama: OLLAMA_CONTEXT_LENGTH=N"
_FILLER = "The quick brown fox jumps over the lazy dog near the old stone bridge every single morning . "


class Probe(Record):
    """One thing that a server was asked to do.

    `status` is `works`, `missing` (it cannot, and much goes well without) or `failed` (it cannot, and agents need it).
    `mend` says how to start the server so that it can.
    """

    name: str
    status: Literal["works", "missing", "failed"]
    detail: str
    mend: str = ""


def check_endpoint(config: EndpointConfig, words: int = 6000) -> list[Probe]:
    """Ask a server for all that agents and trainers use, once each: some ten short calls and one long one.

    Args:
        config: where it is, which model, and whose key.
        words: length of the long prompt. Ollama silently cuts at 4,096 tokens unless told otherwise.

    Raises:
        PolicyError: it does not answer at all.
        ConfigError: the address or the key's variable is wrong.
    """
    with EndpointPolicy(config) as policy:
        return _Probing(policy, words).run()


def first_model(url: str, api_key_env: str = "") -> str:
    """The first model that a server lists.

    Raises:
        UsageError: it lists none.
    """
    with Caller(ConnectionConfig(url=url, api_key_env=api_key_env, timeout=10.0)) as caller:
        listed = caller.get("/models")
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list) or not models or not isinstance(models[0], dict) or not models[0].get("id"):
        raise UsageError(f"{url} lists no models: is it running, and does its address end in /v1? Or give --model")
    return str(models[0]["id"])


def advised_settings(probes: Sequence[Probe]) -> dict[str, object]:
    """Settings of an `EndpointConfig` that use what the server can do."""
    works = {probe.name for probe in probes if probe.status == "works"}
    settings: dict[str, object] = {}
    if "token ids" in works:
        settings["token_ids"] = True
    if "log-probabilities" in works:
        settings["logprobs"] = "raw"
    if "log-probabilities of given tokens" in works:
        detail = next(each.detail for each in probes if each.name == "log-probabilities of given tokens")
        settings["scoring"] = "echo" if "echo" in detail else "prompt_logprobs"
    return settings


class _Probing:
    def __init__(self, policy: EndpointPolicy, words: int) -> None:
        self.policy = policy
        self.words = words
        self.prompt_ids: tuple[int, ...] = ()

    def run(self) -> list[Probe]:
        first = self._ask("Say the word ready and nothing else.")
        probes = [self._answers(first), self._counts(first)]
        for probe in (
            self._one_call,
            self._parallel_calls,
            self._long_prompt,
            self._logprobs,
            self._token_ids,
            self._scores,
        ):
            probes.append(_tried(probe))
        return probes

    def _ask(self, text: str, **extra: Any) -> Answer:
        config = self.policy.config
        body = {
            "model": config.model,
            "messages": [{"role": "user", "content": text}],
            config.max_tokens_key: config.max_tokens,
            "temperature": config.temperature,
        }
        found, _ = self.policy.caller.post(
            "/chat/completions", body | config.extra | extra, Usage(len(text) + 512, config.max_tokens), _readable
        )
        return read_answer(found, 0)

    def _answers(self, first: Answer) -> Probe:
        said = first.message.content.strip() or first.message.reasoning.strip()
        return Probe(name="answers", status="works", detail=f"it said {said[:40]!r}")

    def _counts(self, first: Answer) -> Probe:
        if first.usage is None:
            detail = "no usage in its answers: every call is charged at the most it can come to"
            return Probe(name="token counts", status="missing", detail=detail)
        detail = f"{first.usage.input_tokens} in, {first.usage.output_tokens} out"
        return Probe(name="token counts", status="works", detail=detail)

    def _one_call(self) -> Probe:
        name = "one tool call"
        answer = self._ask(
            "Call the tool look, to look at the door. Do not answer yourself.", tools=[tool_to_json(TOOL)]
        )
        calls = answer.message.tool_calls
        if any(call.problem for call in calls):
            return Probe(name=name, status="failed", detail=f"unreadable: {calls[0].problem}", mend=_TOOLS)
        if calls and calls[0].name == "look" and "at" in calls[0].arguments:
            return Probe(name=name, status="works", detail=f"look({calls[0].arguments})")
        text = answer.message.content
        if "look" in text and any(sign in text for sign in ("{", "<", "[")):
            detail = "the model called it, and the server took the call for text"
            return Probe(name=name, status="failed", detail=detail, mend=_TOOLS)
        return Probe(name=name, status="failed", detail=f"no call; it said {text.strip()[:40]!r}", mend=_TOOLS)

    def _parallel_calls(self) -> Probe:
        name = "parallel tool calls"
        text = "Call the tool look twice in one turn: once to look at the door, once to look at the window."
        calls = self._ask(text, tools=[tool_to_json(TOOL)]).message.tool_calls
        if len(calls) > 1 and not any(call.problem for call in calls):
            return Probe(name=name, status="works", detail=f"{len(calls)} calls in one turn")
        mend = "a model and a parser that know parallel calls; without, an agent takes one step at a time"
        return Probe(name=name, status="missing", detail=f"{len(calls)} calls where two were asked for", mend=mend)

    def _long_prompt(self) -> Probe:
        name = "long prompt"
        sentence = len(_FILLER.split())
        filler = _FILLER * max(1, self.words // sentence)
        text = f"The code word is {CODE_WORD}.\n{filler}\nWhat is the code word? Say it and nothing else."
        try:
            answer = self._ask(text)
        except ContextFullError as error:
            detail = f"refused as too long, and not cut: {_short(error)}"
            return Probe(name=name, status="missing", detail=detail[:200], mend=_CONTEXT)
        read = answer.usage.input_tokens if answer.usage else None
        if read is not None and read < self.words // 2:
            detail = f"CUT: {self.words} words were sent, {read} tokens were read, and the server said nothing"
            return Probe(name=name, status="failed", detail=detail, mend=_CONTEXT)
        if CODE_WORD in (answer.message.content + answer.message.reasoning).lower():
            return Probe(name=name, status="works", detail=f"{read or self.words} tokens, and its first line is known")
        if read is None:
            detail = f"its first line is not known at the end of {self.words} words, and it counts no tokens"
            return Probe(name=name, status="failed", detail=detail, mend=_CONTEXT)
        detail = f"{read} tokens were read; the model did not repeat its first line (a small one may not)"
        return Probe(name=name, status="works", detail=detail)

    def _logprobs(self) -> Probe:
        name = "log-probabilities"
        answer = self._ask("Say the word steady and nothing else.", logprobs=True)
        if answer.pieces:
            return Probe(name=name, status="works", detail=f"of {len(answer.pieces)} sampled tokens")
        mend = "vLLM, SGLang and llama-server give them; `transformers serve` and many hosted models do not"
        return Probe(name=name, status="missing", detail="none in its answers", mend=mend)

    def _token_ids(self) -> Probe:
        name = "token ids"
        answer = self._ask("Say the word go and nothing else.", return_token_ids=True)
        self.prompt_ids = answer.prompt_ids
        if not answer.token_ids or not answer.prompt_ids:
            mend = "a recent vLLM gives them; elsewhere set `tokenizer`, and the run is marked `inferred`"
            return Probe(name=name, status="missing", detail="none in its answers", mend=mend)
        if answer.usage and answer.usage.input_tokens != len(answer.prompt_ids):
            detail = f"{len(answer.prompt_ids)} ids of a prompt of {answer.usage.input_tokens} tokens"
            return Probe(name=name, status="missing", detail=detail)
        detail = f"{len(answer.prompt_ids)} of the prompt, {len(answer.token_ids)} of the answer"
        return Probe(name=name, status="works", detail=detail)

    def _scores(self) -> Probe:
        name = "log-probabilities of given tokens"
        ids = self.prompt_ids[:32] if len(self.prompt_ids) > 1 else (1, 2, 3, 4)
        problem = ""
        for scoring in ("prompt_logprobs", "echo"):
            config = self.policy.config.model_copy(update={"scoring": scoring})
            try:
                with EndpointPolicy(config) as policy:
                    (scores,) = policy.score([ScoreRequest(ids, tuple(range(1, len(ids))))])
            except PolicyError as error:
                problem = problem or _short(error)
            else:
                return Probe(name=name, status="works", detail=f"of {len(scores.logprobs)} tokens, by {scoring}")
        mend = "vLLM gives them (/v1/completions with prompt_logprobs); without, no teacher can score tokens here"
        return Probe(name=name, status="missing", detail=problem, mend=mend)


def _readable(body: Any) -> None:
    read_answer(body, 0)


def _tried(probe: Callable[[], Probe]) -> Probe:
    """What a probe finds; a refusal of the server is a finding, too."""
    known = {
        "_one_call": ("one tool call", "failed", _TOOLS),
        "_parallel_calls": ("parallel tool calls", "missing", _TOOLS),
        "_long_prompt": ("long prompt", "failed", _CONTEXT),
        "_logprobs": ("log-probabilities", "missing", "leave `logprobs` unset with this server"),
        "_token_ids": ("token ids", "missing", "leave `token_ids` unset with this server; set `tokenizer` instead"),
    }
    try:
        return probe()
    except (PolicyError, ContextFullError) as error:
        name, status, mend = known[probe.__name__]
        return Probe.model_validate({"name": name, "status": status, "detail": _short(error), "mend": mend})


def _short(error: Exception) -> str:
    """What the server said, without its address, which the reader gave, and without the advice to check it."""
    told = str(error).partition(": run `agentdistill")[0]
    return (told.partition("/v1: ")[2] or told)[:200]
