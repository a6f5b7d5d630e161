"""The forms in which models write tool calls, each with a small reader; which one a model uses is proved elsewhere.

A reader takes the text of one assistant turn, the stop token and a thought before it taken away, and never raises:
a call that cannot be read becomes a `Call` with a `problem`.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue

from agentdistill.chat.values import Call, Schemas, call_of, call_with, problem_of, read_json, storable, typed

_UNREADABLE = (ValueError, RecursionError)
_LONGEST = 200_000  # characters that are parsed as Python


@dataclass(frozen=True)
class Said:
    """What a turn's text says: the answer, the calls, and the thought where the form frames that too."""

    content: str
    calls: tuple[Call, ...] = ()
    reasoning: str = ""


Format = Callable[[str, Schemas], Said]
BodyReader = Callable[[str, Schemas], list[Call]]


def _framed(opening: str, closing: str, read: BodyReader, around: str = "") -> Format:
    """Calls between two marks; `around` is a pattern of marks that stand around all calls and mean nothing."""
    pattern = re.compile(f"{re.escape(opening)}(.*?)({re.escape(closing)}|\\Z)", re.DOTALL)

    def find(text: str, schemas: Schemas) -> Said:
        calls: list[Call] = []
        for found in pattern.finditer(text):
            if not found.group(2):
                calls.append(Call(problem=f"the tool call is not closed with {closing}"))
            else:
                calls += read(found.group(1), schemas)
        rest = pattern.sub("", text)
        return Said(re.sub(around, "", rest) if around else rest, tuple(calls))

    return find


def _json_body(body: str, schemas: Schemas) -> list[Call]:
    """One call as a JSON object, or several as an array of them."""
    try:
        value = read_json(body)
    except _UNREADABLE as error:
        return [problem_of(error)]
    return [call_of(each) for each in value] if isinstance(value, list) and value else [call_of(value)]


_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


def _function_body(body: str, schemas: Schemas) -> list[Call]:
    """``<function=name><parameter=key>value</parameter>...</function>``, as Qwen3-Coder and Nemotron have it."""
    found = _FUNCTION.fullmatch(body)
    if not found:
        return [Call(problem="a tool call is <function=name><parameter=key>value</parameter></function>")]
    return [_tagged_call(found.group(1).strip(), found.group(2), _PARAMETER, schemas)]


_GLM_NAME = re.compile(r"\s*([^\s<]+)\s*")
_ARGUMENT = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


def _glm_body(body: str, schemas: Schemas) -> list[Call]:
    """``name<arg_key>key</arg_key><arg_value>value</arg_value>...``, as GLM has it."""
    found = _GLM_NAME.match(body)
    if not found:
        return [Call(problem="a tool call is name<arg_key>key</arg_key><arg_value>value</arg_value>")]
    return [_tagged_call(found.group(1), body[found.end() :], _ARGUMENT, schemas)]


def _tagged_call(name: str, body: str, pattern: re.Pattern[str], schemas: Schemas) -> Call:
    """A call whose arguments are tags: what stands between two of them must be nothing."""
    if pattern.sub("", body).strip():
        return Call(problem=f"the arguments of {name[:40]} are not closed, or something stands between them")
    known = schemas.get(name, {})
    try:
        arguments = {key.strip(): typed(value, known.get(key.strip())) for key, value in pattern.findall(body)}
        return call_with(name, storable(arguments))
    except _UNREADABLE as error:
        return problem_of(error)


_DEEPSEEK = re.compile(
    r"(?:\w+<｜tool▁sep｜>(?P<old>[^\n]+)\n```json\n(?P<fenced>.*)\n```|(?P<new>.+?)<｜tool▁sep｜>(?P<bare>.*))\s*",
    re.DOTALL,
)


def _deepseek_body(body: str, schemas: Schemas) -> list[Call]:
    """``function<｜tool▁sep｜>name`` and fenced JSON (V3), or ``name<｜tool▁sep｜>{...}`` (V3.1)."""
    found = _DEEPSEEK.fullmatch(body)
    if not found:
        return [Call(problem="a tool call is name<｜tool▁sep｜>{...}")]
    return [_named_json(found["old"] or found["new"], found["fenced"] if found["old"] else found["bare"])]


