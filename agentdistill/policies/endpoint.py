"""A model behind a server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, a hosted API.

Every call is bought once (`agentdistill.ledger`) and comes through if it can (`policies.calling`). Token ids are what
the server says, or found again and checked (`policies.inferring`), or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, model_validator

from agentdistill.chat import Renderer
from agentdistill.errors import PolicyError, TemplateError
from agentdistill.ledger import CallLedger, Usage
from agentdistill.policies.base import Request, ScoreRequest, Scores
from agentdistill.policies.calling import Caller, ConnectionConfig, ContextFullError
from agentdistill.policies.chat_format import (
    Answer,
    first_choice,
    message_to_json,
    read_answer,
    read_completion,
    read_echo_logprobs,
    read_prompt_logprobs,
    tool_to_json,
)
from agentdistill.policies.inferring import infer_ids, load_renderer
from agentdistill.records import Completion, Message

_GLUE = 64  # tokens that a template may write around a message; a server may have a system prompt of its own besides
_Asked = TypeVar("_Asked")
_Given = TypeVar("_Given")


class EndpointConfig(ConnectionConfig):
    """One model on one server."""

    model: str
    """As the server calls it."""
    name: str = ""
    """Who this is in the records; the model's name by default."""
    api: Literal["chat", "completions"] = "chat"
    """`chat`: the server writes the prompt, anew each turn, and reads calls out of the answer. `completions`: we do,
    with `tokenizer`, and token ids alone go over the wire (vLLM): every turn stays exactly what it was."""
    max_tokens: int = Field(default=1024, gt=0)
    """Longest turn."""
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls that: OpenAI's reasoning models want the longer name."""
    temperature: float = Field(default=1.0, ge=0)
    """0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Keeps the likeliest tokens that together have this probability."""
    send_seed: bool = True
    """Whether the server takes a seed."""
    logprobs: Literal["", "raw", "processed"] = ""
    """Ask for log-probabilities: `raw` where the server gives the model's own (vLLM does), `processed` where they are
    those of the distribution sampled from (vLLM with `--logprobs-mode processed_logprobs`)."""
    token_ids: bool = False
    """Ask for token ids, as vLLM gives them (`return_token_ids`). For a student: they are trained on as they are."""
    tokenizer: Path | None = None
    """Folder with the served model's tokenizer: prompts are counted with it, and ids found again if none are given."""
    infer_ids: bool = True
    """Find ids again. Not for a teacher: its ids would be taken for the student's, which may have other ones."""
    prompt_slack: int = Field(default=0, ge=0)
    """So many tokens fewer than we count may the server read, before we say that it has cut the prompt."""
    reasoning_key: Literal["", "reasoning", "reasoning_content"] = ""
    """Under which key earlier reasoning is told to the server again; by default it is not."""
    scoring: Literal["prompt_logprobs", "echo"] = "prompt_logprobs"
    """How log-probabilities of given tokens are asked for: vLLM's way, or that of OpenAI's old completions."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of a request, `{top_k = -1}` for one."""

    @property
    def gives_ids(self) -> bool:
        """Whether answers may carry token ids, told or found again."""
        return self.token_ids or self.api == "completions" or (self.tokenizer is not None and self.infer_ids)

    @model_validator(mode="after")
    def _completions_need_a_tokenizer(self) -> EndpointConfig:
        if self.api == "completions" and self.tokenizer is None:
            raise ValueError("api = 'completions' needs the tokenizer of the served model")
        return self

    @model_validator(mode="after")
    def _logprobs_are_of_what_is_sampled_from(self) -> EndpointConfig:
        if self.logprobs == "raw" and (self.temperature, self.top_p) != (1.0, 1.0):
            raise ValueError(
                "raw log-probabilities are those sampled from at temperature 1 and top_p 1 only: "
                "start vLLM with --logprobs-mode processed_logprobs and set logprobs = 'processed'"
            )
        return self


