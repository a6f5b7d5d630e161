"""Calls over HTTP that are paid once and come through: ledger, pace, retries within a deadline, errors told apart."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from weakref import WeakSet

import httpx
from pydantic import BaseModel, ConfigDict, Field

from agentdistill.errors import ConfigError, PolicyError
from agentdistill.ledger import CallLedger, Price, Usage
from agentdistill.policies.chat_format import FormatError, is_context_overflow, read_usage
from agentdistill.policies.pacing import Breaker, Throttle, backoff, retry_after
from agentdistill.records import digest_of
from agentdistill.redaction import guard, redact

_BIGGEST = 512 * 2**20  # bytes of an answer; log-probabilities of a long prompt come to some tens of megabytes
_BUSY = (429, 503, 529)
_RETRIED = (408, 409, 425, 429)
_AUTH = (401, 403)


class ConnectionConfig(BaseModel):
    """Where a server is, and how patiently it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """The base address, as in `http://localhost:8000/v1`."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; the key itself stands nowhere."""
    deadline: float = Field(default=900.0, gt=0)
    """Seconds for one request with all its retries, from when it is first sent."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds for one try."""
    backoff: float = Field(default=1.0, gt=0)
    """Seconds that the first wait between two tries can take at most; doubled each time."""
    longest_backoff: float = Field(default=60.0, gt=0)
    """Seconds between two tries at most, unless the server asks for more."""
    concurrency: int = Field(default=8, gt=0)
    """Requests in flight at first: more as they succeed, half as many when the server is overloaded."""
    most_concurrency: int = Field(default=64, gt=0)
    """Requests in flight at most."""
    breaker_failures: int = Field(default=20, gt=0)
    """After so many failed tries in a row the server is given up, and tried again once in `breaker_pause`."""
    breaker_refusals: int = Field(default=3, gt=0)
    """After so many refusals of the key nothing is sent any more."""
    breaker_pause: float = Field(default=60.0, gt=0)
    """Seconds."""
    price: Price | None = None
    """Dollars per million tokens; a budget in dollars needs it."""


class ContextFullError(Exception):
    """The conversation is longer than the server's model can hold."""


@dataclass(frozen=True)
class _Failure:
    problem: str
    status: int = 0
    wait: float = 0.0
    billed: bool = False


