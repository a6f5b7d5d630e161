"""Token ids of a turn whose server gave only text: found again with the model's tokenizer, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from agentdistill.chat import Renderer
from agentdistill.errors import ConfigError, TemplateError
from agentdistill.policies.base import Request
from agentdistill.policies.chat_format import Answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_renderer(folder: Path) -> Renderer:
    """The renderer of the tokenizer in a folder.

    Raises:
        ConfigError: there is no tokenizer with a chat template in it.
    """
    from transformers import AutoTokenizer

    try:
        return Renderer(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    except (OSError, ValueError, TemplateError) as error:
        raise ConfigError(f"no tokenizer can be loaded from {folder}: {str(error).splitlines()[0]}") from error


def infer_ids(renderer: Renderer, request: Request, answer: Answer) -> tuple[int, ...]:
    """The ids of the answered turn, its stop token included; empty where they cannot be shown to be what was sampled.

    What is checked: the ids decode to exactly the text they were made of; they are as many as the server counted; and,
    where the server lists its tokens with log-probabilities, each of them is spelt as the server spelt it. Without
    that list another split of the same text into as many tokens would not be noticed: the ids are inferred.
    """
    stop = renderer.stop_id
    if answer.pieces:
        try:
            text = b"".join(answer.pieces).decode()
        except UnicodeDecodeError:
            return ()
        ids = _encode(renderer.tokenizer, text)
        spelt = tuple(map(byte_speller(renderer.tokenizer), ids))
        if spelt != answer.pieces:
            return ()
        if answer.finish == "stop" and ids[-1:] != (stop,):
            ids = (*ids, stop)  # most servers do not list the token that ended the turn
    elif not answer.message.tool_calls and not answer.message.reasoning:
        ids = _encode(renderer.tokenizer, answer.message.content)  # nothing was read out of it: it is the text itself
        if _decode(renderer.tokenizer, ids) != answer.message.content:
            return ()
        ids = (*ids, stop) if answer.finish == "stop" else ids
    else:
        try:
            ids = tuple(renderer.turn(request.messages, answer.message, request.tools))
        except TemplateError:
            return ()
        if _encode(renderer.tokenizer, _decode(renderer.tokenizer, ids)) != ids:
            return ()
        if answer.finish == "length":
            ids = ids[:-1]
    if answer.usage is not None and answer.usage.output_tokens not in (len(ids), len(ids) - (ids[-1:] == (stop,))):
        return ()
    return ids


@cache
def byte_speller(tokenizer: PreTrainedTokenizerBase) -> _Speller:
    """Spells ids of a tokenizer as bytes."""
    return _Speller(tokenizer)


class _Speller:
    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        letters = _byte_letters()
        vocabulary = [token for token in tokenizer.get_vocab() if token not in self._special]
        # A byte-level vocabulary writes each byte as one letter of its own; a half character can be spelt so, too.
        self._letters = letters if all(set(token) <= letters.keys() for token in vocabulary) else {}

    def __call__(self, token: int) -> bytes:
        written = cast("str", self._tokenizer.convert_ids_to_tokens(token))
        if written in self._special or not self._letters:
            return _decode(self._tokenizer, (token,)).encode("utf-8", "replace")
        return bytes(self._letters[letter] for letter in written)


@cache
def _byte_letters() -> dict[str, int]:
    """Letters that byte-level vocabularies write bytes as: printable ones as they are, the others moved (as GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + at): byte for at, byte in enumerate(moved)}


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(cast("list[int]", tokenizer.encode(text, add_special_tokens=False)))


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return cast("str", tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