class EndpointPolicy:
    """A policy and a scorer; a context manager.

    Args:
        config: which model, where, and how it is asked.
        ledger: where calls are written down, under a budget; by default in memory, without one. It stays open.

    Raises:
        ConfigError: the address, the key's variable or the tokenizer's folder is wrong.
        BudgetError: the ledger has a budget in dollars, and the config no price.
    """

    privileged = False

    def __init__(self, config: EndpointConfig, ledger: CallLedger | None = None) -> None:
        self.config = config
        self.name = config.name or config.model
        self.renderer: Renderer | None = load_renderer(config.tokenizer) if config.tokenizer else None
        self.caller = Caller(config, ledger)
        self.ledger = self.caller.ledger
        self.without_ids = 0
        """Answers so far whose ids the server or the tokenizer should have given, and could not."""

    def close(self) -> None:
        """Hang up."""
        self.caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One turn for each request, all of them asked for at once.

        Where one fails, the others are still waited for, so that what they cost is not lost: their answers are in the
        ledger.

        Raises:
            PolicyError: the server did not answer in time, refused, cut a prompt, or withheld an answer.
            BudgetError: the budget could be passed.
        """
        return self._all(self._turn if self.config.api == "chat" else self._continue, requests)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Log-probabilities of tokens that are given, by way of the prompt's.

        Raises:
            PolicyError: the server did not answer, or gives none.
            BudgetError: the budget could be passed.
        """
        return self._all(self._score, requests)

    def _all(self, one: Callable[[_Asked], _Given], requests: Sequence[_Asked]) -> list[_Given]:
        if len(requests) < 2:
            return [one(request) for request in requests]
        pool = ThreadPoolExecutor(min(len(requests), self.config.most_concurrency), "endpoint")
        try:
            done = [pool.submit(one, request) for request in requests]
            wait(done)
        except BaseException:
            self.caller.stop()  # somebody pressed Ctrl-C: what is in flight counts as spent, the rest is not sent
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return [each.result() for each in done]

    def _turn(self, request: Request) -> Completion:
        body = self._body(request)
        counted = self._count(request)
        turn = sum(message.role == "assistant" for message in request.messages)
        read = counted if counted is not None else _most_tokens(body)
        worst = Usage(read + self.config.prompt_slack + _GLUE, self.config.max_tokens)
        try:
            found, usage = self.caller.post("/chat/completions", body, worst, self._check, request.seed)
        except ContextFullError:
            return Completion(message=Message(role="assistant"), finish="context", model=self.name)
        answer = read_answer(found, turn)
        self._refuse_cut(counted, answer)
        context_ids, token_ids, inferred = self._ids(request, answer)
        message = answer.message
        if self.renderer and token_ids and not message.tool_calls and not message.reasoning:
            message = self.renderer.read(token_ids, turn)  # the server may not know how this model writes its calls
        logprobs = answer.logprobs if self.config.logprobs and len(answer.logprobs) == len(token_ids) else ()
        return Completion(
            message=message,
            token_ids=token_ids,
            context_ids=context_ids,
            logprobs=logprobs,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            finish=answer.finish,
            model=self.name,
            inferred=inferred,
        )

    def _continue(self, request: Request) -> Completion:
        """One turn in tokens: the prompt is the ids that were, and what is new; the answer is what was sampled."""
        assert self.renderer is not None
        new = self.renderer.extend(request.context_ids, request.covered, request.messages, request.tools)
        prompt = [*request.context_ids, *new]
        body = {"prompt": prompt, **self._sampling(request, "max_tokens"), "return_token_ids": True}
        if self.config.logprobs:
            body["logprobs"] = 1
        worst = Usage(len(prompt), self.config.max_tokens)

        def check(found: Any) -> None:
            answer = read_completion(found)
            if not answer.token_ids or answer.prompt_ids not in ((), tuple(prompt)):
                raise PolicyError(f"{self.caller.url} gives no token ids of completions: set api = 'chat'")

        try:
            found, usage = self.caller.post("/completions", body | self.config.extra, worst, check, request.seed)
        except ContextFullError:
            return Completion(message=Message(role="assistant"), finish="context", model=self.name)
        answer = read_completion(found)
        turn = sum(message.role == "assistant" for message in request.messages)
        if not answer.token_ids:  # they spelt a secret, and were left out of the ledger
            raise PolicyError(f"{self.caller.url}: the model said a secret of this machine's environment")
        return Completion(
            message=self.renderer.read(answer.token_ids, turn),
            token_ids=answer.token_ids,
            context_ids=tuple(new),
            logprobs=answer.logprobs if len(answer.logprobs) == len(answer.token_ids) else (),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            finish="stop" if answer.token_ids[-1] == self.renderer.stop_id else "length",
            model=self.name,
        )

    def _sampling(self, request: Request, max_tokens: str) -> dict[str, Any]:
        config = self.config
        sampling: dict[str, Any] = {"model": config.model, max_tokens: config.max_tokens}
        sampling |= {"temperature": config.temperature, "top_p": config.top_p}
        if config.send_seed:
            sampling["seed"] = request.seed % 2**31
        return sampling

    def _body(self, request: Request) -> dict[str, Any]:
        config = self.config
        messages = [message_to_json(message, config.reasoning_key) for message in request.messages]
        body = {"messages": messages, **self._sampling(request, config.max_tokens_key)}
        if request.tools:
            body["tools"] = [tool_to_json(spec) for spec in request.tools]
        if config.logprobs:
            body["logprobs"] = True
        if config.token_ids:
            body["return_token_ids"] = True
        return body | config.extra

    def _check(self, body: Any) -> None:
        answer = read_answer(body, 0)
        if first_choice(body).get("finish_reason") == "content_filter":
            raise PolicyError(f"{self.caller.url}: the server's filter withheld the answer")
        if self.config.logprobs and not answer.pieces and (answer.usage is None or answer.usage.output_tokens):
            raise PolicyError(f"{self.caller.url} gives no log-probabilities: take logprobs out of its settings")

    def _count(self, request: Request) -> int | None:
        """Tokens of the prompt by our own tokenizer, if there is one."""
        if self.renderer is None:
            return None
        try:
            return len(self.renderer.extend((), 0, request.messages, request.tools))
        except TemplateError:
            return None

    def _refuse_cut(self, counted: int | None, answer: Answer) -> None:
        read = len(answer.prompt_ids) or (answer.usage.input_tokens if answer.usage else None)
        if counted is not None and read is not None and read < counted - self.config.prompt_slack:
            raise PolicyError(
                f"{self.caller.url}: the server cut the prompt: {counted} tokens were sent and {read} read. Give it a "
                "larger context (vLLM --max-model-len, llama.cpp -c, Ollama num_ctx); if its template only writes less "
                "than ours, set prompt_slack"
            )

    def _ids(self, request: Request, answer: Answer) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
        """Ids it was fed since its last turn, ids it sampled, and whether those were inferred; none where unknown."""
        sealed = request.context_ids
        if answer.token_ids and answer.prompt_ids:
            if answer.prompt_ids[: len(sealed)] == sealed:
                return answer.prompt_ids[len(sealed) :], answer.token_ids, False
        elif self.renderer and self.config.infer_ids and (ids := infer_ids(self.renderer, request, answer)):
            try:
                context = tuple(self.renderer.extend(sealed, request.covered, request.messages, request.tools))
            except TemplateError:
                context = ()
            if context and answer.usage is not None and answer.usage.input_tokens == len(sealed) + len(context):
                return context, ids, True
        if self.config.token_ids or (self.renderer and self.config.infer_ids):
            self.without_ids += 1
        return (), (), False

    def _score(self, request: ScoreRequest) -> Scores:
        if not all(0 < place < len(request.ids) for place in request.wanted):
            raise ValueError("only places behind the first of the ids can be scored")
        if request.top:
            raise PolicyError(
                f"{self.caller.url}: the likeliest tokens are read from local models only, not from servers"
            )
        body: dict[str, Any] = {"model": self.config.model, "prompt": list(request.ids), "max_tokens": 1}
        body |= {"temperature": 1.0}
        if self.config.scoring == "echo":
            body |= {"echo": True, "logprobs": 1}
            read = read_echo_logprobs
        else:
            body |= {"prompt_logprobs": 0}
            read = read_prompt_logprobs
        worst = Usage(len(request.ids) + _GLUE, 1)
        try:
            found, _ = self.caller.post("/completions", body, worst, first_choice)
            logprobs = read(found, request.ids)
        except ContextFullError as error:
            raise PolicyError(str(error)) from error
        except ValueError as error:
            raise PolicyError(
                f"{self.caller.url}: no log-probabilities of given tokens: {error}. vLLM does with scoring = "
                "'prompt_logprobs', others with scoring = 'echo'; `agentdistill endpoint check` shows it"
            ) from error
        return Scores(logprobs=tuple(logprobs[place] for place in request.wanted))


def _most_tokens(body: dict[str, Any]) -> int:
    """No tokenizer makes more tokens of a text than it has bytes; and each message is framed."""
    messages = body["messages"]
    return sum(len(str(each).encode("utf-8", "replace")) for each in (*messages, body.get("tools", ""))) + _GLUE * len(
        messages
    )