class Caller:
    """Sends requests to one server. From as many threads as one likes; a context manager.

    Raises:
        ConfigError: the address makes no sense, or the key is not in the environment.
        BudgetError: the ledger has a budget in dollars, and no price is configured.
    """

    def __init__(self, config: ConnectionConfig, ledger: CallLedger | None = None) -> None:
        self.config = config
        self.ledger = ledger or CallLedger()
        self.url = _base(config.url)
        if config.price is None:
            self.ledger.refuse_unpriced(config.url)
        self.throttle = Throttle(config.concurrency, config.most_concurrency)
        self.breaker = Breaker(config.breaker_failures, config.breaker_refusals, config.breaker_pause)
        self.replayed = 0
        self._stopped = threading.Event()
        self._connections: WeakSet[socket.socket] = WeakSet()
        limits = httpx.Limits(
            max_connections=config.most_concurrency, max_keepalive_connections=config.most_concurrency
        )
        loopback = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        # No proxy lies between a machine and itself. A redirect could lead the key to somebody else.
        self._client = httpx.Client(
            headers=_headers(config), limits=limits, follow_redirects=False, trust_env=not loopback
        )

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def stop(self) -> None:
        """Send nothing more, from any thread, and hang up on what is in flight."""
        self._stopped.set()
        # Closing a connection does not wake a thread that waits for its bytes; shutting it down does.
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def post(
        self, path: str, body: dict[str, Any], worst: Usage, check: Callable[[Any], object], seed: int = 0
    ) -> tuple[Any, Usage]:
        """Send a request until it is answered, or take the answer it had before.

        Args:
            path: below the base address.
            body: JSON.
            worst: the most tokens it can come to.
            check: raises `FormatError` for an answer that is none: it is then asked again.
            seed: tells apart requests that are to be answered anew though they look the same.

        Returns:
            The answer's JSON, and what it came to (the worst, if the server does not say).

        Raises:
            PolicyError: the server did not answer in time, or refused.
            ContextFullError: the server's model cannot hold so much.
            BudgetError: the budget could be passed.
        """
        request = digest_of([path, body, seed])
        with self.ledger.asking(request) as known:
            if known is not None:
                self.replayed += 1
            text = known if known is not None else self._buy(request, path, body, worst, check)
        answer = json.loads(text)
        return answer, read_usage(answer) or worst

    def get(self, path: str) -> Any:
        """What the server says at an address that costs nothing, `/models` for one; `None` if it says no JSON."""
        try:
            return json.loads(self._client.get(self.url + path, timeout=min(30.0, self.config.timeout)).content)
        except (httpx.HTTPError, ValueError):
            return None

    def _buy(self, request: str, path: str, body: dict[str, Any], worst: Usage, check: Callable[[Any], object]) -> str:
        sent = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        began: float | None = None
        end = float("inf")
        last, attempt = "no place among the calls in flight", 0
        while not self._stopped.is_set():
            self.breaker.check()
            with self.throttle.slot(end) as got:
                now = time.monotonic()
                if not got or now >= end or self._stopped.is_set():
                    break
                if began is None:
                    began, end = now, now + self.config.deadline
                call = self.ledger.reserve(request, str(body.get("model", "")), worst, self.config.price)
                now = time.monotonic()
                try:
                    tried = self._try(path, sent, min(now + self.config.timeout, end), check)
                except BaseException as error:
                    self.ledger.fail(call, type(error).__name__, time.monotonic() - now, billed=True)
                    raise
                took = time.monotonic() - now
                if isinstance(tried, str):
                    self.breaker.succeeded()
                    self.throttle.succeeded()
                    usage = read_usage(json.loads(tried))
                    return self.ledger.settle(call, tried, usage, took, self.config.price)
                self.ledger.fail(call, tried.problem, took, billed=tried.billed)
                if tried.status in _BUSY:
                    self.throttle.overloaded(now, tried.wait)
            last = self._judge(tried)
            wait = max(tried.wait, backoff(attempt, self.config.backoff, self.config.longest_backoff))
            attempt += 1
            if time.monotonic() + wait >= end:
                break
            self._stopped.wait(wait)
        raise PolicyError(
            f"{last} (given up after {attempt} tries within {self.config.deadline:g} s; "
            "what was answered is kept, and the same command goes on from there)"
        )

    def _judge(self, failure: _Failure) -> str:
        """One line about a failure that may pass; raises for one that does not."""
        told = f"{self.url}: {failure.problem}"
        status = failure.status
        if status in _AUTH:
            variable = self.config.api_key_env
            mend = f"is the key in {variable} right?" if variable else "set api_key_env to the variable with the key"
            self.breaker.refused(f"{told}: {mend}")
            raise PolicyError(f"{told}: {mend}")
        if is_context_overflow(status, failure.problem):
            raise ContextFullError(told)
        if status == 404:
            raise PolicyError(f"{told}: is the address right (it mostly ends in /v1), and the model's name?")
        if 300 <= status < 500 and status not in _RETRIED:
            raise PolicyError(f"{told}: run `agentdistill endpoint check {self.url}` to see what the server takes")
        if status != 429:
            self.breaker.failed(told)
        return told

    def _try(self, path: str, sent: bytes, end: float, check: Callable[[Any], object]) -> str | _Failure:
        """One try: the answer's JSON as text, or what went wrong."""
        patience = max(0.01, end - time.monotonic())
        timeout = httpx.Timeout(patience, connect=min(patience, 30.0))
        try:
            with self._client.stream(
                "POST", self.url + path, content=sent, timeout=timeout, extensions={"trace": self._trace}
            ) as response:
                found = bytearray()
                for part in response.iter_bytes():
                    found += part
                    if time.monotonic() > end or len(found) > _BIGGEST:
                        return _Failure("the answer did not end", billed=response.status_code == 200)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Failure(f"no connection ({_told(error)})")
        except httpx.TimeoutException:
            return _Failure(f"no answer within {patience:.2g} s", billed=True)
        except (httpx.HTTPError, httpx.StreamError) as error:
            return _Failure(f"the connection broke ({_told(error)})", billed=True)
        text = found.decode("utf-8", "replace")
        status = response.status_code
        if status == 200:
            try:
                answer = json.loads(text)
                if isinstance(answer, dict) and "choices" not in answer and answer.get("error"):
                    return _Failure(f"HTTP 200 with an error: {_message(text)}", _code(answer), billed=True)
                check(answer)
            except FormatError as error:
                return _Failure(f"HTTP 200, but {error}", billed=True)
            except (ValueError, RecursionError):
                return _Failure("HTTP 200, but the answer is no JSON", billed=True)
            return text
        wait = retry_after(response.headers.get("retry-after"))
        return _Failure(f"HTTP {status}: {_message(text)}", status, wait)

    def _trace(self, event: str, about: Mapping[str, Any]) -> None:
        """Remember each connection as it is made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._connections.add(about["return_value"].get_extra_info("socket"))


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine, parts = False, urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine or parts.query:
        raise ConfigError(f"{redact(url)!r} is no address of a server: write it as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ConfigError("no key belongs into a url: name its environment variable in api_key_env")
    return url.rstrip("/") if parts.path.strip("/") else url.rstrip("/") + "/v1"


def _headers(config: ConnectionConfig) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "agentdistill"}
    if config.api_key_env:
        guard(config.api_key_env)
        key = os.environ.get(config.api_key_env, "").strip()
        if not key:
            raise ConfigError(f"{config.url} needs the key in {config.api_key_env}, and that is not set: export it")
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"the key in {config.api_key_env} holds characters that no key has: export it again")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _message(text: str) -> str:
    """The message of an error's body, in one line, without secrets."""
    try:
        found = json.loads(text)
        while isinstance(found, dict):
            code = str(found.get("code") or found.get("type") or "")
            inner = found.get("error") or found.get("message") or found.get("detail") or ""
            found = inner if isinstance(inner, dict) else f"{inner} ({code})" if code else inner
        text = str(found)
    except (ValueError, RecursionError):
        pass
    return redact(" ".join(text.split()))[:300] or "no reason given"


def _code(answer: dict[str, Any]) -> int:
    error = answer["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 100 <= code < 600 else 0


def _told(error: Exception) -> str:
    return redact(" ".join(str(error).split()))[:200] or type(error).__name__