def _kimi_body(body: str, schemas: Schemas) -> list[Call]:
    """``functions.name:0<|tool_call_argument_begin|>{...}``."""
    head, _, arguments = body.partition("<|tool_call_argument_begin|>")
    return [_named_json(re.sub(r":\d+$", "", head.strip()).removeprefix("functions."), arguments)]


def _named_json(name: str, arguments: str) -> Call:
    """A call whose name stood outside its JSON arguments."""
    if not name.strip():
        return Call(problem="the tool call has no name")
    try:
        return call_with(name.strip(), read_json(arguments))
    except _UNREADABLE as error:
        return problem_of(error)


_GEMMA = re.compile(r"\s*call:([\w.-]+)\s*(\{.*\})\s*", re.DOTALL)
_BARE_KEY = re.compile(r"([{,]\s*)([^\s{}\[\],:\"]+)\s*:")


def _gemma_body(body: str, schemas: Schemas) -> list[Call]:
    """``call:name{key:value}`` with strings between ``<|"|>``, as Gemma 4 has it."""
    found = _GEMMA.fullmatch(body)
    if not found:
        return [Call(problem="a tool call is call:name{key:value}")]
    pieces = found.group(2).split('<|"|>')
    pieces = [
        json.dumps(piece) if index % 2 else _BARE_KEY.sub(r'\1"\2":', piece) for index, piece in enumerate(pieces)
    ]
    return [_named_json(found.group(1), "".join(pieces))]


def _python_body(body: str, schemas: Schemas) -> list[Call]:
    """``[name(key=value), ...]`` in Python's words, or JSON's for true, false and null."""
    try:
        if len(body) > _LONGEST:
            raise ValueError("too long")
        tree = _parse(body.strip())
        calls = tree.elts if isinstance(tree, ast.List) else [tree]
        return [_python_call(each) for each in calls] or [Call(problem="there is no call in the list of calls")]
    except (*_UNREADABLE, SyntaxError, MemoryError, TypeError) as error:
        return [problem_of(error, "valid as [name(key=value)]")]


