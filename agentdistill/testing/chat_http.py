"""The HTTP side of the fake chat server: reads requests, lets faults strike, sends answers whole or broken."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from agentdistill.records import digest_of
from agentdistill.testing.chat_replies import OPTIONS, STATUS, Reply, chat_json, front_cut

if TYPE_CHECKING:
    from agentdistill.testing.chat_server import ChatServer


class Http(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    chat: ChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Http
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """The list of models."""
        if self.path.rstrip("/").endswith("/models"):
            self._send(200, {"object": "list", "data": [{"id": self.server.chat.model, "object": "model"}]})
        else:
            self._refuse(404, "no such path")

    def do_POST(self) -> None:
        """A chat completion, or a completion."""
        chat = self.server.chat
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        room = chat.enter()
        try:
            if chat.key and self.headers.get("Authorization") != f"Bearer {chat.key}":
                self._refuse(401, f"Incorrect API key provided: {self.headers.get('Authorization')}")
                return
            body = json.loads(raw)
            with chat.guard:
                chat.seen.append(body)
            if not room:
                with chat.guard:
                    chat.served.faults["capacity"] += 1
                self._refuse(429, "too many requests at once", chat.retry_after)
                return
            request = digest_of([self.path, body])
            fault = chat.fault(request)
            if fault in STATUS:
                pause = chat.retry_after if fault in ("rate_limit", "overloaded") else None
                self._refuse(STATUS[fault], f"the fault {fault} was asked for", pause)
            elif fault == "reset":
                linger = struct.pack("ii", 1, 0)  # closing sends a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
            elif self.path.endswith("/chat/completions"):
                self._chat(body, request, fault)
            elif self.path.endswith("/completions"):
                self._completions(body, request, fault)
            else:
                self._refuse(404, "no such path")
        finally:
            chat.leave()

    def _chat(self, body: dict[str, Any], request: str, fault: str) -> None:
        chat = self.server.chat
        unknown = [key for key, what in OPTIONS.items() if body.get(key) and what not in chat.gives]
        if chat.strict and unknown:
            self._refuse(422, f"Unexpected fields in the request: {unknown}")
            return
        reply = chat.reply(body, request)
        read, context = len(reply.prompt_ids), chat.context
        if reply.finish == "context":
            self._refuse(400, "the prompt is longer than this model's maximum context length")
            return
        cut = fault == "truncated_prompt"
        if context is not None and read > context:
            if not chat.cuts:
                self._refuse(400, f"This model's maximum context length is {context} tokens, you sent {read}")
                return
            cut = True
        if cut:
            keep = context or read // 2
            reply = chat.reply(front_cut(body, keep / read), request)
            reply = Reply(**{**vars(reply), "prompt_ids": reply.prompt_ids[-keep:]})
        if chat.stopping.wait(chat.latency):
            return
        told = chat_json(chat.model, chat.gives, body, reply, fault)
        tokens = len(reply.prompt_ids), len(reply.token_ids)
        self._deliver(told, request, fault, tokens)

    def _completions(self, body: dict[str, Any], request: str, fault: str) -> None:
        chat = self.server.chat
        ids = body.get("prompt")
        if not isinstance(ids, list):
            self._refuse(400, "this server takes prompts of token ids only")
            return
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "length", "logprobs": None}
        if chat.score is not None and "prompt_logprobs" in chat.gives:
            scores = [float(each) for each in chat.score(ids)]
            if body.get("prompt_logprobs") is not None:
                entries = [
                    {str(i): {"logprob": s, "rank": 1, "decoded_token": ""}} for i, s in zip(ids, scores, strict=True)
                ]
                choice["prompt_logprobs"] = [None, *entries[1:]]
            if body.get("echo"):
                given: list[float | None] = [None, *scores[1:], -1.0]
                choice["logprobs"] = {"token_logprobs": given, "tokens": [""] * len(given)}
        written = 1
        if chat.context is not None and len(ids) > chat.context:
            self._refuse(400, f"This model's maximum context length is {chat.context} tokens, you sent {len(ids)}")
            return
        if chat.complete is not None and not (body.get("echo") or "prompt_logprobs" in body):
            with chat.acting:
                sampled, logprobs = chat.complete(ids, body)
            written = len(sampled)
            if body.get("return_token_ids") and "token_ids" in chat.gives:
                choice |= {"token_ids": list(sampled), "prompt_token_ids": list(ids)}
            if body.get("logprobs") is not None and "logprobs" in chat.gives:
                choice["logprobs"] = {"token_logprobs": list(logprobs), "tokens": [""] * written}
        usage = {"prompt_tokens": len(ids), "completion_tokens": written, "total_tokens": len(ids) + written}
        told = {"id": "cmpl-0", "object": "text_completion", "model": chat.model, "choices": [choice], "usage": usage}
        self._deliver(told, request, fault, (len(ids), written))

    def _deliver(self, told: dict[str, Any], request: str, fault: str, tokens: tuple[int, int]) -> None:
        chat = self.server.chat
        lost = fault in ("hang", "cut", "garbage", "empty", "error_in_200")
        with chat.guard:
            if lost:
                chat.served.lost += 1
                chat.served.lost_tokens += sum(tokens)
            else:
                chat.served.answers += 1
                chat.served.input_tokens += tokens[0]
                chat.served.output_tokens += tokens[1]
                chat.served.requests[request] += 1
        if fault == "hang":
            chat.stopping.wait()
            self.close_connection = True
        elif fault == "cut":
            whole = json.dumps(told).encode()
            self._head(200, len(whole))
            self.wfile.write(whole[: len(whole) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif fault == "garbage":
            self._head(200, 24)
            self.wfile.write(b"<html>Bad Gateway</html>")
        elif fault == "empty":
            self._send(200, {"object": "chat.completion", "choices": []})
        elif fault == "error_in_200":
            self._send(200, {"error": {"message": "the upstream server failed", "code": 502}})
        else:
            self._send(200, told)

    def _refuse(self, status: int, message: str, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self._send(status, {"error": {"message": message, "type": "fake", "code": status}}, headers)

    def _send(self, status: int, told: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        whole = json.dumps(told).encode()
        self._head(status, len(whole), headers)
        self.wfile.write(whole)

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status, "fake")
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(length),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
