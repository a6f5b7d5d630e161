"""Messages ↔ token ids and loss mask.

A conversation is never rendered twice. The ids a model was fed and sampled are kept (`Completion.context_ids` and
`token_ids`); only what is new since its last turn, a tool result or a teacher's turn, is tokenised, once and in
place. That is right only where the template keeps what it has written: each call proves it. Where a template rewrites
earlier turns (drops their reasoning, for one), the model is given the conversation rendered anew, and what is trained
on are several rows, each with the prefix that the model would really be given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from agentdistill.chat.reading import Reader
from agentdistill.chat.templates import Template
from agentdistill.errors import NothingSupervisedError, TemplateError
from agentdistill.records import Message, ToolSpec, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Trained = Literal["teacher", "student", "all"]

_REMEMBERED = 1024
_PREFILLED = 32  # tokens at the end of a prompt that may have begun a thought


@dataclass(frozen=True)
class Prompt:
    """What a model is fed before an assistant turn.

    Where `fresh` is false, `ids` follow the ids that are known; where it is true, the template has rewritten what they
    stand for, and `ids` are the whole prompt.
    """

    ids: list[int]
    fresh: bool = False


@dataclass
class Row:
    """Ids the model is fed in one piece, which of them carry loss, of which step's turn each is (0-based; -1 for those
    of none), and the log-probabilities with which they were sampled (NaN where unknown); all [tokens].
    """

    ids: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, ids: Sequence[int], loss: bool = False, step: int = -1, logprobs: Sequence[float] = ()) -> None:
        """Append `ids`, with or without loss."""
        self.ids += ids
        self.mask += [loss] * len(ids)
        self.steps += [step] * len(ids)
        self.logprobs += logprobs if len(logprobs) == len(ids) else [math.nan] * len(ids)


class Renderer:
    """Messages ↔ token ids for one tokenizer with a chat template.

    What the template does is proved when the renderer is made: which token ends a turn, how calls and reasoning are
    shown, and which reader gives calls back (see `Form` and `Reader`).

    Attributes:
        tokenizer: the tokenizer.
        template: its chat template, and what was proved about it.
        reader: reads what the model wrote.
        stop: the token that ends a turn without calls; most templates end every turn with it.
        stop_id: its id.
        stop_ids: ids of all tokens at which sampling ends.

    Raises:
        TemplateError: there is no chat template, or what has to be proved of it cannot be.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.template = Template(tokenizer)
        self.reader = Reader(self.template)
        form = self.template.form
        self.stop = form.answer_stop.token
        self.stop_id = self._id_of(self.stop)
        self.stop_ids = frozenset({self.stop_id, self._id_of(form.call_stop.token)})
        if tokenizer.eos_token_id is not None:
            self.stop_ids |= {cast("int", tokenizer.eos_token_id)}
        self._leads: dict[str, list[int]] = {}

    def prompt(
        self, ids: Sequence[int], covered: int, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> Prompt:
        """What the model is fed up to where the next assistant turn begins.

        Args:
            ids: exact ids of ``messages[:covered]``, ending with the last assistant turn among them.
            covered: how many messages `ids` stand for: 0, or one past an assistant message.
            messages: the whole conversation, ending with what the next turn answers.
            tools: what the template may show of the tools.

        Returns:
            The ids that follow `ids`; tokens of assistant turns that were not covered (a teacher's) are among them.
            Or the whole prompt, where `ids` are not what the template begins the conversation with any more.

        Raises:
            TemplateError: the template cannot carry the conversation.
        """
        fed, fresh = list(ids), False
        for turn in range(covered, len(messages)):
            if messages[turn].role == "assistant":
                fed, anew = self._until(fed, covered, messages[:turn], tools)
                fresh, covered = fresh or anew, turn + 1
                try:
                    fed += self.turn(messages[:turn], messages[turn], tools)
                except TemplateError:  # where it begins and ends is not known, and need not be: it is only read
                    whole = self._encode(self.template.text(messages, tools, generate=True))
                    return Prompt(whole, fresh=True)
        fed, anew = self._until(fed, covered, messages, tools)
        return Prompt(fed, True) if fresh or anew else Prompt(fed[len(ids) :])

    def extend(
        self, ids: Sequence[int], covered: int, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> list[int]:
        """The ids that follow `ids`: `prompt`, where nothing but that will do.

        Raises:
            TemplateError: the template rewrites what it has already written.
        """
        prompt = self.prompt(ids, covered, messages, tools)
        if prompt.fresh:
            raise TemplateError("the chat template rewrites earlier turns; extending them would not be exact")
        return prompt.ids

    def turn(self, before: Sequence[Message], message: Message, tools: Sequence[ToolSpec] = ()) -> list[int]:
        """The ids of one assistant turn as the model would have to emit it, the stop token included.

        Raises:
            TemplateError: the template cannot carry the turn, or where it begins and ends cannot be proved.
        """
        text = self.template.turn(before, message, tools)
        prompt = self.template.text(before, tools, generate=True)
        return self._encode(text, behind=prompt)

    def count(self, message: Message) -> int:
        """How many tokens an assistant turn costs to generate, the stop token included."""
        return len(self.turn([Message(role="user", content="")], message))

    def rows(self, trajectory: Trajectory, trained: Trained = "teacher", prefix: bool = False) -> list[Row]:
        """A whole trajectory as ids and loss mask: 1 on the turns of `trained`, 0 everywhere else.

        Turns whose ids are known are taken as they were fed and sampled; others are tokenised in place. It is one row
        as long as the template keeps what it has written. Where it does not, a new row begins with what the model is
        given there; each turn carries loss in one row only. The copied prefix of a takeover is not trained on, whoever
        said it, unless `prefix` is true. Turns that were mistaken on purpose never are.

        Raises:
            TemplateError: the template cannot carry the conversation.
            NothingSupervisedError: no token would carry loss.
        """
        rows = [Row()]
        first = trajectory.parent.step if trajectory.parent and not prefix else 0
        # The ids that the next turn whose ids are known goes on from, and whether they are known.
        sealed: list[int] = []
        covered = 0
        for index, step in enumerate(trajectory.steps):
            before = trajectory.messages(index)
            said = step.completion
            loss = trained in ("all", step.actor) and index >= first and not said.mistaken
            if said.token_ids:
                fed, turn = [*([] if said.fresh else sealed), *said.context_ids], list(said.token_ids)
            else:
                prompt = self.prompt(rows[-1].ids, covered, before, trajectory.tools)
                fed = prompt.ids if prompt.fresh else rows[-1].ids + prompt.ids
                turn = self.turn(before, said.message, trajectory.tools)
                if loss:
                    self._check(before, said.message, trajectory.tools)
            done = len(rows[-1].ids)
            if fed[:done] != rows[-1].ids:
                rows.append(Row())
                done = 0
            rows[-1].add(fed[done:])
            rows[-1].add(turn, loss, index, said.logprobs if said.token_ids else ())
            covered = len(before) + 1
            if said.token_ids:
                sealed = list(rows[-1].ids)
        rows = [row for row in rows if any(row.mask)]
        if not rows:
            who = "anybody" if trained == "all" else f"the {trained}"
            raise NothingSupervisedError(f"trajectory {trajectory.id}: no turn of {who} to learn from")
        return rows

    def read(
        self, ids: Sequence[int], turn: int, tools: Sequence[ToolSpec] = (), prompt: Sequence[int] = ()
    ) -> Message:
        """What a model said with these ids, as the `turn`-th assistant message (0-based) of a conversation.

        A call that cannot be read becomes a call with a `problem`: the environment answers it, and nothing is raised.

        Args:
            ids: what was sampled.
            turn: names the calls ``call_<turn>_<index>``.
            tools: their schemas tell numbers from text where the form of calls does not.
            prompt: what it was fed, which may have begun a thought; by default it is as after a question.
        """
        kept = ids[:-1] if ids and ids[-1] in self.stop_ids else ids
        text = cast("str", self.tokenizer.decode(list(kept), skip_special_tokens=False))
        if not prompt or self.template.form.thought is None:
            return self.reader.read(text, turn, tools)
        end = cast("str", self.tokenizer.decode(list(prompt[-_PREFILLED:]), skip_special_tokens=False))
        return self.reader.read(text, turn, tools, self.template.form.prefilled(end))

    def _check(self, before: Sequence[Message], message: Message, tools: Sequence[ToolSpec]) -> None:
        """Check that a turn to be learnt, which this model did not sample, says to its reader what was meant.

        Raises:
            TemplateError: it would be read as other calls.
        """
        if not message.tool_calls or any(call.problem for call in message.tool_calls):
            return
        text = self.template.turn(before, message, tools).removesuffix(self.template.stop(message).token)
        prefill = self.template.form.prefilled(self.template.text(before, tools, generate=True)[-200:])
        read = self.reader.read(text, 0, tools, prefill).tool_calls
        defuse, defuse_all = self.template.defuse, self.template.defuse_all
        meant = [(defuse(call.name), defuse_all(call.arguments)) for call in message.tool_calls]
        if [(call.name, call.arguments) for call in read] != meant:
            raise TemplateError("a tool call would be read as another one, in the form this model writes calls in")

    def _until(
        self, fed: list[int], covered: int, messages: Sequence[Message], tools: Sequence[ToolSpec]
    ) -> tuple[list[int], bool]:
        """All ids up to where the next turn begins, and whether they are rendered anew."""
        text = self.template.text(messages, tools, generate=True)
        if covered == 0:
            return self._encode(text), False
        rest = self._kept(fed, covered, messages, text, tools)
        if rest is not None:
            return fed + rest, False
        anew = self._encode(text)
        return anew, anew[: len(fed)] != fed

    def _kept(
        self, fed: list[int], covered: int, messages: Sequence[Message], text: str, tools: Sequence[ToolSpec]
    ) -> list[int] | None:
        """What follows `fed`, if the template has kept what it wrote when the last of these turns was said."""
        before, message = messages[: covered - 1], messages[covered - 1]
        try:
            prompt = self.template.text(before, tools, generate=True)
            turn = self.template.turn(before, message, tools)
        except TemplateError:
            return None
        if not (text.startswith(prompt) and text.startswith(turn, len(prompt))):
            return None
        rest, stop = text[len(prompt) + len(turn) :], self.template.stop(message).token
        if fed[-1] == self._id_of(stop):
            return self._encode(rest, behind=stop)
        # A turn that was cut by the token limit has no stop token: the template's own closes it, without loss.
        return None if fed[-1] in self.stop_ids else self._encode(stop + rest)

    def _id_of(self, token: str) -> int:
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise TemplateError(f"the stop token {token!r} is {len(ids)} tokens to the tokenizer")
        return cast("int", ids[0])

    def _encode(self, text: str, behind: str = "") -> list[int]:
        """The ids of `text` as it stands behind something else, which some tokenizers tell from the beginning.

        Raises:
            TemplateError: what stands before it swallows a part of it.
        """
        # A token is never made across a special one: what stands before the last of them does not matter.
        lead = behind[self.template.last_special(behind) :]
        if not lead:
            return cast("list[int]", self.tokenizer.encode(text, add_special_tokens=False))
        if lead not in self._leads:
            if len(self._leads) >= _REMEMBERED:
                self._leads.clear()
            self._leads[lead] = self.tokenizer.encode(lead, add_special_tokens=False)
        first = self._leads[lead]
        both = cast("list[int]", self.tokenizer.encode(lead + text, add_special_tokens=False))
        if both[: len(first)] == first:
            return both[len(first) :]
        alone = cast("list[int]", self.tokenizer.encode(text, add_special_tokens=False))
        if self.tokenizer.decode([*first, *alone]) != self.tokenizer.decode(both):
            raise TemplateError("the tokenizer does not let a turn's tokens be told from those of its prompt")
        return alone
