"""Which chat templates write each message by itself: they need not be rendered again for every turn.

Proved on the template's syntax tree, not on examples: first a loop over the messages, in which nothing is read but the
message itself, and then nothing that sees the messages or the tools.
"""

from __future__ import annotations

from collections.abc import Iterator

_OUTSIDE = frozenset({"add_generation_prompt", "bos_token", "eos_token"})
_PURE = frozenset({"tojson", "trim", "length", "string", "default", "join", "upper", "lower", "int", "float"})


def is_separable(source: str) -> bool:
    """Whether the text of a conversation is the texts of its messages, one after the other, and an end.

    Args:
        source: a Jinja chat template. One with anything in it that is not understood here is not taken as separable.
    """
    from jinja2 import Environment, TemplateError, nodes

    try:
        tree = Environment(autoescape=False).parse(source)
    except TemplateError:
        return False
    if not tree.body:
        return False
    loop, *behind = tree.body
    if not isinstance(loop, nodes.For) or loop.else_ or loop.test is not None or loop.recursive:
        return False
    if not (isinstance(loop.iter, nodes.Name) and loop.iter.name == "messages" and isinstance(loop.target, nodes.Name)):
        return False
    message = frozenset({loop.target.name}) - {"loop"}
    return all(_reads(node, message) for node in loop.body) and all(_reads(node, _OUTSIDE) for node in behind)


def _reads(node: object, names: frozenset[str]) -> bool:
    """Whether a node is made of plain parts alone, and reads no other names than these and those of its own loops."""
    from jinja2 import nodes

    plain = (
        *(nodes.Output, nodes.TemplateData, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.If, nodes.CondExpr),
        *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.Add, nodes.List),
    )
    if isinstance(node, nodes.Name):
        return node.ctx == "load" and node.name in names
    if isinstance(node, nodes.For):
        if not isinstance(node.target, nodes.Name) or node.recursive or node.target.name in ("loop", *names):
            return False
        inner = names | {node.target.name}
        inside = [*node.body, *([node.test] if node.test is not None else [])]
        return all(_reads(each, names) for each in (node.iter, *node.else_)) and all(_reads(n, inner) for n in inside)
    if isinstance(node, nodes.Filter):
        return node.name in _PURE and _all_read(node.iter_child_nodes(), names)
    return isinstance(node, plain) and _all_read(node.iter_child_nodes(), names)


def _all_read(parts: Iterator[object], names: frozenset[str]) -> bool:
    return all(_reads(part, names) for part in parts)
