"""What a budget bought, and how it is kept: a resumed run learns from the same rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from agentdistill.records import PreferencePair, Record, Segment


@dataclass
class Bought:
    """What a budget bought: rows and pairs to learn from, everything that was paid, and why the rest was not taken."""

    segments: list[Segment] = field(default_factory=list)
    own: list[Segment] = field(default_factory=list)
    pairs: list[PreferencePair] = field(default_factory=list)
    teacher_tokens: int = 0
    student_tokens: int = 0
    episodes: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Bought) -> Bought:
        """Take in what another round bought."""
        self.segments += other.segments
        self.own += other.own
        self.pairs += other.pairs
        self.teacher_tokens += other.teacher_tokens
        self.student_tokens += other.student_tokens
        self.episodes += other.episodes
        self.refused += other.refused
        return self

    @property
    def empty(self) -> bool:
        """True if there is nothing to learn from."""
        return not (self.segments or self.pairs or self.own)

    def dump(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {
            "segments": [_plain(row) for row in self.segments],
            "own": [_plain(row) for row in self.own],
            "pairs": [_plain(pair) for pair in self.pairs],
            "supervised_tokens": sum(row.supervised for row in self.segments),
            "teacher_tokens": self.teacher_tokens,
            "student_tokens": self.student_tokens,
            "episodes": self.episodes,
            "refused": dict(self.refused),
        }

    @classmethod
    def load(cls, kept: dict[str, Any]) -> Bought:
        """What `dump` gave."""
        return cls(
            segments=[Segment.model_validate(row) for row in kept["segments"]],
            own=[Segment.model_validate(row) for row in kept["own"]],
            pairs=[PreferencePair.model_validate(pair) for pair in kept["pairs"]],
            teacher_tokens=kept["teacher_tokens"],
            student_tokens=kept["student_tokens"],
            episodes=kept["episodes"],
            refused=Counter(kept["refused"]),
        )


def _plain(record: Record) -> Any:
    """A record as plain JSON, in which what is not a number (a log-probability nobody knows) is a string."""
    return json.loads(record.model_dump_json(exclude_defaults=True))
