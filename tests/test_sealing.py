"""Random conversations with random tokenizers: sealed ids survive, and what carries loss is what the teacher said."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from test_drift import supervised
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from agentdistill.chat import Renderer
from agentdistill.policies.tiny import SPECIAL, TEMPLATE
from agentdistill.records import Completion, Message, Step, Task, ToolCall, Trajectory

KINDS = ["bytes", "bytes, adds BOS", "metaspace", "metaspace, adds BOS", "metaspace, always"]
# "\u2581" is how SentencePiece spells a space: it comes back as one.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\u2581"), max_size=20)
TURNS = st.lists(
    st.tuples(WORDS, st.integers(0, 2), WORDS, st.sampled_from(["teacher", "student", "student, cut short"])),
    min_size=1,
    max_size=5,
)


def random_tokenizer(kind: str, size: int, texts: Sequence[str], template: str) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer: of bytes, or of characters with the sign for a space that SentencePiece writes."""
    specials = ["<bos>", *SPECIAL]
    if kind.startswith("bytes"):
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        raw = Tokenizer(models.BPE(byte_fallback=True))
        raw.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="always" if kind.endswith("always") else "first", split=False
        )
        raw.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet = ["\u2581"]
    fallback = [] if kind.startswith("bytes") else [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[*specials, *fallback], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    if kind.endswith("adds BOS"):
        raw.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", raw.token_to_id("<bos>"))]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        bos_token="<bos>",
        eos_token=SPECIAL[1],
        pad_token=SPECIAL[0],
        additional_special_tokens=list(SPECIAL[2:]),
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


@given(kind=st.sampled_from(KINDS), size=st.integers(600, 900), writes_bos=st.booleans(), turns=TURNS)
@settings(max_examples=80)
def test_sealed_ids_survive_and_what_carries_loss_is_what_the_teacher_said(kind, size, writes_bos, turns):
    texts = [each for words, _, answer, _ in turns for each in (words, answer)] + ["user assistant look at"] * 3
    renderer = Renderer(random_tokenizer(kind, size, texts, ("{{ bos_token }}" if writes_bos else "") + TEMPLATE))
    messages = [Message(role="user", content="begin")]
    steps: list[Step] = []
    sealed: list[int] = []  # what a rollout hands to a policy: ids up to the last turn before the first teacher's
    covered, sealing = 0, True
    for number, (words, calls, answer, actor) in enumerate(turns):
        made = tuple(ToolCall(id=f"call_{number}_{at}", name="look", arguments={"at": words}) for at in range(calls))
        message = Message(role="assistant", content=words.strip(), tool_calls=made)
        prompt = renderer.prompt(sealed, covered, messages)
        turn = renderer.turn(messages, message)
        if actor == "teacher":
            completion, sealing = Completion(message=message), False
        else:
            turn = turn[: -len(turn) // 2] or turn if actor.endswith("short") else turn
            message = renderer.read(turn, number)
            completion = Completion(
                message=message, token_ids=tuple(turn), context_ids=tuple(prompt.ids), fresh=prompt.fresh
            )
            if sealing:
                sealed, covered = [*sealed, *prompt.ids, *turn], len(messages) + 1
        answers = (Message(role="tool", content=answer),)
        actor_name = "teacher" if actor == "teacher" else "student"
        steps.append(Step(actor=actor_name, completion=completion, observations=answers))
        messages += [message, *answers]
    trace = Trajectory(
        id="t",
        task=Task(id="t", environment="e", instruction="i"),
        policy="p",
        seed=0,
        opening=(messages[0],),
        steps=tuple(steps),
        ending="submitted",
    )
    check_sampled(renderer, trace)
    check_taught(renderer, trace)


def check_sampled(renderer: Renderer, trace: Trajectory) -> None:
    """Every sampled turn stands in a row as it was sampled, behind what it was fed."""
    sampled = [step.completion for step in trace.steps if step.completion.token_ids]
    if sampled:
        trained = [said for _, said in supervised(renderer.rows(trace, trained="student"))]
        assert trained == [said.token_ids for said in sampled]


def check_taught(renderer: Renderer, trace: Trajectory) -> None:
    """Every span that carries loss is one turn of the teacher, stop token included, and says what it said."""
    taught = [step.completion.message for step in trace.steps if step.actor == "teacher"]
    if not taught:
        return
    rows = renderer.rows(trace, trained="teacher")
    spans = [said for _, said in supervised(rows)]
    if len(taught) == len(trace.steps):  # then nothing was sampled, and all is as in one go
        text = renderer.template.text(trace.messages(), (), generate=True)
        whole = renderer.tokenizer.encode(text, add_special_tokens=False)
        assert rows[0].ids == whole[: len(rows[0].ids)]
    assert len(spans) == len(taught)
    for span, message in zip(spans, taught, strict=True):
        assert span.count(renderer.stop_id) == 1
        assert span[-1] == renderer.stop_id
        read = renderer.read(span, 0)
        assert read.content == renderer.template.defuse(message.content).strip()
        assert [call.arguments for call in read.tool_calls] == [
            renderer.template.defuse_all(call.arguments) for call in message.tool_calls
        ]
