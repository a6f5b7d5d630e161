"""The leak filter: nothing that only the teacher was told, and no talk of the hand-over, may reach a student.

Three things are looked for in what was said after the hand-over, and only what stood nowhere in the conversation before
counts: a note's canary; stretches of words of the note, or one of its identifiers; and ways to speak of other agents,
hand-overs, and sources that the conversation does not have. Acting on what one was told is no leak: arguments of calls
may agree with the note in more words than what is said beside them.

What it cannot see: a single ordinary word of the note, or its meaning in other words. So the words of a teacher that
was told something are better left out altogether (`silenced`): what it does is what the student is to learn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from agentdistill.notes import canaries
from agentdistill.records import Trajectory

SPOKEN_WORDS = 4
"""Words in a row that what is said may not have in common with the note."""
ARGUMENT_WORDS = 10
"""The same for arguments of calls: a teacher that was told the solution writes parts of it."""

_WORD = re.compile(r"\w+")
_IDENTIFIER = re.compile(r"\w*(?:[^\W\d_]\d|\d[^\W\d_]|\w_\w)\w*")

_WHO = r"(?:agent|assistant|model|ai|bot|learner|student|pupil|one|policy)"
_OTHER = (
    r"(?:previous|earlier|prior|preceding|other|another|last|original|first|former|initial|weaker|smaller|weak|small|"
    r"different|failed|failing|student)"
)
_DID = (
    r"(?:\w+ed|made|did|does|had|has|was|left|forgot|went|broke|got|began|took|ran|wrote|chose|should|could|would|saw|put|"
    r"gave|meant|lost|thought|knew|misread|sent|kept)"
)
_ERROR = (
    r"(?:error|mistake|mess|edit|call|step|action|attempt|failure|run|work|turn|change|choice|plan|prefix|trajectory|"
    r"guess|misstep|slip|path)s?"
)
_SECRET = r"(?:private|privileged|secret|confidential|hidden|undisclosed|privately given)"
_TOLD = (
    r"(?:note|notes|hint|hints|tip|briefing|critique|critic|verdict|oracle|grader|verifier|evaluator|judge|supervisor|"
    r"teacher|expert|mentor|instructor|answer key|ground truth|reference(?: solution| answer)?)"
)
_SAYS = (
    r"(?:say|says|said|mention|mentions|mentioned|tell|tells|told|state|states|stated|explain|explains|explained|"
    r"point|points|pointed|report|reports|reported|remark|remarks|remarked|recommend|recommends|recommended|list|lists|"
    r"suggest|suggests|suggested|indicate|indicates|indicated|reveal|reveals|revealed|warn|warns|warned|advise|advises|"
    r"confirm|confirms|confirmed|goes through|gives)"
)
_INFORMED = (
    r"(?:told|informed|advised|shown|made aware|tipped|warned|briefed|instructed|notified|let in on|handed|brought in|"
    r"called in)"
)
_SOURCE = (
    r"(?:guidance|information|info|hint|hints|notes?|tip|advice|solution|answer|reference|instructions|feedback|material|"
    r"context)"
)

_ACTED = (
    r"(?:had|has|made|did|was|left|forgot|went|broke|got|began|took|ran|wrote|chose|should|shipped|opened|edited|called|"
    r"failed|picked|dropped|tried|ignored|missed|misread|put|used|moved|changed)"
)
_BY_TOOL = r"(?! (?:by (?:the |a )?(?:tool|error|message|test|answer|output)|an? (?:error|message|warning)))"

_TALK = [
    # Somebody else who acted in this conversation.
    rf"\b{_OTHER} {_WHO} (?:here |already |just |then |wrongly )?{_DID}\b",
    rf"\b{_OTHER} {_WHO}'s {_ERROR}\b",
    rf"\b(?:of|from|by|for|after|than) (?:an?|the|some)?\s?{_OTHER} {_WHO}\b(?! (?:in|of|from|field|column|class)\b)",
    r"\b(?:another|some other|a different) (?:agent|assistant|ai|bot)\b",
    rf"\b(?:the|an?) {_WHO} (?:that|who|which) (?:\w+ )?(?:worked|acted|ran|tried|failed|began|started|was here)\b",
    rf"\b(?:{_WHO}|whoever|someone|somebody|anyone|who)\b[^.;:]{{0,30}}\bbefore me\b",
    r"\b(?:someone|somebody) else (?:made|did|wrote|broke|began|started|edited|acted|worked|left|changed)\b",
    r"\bwhoever (?:was|did|made|worked|acted|wrote|began|started)\b",
    r"\bmy predecessors?\b",
    rf"\bthe (?:student|learner|pupil)(?:'s)? (?:\w+ )?(?:{_ERROR}|attempted|forgot|failed|made|did|tried|went|got)\b",
    r"\b(?:what|which|where|as|because|since|after|fix|correct|undo|rescue) the (?:student|learner|pupil)\b(?!['_ ]\w)",
    r"\bwhat the (?:student|learner|pupil) \w+",
    r"\bstudent (?:model|agent|policy|run)\b",
    r"\b(?:run|work|edits?|calls?|steps?)\b[^.;:]{0,20}\b(?:was|were|is|are) not (?:mine|my own)\b",
    # One who speaks of the agent as of a third, or of what came before as of somebody else's.
    rf"\b(?:the|that|this) (?:\w+ )?(?:agent|bot|ai|assistant)(?:'s (?:\w+ )?{_ERROR}| (?:here |already )?{_ACTED})\b",
    rf"\b(?:somebody|someone|another)(?: else)?'s {_ERROR}\b",
    r"\b(?:author|maker|one) (?:of|behind) (?:the|these|those) (?:earlier|previous|first|prior) (?:step|call|turn)s?\b",
    r"\b(?:weaker|lesser|smaller|other|stronger) (?:system|policy|program)\b",
    r"\b(?:failing|failed|weak) (?:policy|agent|model)\b",
    r"\b(?:run|attempt|episode|conversation) (?:was|is|has been) (?:flagged|marked|judged|scored|graded)\b",
    r"\b(?:of|about|from) the failed run\b|\bcorrect trajectory\b",
    r"\bwhen i (?:arrived|came in|joined|got here|was called)\b",
    r"\bi (?:came in|joined|arrived|entered) (?:at|in|after)\b",
    r"\bmy turn to (?:act|continue|go on|try|play)\b|\bi replace the other\b",
    # The hand-over itself.
    r"\bi(?:'m| am|'ve| have|'ll| will)?(?: now| just)? (?:taking|taken|take|took) over\b"
    r"(?! (?:the|an?|its|their|this) (?!task|run|session|conversation|episode|work|job))",
    r"\btak(?:e|ing|en) (?:it |things )?over (?:now|here|from (?:here|now|this|my))\b",
    r"\btake it from here\b|\btak(?:e|ing) the wheel\b",
    r"\bi(?:'m| am|'ve| have)?(?: now)? stepp?(?:ing|ed)? in\b",
    r"\b(?:before|after|since|during|at|until) (?:the|this|my) (?:hand-?over|hand-?off|take-?over|intervention)\b",
    r"\b(?:the|my|this) (?:intervention|take-?over|hand-?over|rescue) (?:starts|begins|is to|was)\b",
    r"\bpoint of divergence\b",
    r"\b(?:this|failed|failing|whole|entire) (?:trajectory|rollout)\b",
    r"\bpick(?:ing|ed)? up (?:from )?where (?!i\b)",
    r"\bleft off\b(?<!i left off)",
    r"\bon behalf of (?:the|an?|another) (?:\w+ )?(?:agent|assistant|model|student|learner)\b",
    r"\bi(?:'m| am)(?: now)? in (?:charge|control)\b",
    r"\bi(?:'ve| have) been (?:given|handed|asked|told|brought|called|put|assigned|advised|informed|shown|instructed)\b"
    rf"{_BY_TOOL}",
    rf"\bi (?:was|am|were) (?:\w+ )?{_INFORMED}\b{_BY_TOOL}",
    r"\bi(?:'ve| have)? inherit(?:ed)? (?:this|the|an?) (?!method|class|from)",
    r"\bmy (?:role|job|task) (?:here )?is to (?:rescue|recover|correct|repair|mend|save) (?:this|the|an?) (?:fail|run)",
    r"\bi(?:'m| am) (?:here )?(?:as )?(?:the|a|your) (?:teacher|expert|tutor|mentor|stronger model)\b",
    # Something that only the speaker was told.
    rf"\b{_SECRET} (?:\w+ )?(?:note|notes|information|info|instructions?|hints?|context|guidance|checks?|verdict|"
    r"tests?|briefing|solution|reference|remarks?|message|material|tip|feedback|knowledge)\b",
    r"\b(?:inside|insider|advance) (?:knowledge|information|notice)\b|\bin advance\b",
    r"\bfor (?:me alone|my eyes|me only|only me)\b|\bthat (?:nobody|no one|noone) (?:else )?(?:sees|can see|knows)\b",
    r"\b(?:pretend|act as if|make it look|as though) (?:to|i|as if|like)\b",
    r"\bi happen to know\b|\b(?:somebody|someone|they) (?:has |have )?(?:told|informed|tipped) me\b",
    r"\b(?:gold|golden|oracle|canonical) (?:patch|solution|answer|trajectory|run|path)\b",
    r"\bmy (?:\w+ )?(?:briefing|instructions|hints?|private context)\b",
    r"\b(?:privately|in confidence|in secret|confidentially)\b",
    r"\b(?:disclosed|revealed|pointed out|leaked|explained|confided) to me\b",
    r"\bonly i (?:can|could|may) (?:see|read|know)\b",
    r"\bwithout (?:revealing|mentioning|disclosing|giving away)\b",
    r"\b(?:not|never) (?:to )?(?:mention|quote|reveal|disclose) (?:the|my|this|any) (?:note|hint|info|reference)",
    r"\bthey told me\b|\b(?:i )?got a (?:tip|hint)\b",
    rf"\b(?:the|a|this|my) {_TOLD}(?:'s)?(?: (?:note|notes|remarks?|message|feedback|hint|advice|score))? {_SAYS}\b",
    r"\b(?:verifier|evaluator|grader|judge|supervisor|critic|teacher|expert|oracle|reviewer)(?:'s)? "
    r"(?:note|notes|remarks?|message|feedback|hints?|advice|verdict)\b",
    r"\bfeedback (?:from|of) the (?:verifier|evaluator|grader|judge|teacher|supervisor)\b",
    r"\b(?:as|according to|per|from|following|thanks to|based on|stated in|told by) (?:the|my|this|a) (?:\w+ )?"
    r"(?:hint|notes?|tip|critique|briefing|answer key|reference solution|verdict)\b"
    r"(?! (?:in|of|above the|on|column|field|file|at the|from) )",
    rf"\b{_SOURCE} (?:that )?(?:i (?:was|were|am|received|got|have been)|i've been|was (?:provided|given|shown))\b",
    r"\b(?:reference|official) (?:solution|answer)\b|\bexpected solution\b|\bthe model answer\b",
    r"\b(?:know|knew|seen|saw|read|looked at|learn(?:ed|t)?) (?:it |this |that )?(?:from |in |at )?the "
    r"(?:reference|answer key|ground truth|solution)\b(?! (?:manual|implementation|docs?|count))",
    r"\bi (?:can see|have|happen to have|know|was given) the (?:\w+ )?(?:solution|answer)\b(?! (?:of|must|has|is)\b)",
    r"\b(?:answer key|ground truth (?:says|is|tells|shows))\b",
]
# Words for whom and what the conversation itself does not have: with `strict`, each is talk unless it was there before.
_STRANGERS = re.compile(
    r"(?<![\w./-])(?:agents?|assistants?|bots?|learners?|students?|pupils?|teachers?|tutors?|mentors?|experts?|graders?|"
    r"verifiers?|evaluators?|evaluation|reviewers?|critics?|critiques?|judges?|oracles?|supervisors?|predecessors?|"
    r"somebody|someone|whoever|hints?|tips?|briefings?|hindsight|told|informed|advised|described to me|"
    r"received|i was (?:sent|put|given|shown)|i must not (?:say|tell)|before me|hand-?offs?|hand-?overs?|take-?overs?|"
    r"rollouts?|trajector(?:y|ies)|hidden|private|privately|secret|confidential|privileged|gold|references?|guidance|"
    r"information)(?![\w/(-]|\.\w)"
)
_TALKS = re.compile("|".join(f"(?:{pattern})" for pattern in _TALK))


def leak_in(trajectory: Trajectory, note: str = "", strict: bool = False) -> str:
    """Why a trace may not be learnt from, as far as leaks go; empty if nothing is found.

    Looked at is what was said in it, not its copied prefix; answers of the world are what they are.

    Args:
        trajectory: a takeover, a label or a clean trace.
        note: what only the teacher was told.
        strict: as for `talk_in`.
    """
    first = trajectory.parent.step if trajectory.parent else 0
    told = _words(note)
    for index in range(first, len(trajectory.steps)):
        message = trajectory.steps[index].completion.message
        spoken = f"{message.content}\n{message.reasoning}"
        arguments = "\n".join(_strings([dict(call.arguments) for call in message.tool_calls]))
        if any(mark in spoken or mark in arguments for mark in canaries(note)):
            return "leak: canary of the private note"
        # What could be read before is only looked at where something is found without it.
        if _leak(spoken, arguments, told, "", strict):
            before = " ".join(_texts(trajectory, index))
            if leak := _leak(spoken, arguments, told, before, strict):
                return leak
    return ""


def silenced(trajectory: Trajectory) -> Trajectory:
    """The trajectory without the words that the teacher said beside its calls after the hand-over.

    A turn that makes no call has nothing but its words, and keeps them. Ids of turns that change are forgotten.
    """
    first = trajectory.parent.step if trajectory.parent else 0
    steps = list(trajectory.steps)
    for index in range(first, len(steps)):
        said = steps[index].completion
        if (
            steps[index].actor == "teacher"
            and said.message.tool_calls
            and (said.message.content or said.message.reasoning)
        ):
            message = said.message.model_copy(update={"content": "", "reasoning": ""})
            unknown = {"token_ids": (), "context_ids": (), "logprobs": (), "fresh": False, "inferred": False}
            completion = said.model_copy(update={"message": message, **unknown})
            steps[index] = steps[index].model_copy(update={"completion": completion})
    return trajectory.model_copy(update={"steps": tuple(steps)})


def _leak(spoken: str, arguments: str, told: list[str], before: str, strict: bool) -> str:
    """What is wrong with one turn, given all that could be read before it."""
    if told and _repeats(spoken, arguments, told, before):
        return "leak: words of the private note"
    if talk_in(spoken, before, strict) or talk_in(arguments, before):
        return "leak: talk of a hand-over"
    return ""


def talk_in(text: str, before: str = "", strict: bool = False) -> str:
    """The first words of `text` that speak of a hand-over or of a private source; empty if there are none.

    Args:
        text: what is said.
        before: the conversation so far; what stands there already is nobody's secret.
        strict: take each word for another agent, a judge or a source for talk, unless it stood there before or is part
            of a name. It finds much more, and refuses honest words on which the conversation is silent.
    """
    known = _plain(before)
    for pattern in (_TALKS, _STRANGERS) if strict else (_TALKS,):
        for match in pattern.finditer(_plain(text)):
            if match[0] not in known:
                return match[0]
    return ""


def _repeats(spoken: str, arguments: str, told: list[str], before: str) -> bool:
    """Whether a stretch of the note's words, or one of its identifiers, is said that was not known before."""
    known = _words(before)
    for text, length in ((spoken, SPOKEN_WORDS), (arguments, ARGUMENT_WORDS)):
        fresh = _grams(_words(text), length) & _grams(told, length)
        if fresh - _grams(known, length):
            return True
    names = {word for word in told if len(word) >= 4 and _IDENTIFIER.fullmatch(word)}
    return bool(names & set(_words(spoken)) - set(known))


def _texts(trajectory: Trajectory, steps: int) -> Iterator[str]:
    """All that could be read after so many steps: messages, calls, and what the tools are said to do."""
    for message in trajectory.messages(steps):
        yield message.content
        yield message.reasoning
        yield from _strings([dict(call.arguments) for call in message.tool_calls])
    for spec in trajectory.tools:
        yield f"{spec.name} {spec.description} {json.dumps(spec.parameters)}"


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _plain(text: str) -> str:
    """Lower case, straight apostrophes, single spaces."""
    return " ".join(text.lower().replace("\u2019", "'").split())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}