def _parse(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of escapes that Python does not know
        try:
            return ast.parse(text, mode="eval").body
        except SyntaxError:  # models break lines inside of quotes, and so do the templates they learnt from
            return ast.parse(text.replace("\n", "\\n"), mode="eval").body


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args or not isinstance(node.func, ast.Name | ast.Attribute):
        return Call(problem="a tool call is name(key=value)")
    arguments: dict[str, JsonValue] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            return Call(problem="a tool call is name(key=value)")
        arguments[keyword.arg] = storable(ast.literal_eval(_Constants().visit(keyword.value)))
    return call_with(ast.unparse(node.func), arguments)


class _Constants(ast.NodeTransformer):
    """JSON's words for Python's constants."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        words = {"true": True, "false": False, "null": None}
        return ast.Constant(words[node.id]) if node.id in words else node


def _bare_json(text: str, schemas: Schemas) -> Said:
    """Llama 3: the whole turn is JSON objects, one behind the other, perhaps behind ``<|python_tag|>``."""
    body = text.strip()
    tagged = body.startswith("<|python_tag|>")
    body = body.removeprefix("<|python_tag|>").strip()
    if not (tagged or re.match(r'\{\s*"(?:name|type|function|parameters|arguments)"', body)):
        return Said(text)
    calls: list[Call] = []
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    while body and len(calls) < 64:
        try:
            value, end = decoder.raw_decode(body)
            calls.append(call_of(storable(value)))
        except _UNREADABLE as error:
            calls.append(problem_of(error))
            break
        body = body[end:].lstrip(" \n\t;,")
    return Said("", tuple(calls))


def _bare_python(text: str, schemas: Schemas) -> Said:
    """Llama 4: the whole turn is a Python list of calls."""
    body = text.strip().removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip()
    if not re.match(r"\[\s*[A-Za-z_][\w.]*\(", body):
        return Said(text)
    return Said("", tuple(_python_body(body, schemas)))


def _mistral(text: str, schemas: Schemas) -> Said:
    """``[TOOL_CALLS][{...}, ...]`` (old), or ``[TOOL_CALLS]name[ARGS]{...}`` once for each call (new)."""
    content, *bodies = text.split("[TOOL_CALLS]")
    calls: list[Call] = []
    for body in bodies:
        if body.lstrip().startswith("["):
            calls += _json_body(body, schemas)
        else:
            found = re.fullmatch(r"([^\[{]*)(?:\[CALL_ID\][^\[{]*)?(?:\[ARGS\])?(.*)", body, re.DOTALL)
            calls.append(_named_json(*found.groups()) if found else Call(problem="a tool call is name[ARGS]{...}"))
    return Said(content, tuple(calls))


def _harmony(text: str, schemas: Schemas) -> Said:
    """gpt-oss: messages in channels, each call a message to its function."""
    content, reasoning = [], []
    calls: list[Call] = []
    for part in text.split("<|start|>assistant"):
        header, mark, body = part.partition("<|message|>")
        said = re.split(r"<\|(?:end|call|return)\|>", body)[0]
        recipient = re.search(r"to=(?:functions\.)?([^\s<]+)", header)
        if recipient:
            calls.append(_named_json(recipient.group(1), said) if mark else Call(problem="the call has no arguments"))
        elif "analysis" in header:
            reasoning.append(said)
        elif mark:
            content.append(said)
        else:
            content.append(part)
    return Said("".join(content), tuple(calls), "\n".join(reasoning).strip())


_INVOKE = re.compile(r'<(\w+:)?invoke name="([^"]+)">(.*?)</\1?invoke>', re.DOTALL)
_NAMED = re.compile(r'<(?:\w+:)?parameter name="([^"]+)"[^>]*>(.*?)</(?:\w+:)?parameter>', re.DOTALL)


def _invoke_body(body: str, schemas: Schemas) -> list[Call]:
    """``<invoke name="..."><parameter name="...">value</parameter></invoke>``."""
    calls = [_tagged_call(name, inner, _NAMED, schemas) for _, name, inner in _INVOKE.findall(body)]
    return calls or [Call(problem='a tool call is <invoke name="..."><parameter name="...">value</parameter></invoke>')]


def _recipients(text: str, schemas: Schemas) -> Said:
    """Muse: messages to somebody: to itself a thought, to the user an answer, to a tool a call."""
    content, reasoning = [], []
    calls: list[Call] = []
    for part in text.split("<|start|>assistant"):
        header, mark, body = part.partition("<|message|>")
        body = body.removesuffix("<|eom|>")
        to = header.strip().removeprefix("to=")
        if not mark:
            content.append(part)
        elif to == "self":
            reasoning.append(body)
        elif to == "user" or not to:
            content.append(body)
        else:
            calls += _invoke_body(body, schemas)
    return Said("".join(content), tuple(calls), "\n".join(reasoning).strip())


def _no_calls(text: str, schemas: Schemas) -> Said:
    """A model whose template knows no calls: all of it is the answer."""
    return Said(text)


def _no_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not JSON")


FORMATS: dict[str, Format] = {
    "hermes": _framed("<tool_call>", "</tool_call>", _json_body),
    "function tags": _framed("<tool_call>", "</tool_call>", _function_body),
    "glm": _framed("<tool_call>", "</tool_call>", _glm_body),
    "llama json": _bare_json,
    "mistral": _mistral,
    "python list": _framed("<|tool_call_start|>", "<|tool_call_end|>", _python_body),
    "bare python": _bare_python,
    "harmony": _harmony,
    "deepseek": _framed(
        "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", _deepseek_body, r"<｜tool▁calls▁(?:begin|end)｜>"
    ),
    "gemma": _framed("<|tool_call>", "<tool_call|>", _gemma_body),
    "recipients": _recipients,
    "invoke tags": _framed("<function_calls>", "</function_calls>", _invoke_body),
    "kimi": _framed("<|tool_call_begin|>", "<|tool_call_end|>", _kimi_body, r"<\|tool_calls_section_(?:begin|end)\|>"),
    "action": _framed("<|START_ACTION|>", "<|END_ACTION|>", _json_body),
    "phi": _framed("<|tool_call|>", "<|/tool_call|>", _json_body),
}
NO_CALLS: Format = _no_calls
