"""Real tokenizers for chat templates: byte-level BPE, with every special token that a template spells."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from agentdistill.records import Message, ToolCall, ToolSpec

SPELT = re.compile(
    r'<\|[\w".\-/]+\|?>|<[\w"]+\|>|<｜[^｜<>]+｜>|\[(?:/?INST|TOOL_CALLS|ARGS|CALL_ID|/?TOOL_RESULTS|/?AVAILABLE_TOOLS)\]|'
    r"</?(?:s|think|tool_call|tool_response|arg_key|arg_value|start_of_turn|end_of_turn|end_of_utterance)>"
)
TEXTS = [
    "The tests of the package fail: assertEqual(add(1, 2), 4). Let me look at the module and mend it.",
    '{"name": "go", "arguments": {"place": "dock", "n": 3}} <function=go> user assistant system tool',
    "Grüße aus 東京 🙂 naïve café",
]
TOOLS = (
    ToolSpec(
        name="go",
        description="Go somewhere.",
        parameters={
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Where to."},
                "n": {"type": "integer", "description": "How often."},
            },
            "required": ["place"],
        },
    ),
    ToolSpec(
        name="look",
        description="Look around.",
        parameters={"type": "object", "properties": {"at": {"type": "string", "description": "At what."}}},
    ),
)


def trl_folder() -> Path | None:
    """Where TRL's chat templates lie; TRL itself is never imported."""
    try:
        folder = Path(str(metadata.distribution("trl").locate_file("trl/chat_templates")))
    except metadata.PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def trl_templates() -> dict[str, str]:
    """Name → source of every chat template that TRL ships."""
    folder = trl_folder()
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))} if folder else {}


@cache
def _bpe() -> str:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(TEXTS * 4, trainer)
    return str(raw.to_str())


def tokenizer_for(template: str, *, adds_bos: bool = False, eos: str = "<eos>") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with this chat template; with `adds_bos` it also writes BOS before what it encodes."""
    raw = Tokenizer.from_str(_bpe())
    spelt = sorted({*SPELT.findall(template), "<bos>", "<pad>", eos})
    raw.add_special_tokens(spelt)
    if adds_bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", raw.token_to_id("<bos>"))]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        bos_token="<bos>",
        eos_token=eos,
        pad_token="<pad>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def user(text: str) -> Message:
    return Message(role="user", content=text)


def says(text: str = "", *calls: ToolCall, reasoning: str = "") -> Message:
    return Message(role="assistant", content=text, tool_calls=calls, reasoning=reasoning)


def result(call_id: str, name: str, text: str) -> Message:
    return Message(role="tool", content=text, tool_call_id=call_id, name=name)


def go(call_id: str, place: str, n: int = 1) -> ToolCall:
    return ToolCall(id=call_id, name="go", arguments={"place": place, "n": n})


def look(call_id: str, at: str) -> ToolCall:
    return ToolCall(id=call_id, name="look", arguments={"at": at})


CONVERSATIONS: dict[str, list[Message]] = {
    "plain": [user("Hello."), says("Good day."), user("And now?"), says("Now we rest."), user("Fine.")],
    "system": [Message(role="system", content="Be brief."), user("Hello."), says("Yes?"), user("Bye."), says("Bye.")],
    "tools": [
        user("Go to the dock."),
        says("", go("call_0_0", "dock", 3)),
        result("call_0_0", "go", "You are at the dock."),
        says("", look("call_1_0", "the boxes")),
        result("call_1_0", "look", "Three boxes."),
        says("There are three boxes."),
        user("Thanks."),
    ],
    "words and calls": [
        user("Go to the dock."),
        says("I go.", go("call_0_0", "dock")),
        result("call_0_0", "go", "You are there."),
        says("Done."),
        user("Thanks."),
    ],
    "parallel": [
        user("Go and look."),
        says("", go("call_0_0", "dock"), look("call_0_1", "boxes")),
        result("call_0_0", "go", "You are there."),
        result("call_0_1", "look", "Error: it is dark."),
        says("", look("call_1_0", "lamp")),
        result("call_1_0", "look", "Error: which lamp?"),
        says("It is too dark."),
        user("Pity."),
    ],
    "error": [
        user("Go."),
        says("", go("call_0_0", "nowhere")),
        result("call_0_0", "go", "Error: there is no such place: nowhere"),
        says("", go("call_1_0", "dock")),
        result("call_1_0", "go", ""),
        says("There."),
        user("Thanks."),
    ],
    "reasoning": [
        user("Go to the dock."),
        says("", go("call_0_0", "dock"), reasoning="The dock is near."),
        result("call_0_0", "go", "You are there."),
        says("Done.", reasoning="That went well."),
        user("And back?"),
        says("I am back.", reasoning="Back is easy."),
        user("Thanks."),
    ],
    "reasoning, no tools": [
        user("Two and two?"),
        says("Four.", reasoning="Count the fingers."),
        user("And two more?"),
        says("Six.", reasoning="More fingers."),
        user("Thanks."),
    ],
    "empty": [user("Go."), says("", go("call_0_0", "")), result("call_0_0", "go", ""), says("Ok."), user("")],
    "unicode": [
        user("Grüße aus 東京 🙂"),
        says("", go("call_0_0", "Überlingen 東 🙂")),
        result("call_0_0", "go", "naïve café\u2028\n\ttab \x1b[31m"),
        says("Schöne Grüße 🙂."),
        user("Ω"),
    ],
}
