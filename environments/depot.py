"""Depot: pick what was ordered, pack it into the right boxes, ship them. In memory, thousands of steps a second.

Three order lines (item → box). Items lie on six shelves, boxes stand at the dock, hands carry one thing. A box that is
shipped is gone, glass that is dropped is broken; the last ordered box ends the episode.

What makes a student err here, by the dial `gap` (0: only the third):

1. *What it cannot know.* An item lies on the shelf its place in the catalogue says, except with probability 0.8 x gap.
   `find` tells. The `knowing` teacher goes straight to the truth; the `exploring` one finds first.
2. *Slips.* With probability 0.2 x gap a `go` takes a wrong turn, a `put` hits a neighbouring box, or a taken item rolls
   away to another place. The answer says so; the luck is the environment's own and part of a snapshot.
3. *Its own weakness*: wrong item, wrong box, a box shipped too soon, a dropped cup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from pydantic import ValidationError

from agentdistill.environment import ToolEnvironment, Truth, task_seed
from agentdistill.errors import ConfigError, TaskError, ToolError
from agentdistill.records import Message, Record, Task, ToolCall, Verdict
from agentdistill.sandbox import SandboxBackend
from agentdistill.tools import tool

Item = Literal["bolt", "cable", "cup", "drill", "fan", "glue", "hose", "jar", "lamp", "nail", "pipe", "rope"]
Place = Literal["dock", "A", "B", "C", "D", "E", "F"]
Box = Literal["red", "blue", "green", "grey", "pink", "white"]

ITEMS: tuple[Item, ...] = get_args(Item)
PLACES: tuple[Place, ...] = get_args(Place)
BOXES: tuple[Box, ...] = get_args(Box)
SHELVES = PLACES[1:]
GLASS = frozenset({"cup", "jar", "lamp"})
USUAL_SHELF: dict[str, Place] = {item: SHELVES[index % len(SHELVES)] for index, item in enumerate(ITEMS)}
HAND, BROKEN = "hand", "broken"
LINES = 3

_FOUND = re.compile(r"took (\w+)$|(\w+) (?:at \w+|in \w+|down)$")
_MISSED = re.compile(r"error: no (\w+) here$|(\w+) rolled away$")
_SEEN = re.compile(r"(\w+): ([a-z ]+)")


class Order(Record):
    """What a task's data holds: the lines, where every item lies at the start, and how likely a slip is."""

    lines: tuple[tuple[Item, Box], ...]
    where: dict[str, Place]
    slip: float = 0.0


@dataclass
class World:
    """What changes: where one stands, where each item is (a place, a box, `hand` or `broken`), which boxes are gone."""

    at: str
    where: dict[str, str]
    shipped: list[str]
    holding: str = ""


class Depot(ToolEnvironment):
    """A small warehouse; see the module's docstring."""

    step_limit = 30
    styles: ClassVar[tuple[str, ...]] = ("knowing", "exploring")
    state: World

    def __init__(
        self, *, gap: float = 0.5, sandboxes: SandboxBackend | None = None, render_mode: str | None = None
    ) -> None:
        """`gap` in [0, 1] is how much there is to go wrong that is not the student's fault."""
        if not 0 <= gap <= 1:
            raise ConfigError(f"gap must lie in [0, 1], not {gap}")
        super().__init__(sandboxes=sandboxes, render_mode=render_mode)
        self.gap = gap
        self._order, self._order_of = Order(lines=(), where={}), Task(id="", environment="", instruction="")

    # ---- tasks ---------------------------------------------------------------------------------------------------

    def make_tasks(self, split: str, count: int, seed: int = 0, first: int = 0) -> list[Task]:
        """`count` tasks of a split (`train` or `heldout`), from the `first`; the splits share no item × box."""
        if split not in ("train", "heldout"):
            raise TaskError(f"there is no split {split!r}: use 'train' or 'heldout'")
        return [
            self._draw(np.random.default_rng(task_seed("depot", f"{split}/{seed}", index)), split, f"{seed}-{index}")
            for index in range(first, first + count)
        ]

    def make_task(self, rng: np.random.Generator) -> Task:
        """A training task drawn with `rng`."""
        return self._draw(rng, "train", str(int(rng.integers(1 << 31))))

    @staticmethod
    def combinations(task: Task) -> frozenset[str]:
        """Each item × box of a task. No training task shares one with a held-out task."""
        return frozenset(f"{item} x {box}" for item, box in Order.model_validate(task.data).lines)

    def _draw(self, rng: np.random.Generator, split: str, name: str) -> Task:
        # Every draw is made whatever the gap, so that the same seed at two gaps gives the same orders: paired sweeps.
        lines = []
        for number in rng.choice(len(ITEMS), LINES, replace=False).tolist():
            allowed = [box for j, box in enumerate(BOXES) if ((number + j) % 3 == 0) == (split == "heldout")]
            lines.append((ITEMS[number], allowed[int(rng.integers(len(allowed)))]))
        where = {}
        for item in ITEMS:
            elsewhere, usual = SHELVES[int(rng.integers(len(SHELVES)))], USUAL_SHELF[item]
            where[item] = elsewhere if rng.random() < 0.8 * self.gap else usual
        return Task(
            id=f"depot-{split}-{name}",
            environment="agentdistill/Depot-v0",
            instruction="ship: " + ", ".join(f"{item} {box}" for item, box in lines),
            data=Order(lines=tuple(lines), where=where, slip=0.2 * self.gap).model_dump(mode="json"),
            split=split,
        )

    # ---- the world -----------------------------------------------------------------------------------------------

    @property
    def order(self) -> Order:
        """What the present task asks for."""
        if self._order_of is not self.task:
            try:
                self._order = Order.model_validate(self.task.data)
            except ValidationError as error:
                raise TaskError(f"task {self.task.id!r} is not a Depot task: {error.errors()[0]['msg']}") from error
            self._order_of = self.task
        return self._order

    def setup(self, task: Task) -> None:
        """Lay the items out; one starts at the dock with empty hands."""
        if missing := set(ITEMS) - set(self.order.where):
            raise TaskError(f"task {task.id!r} does not say where {min(missing)!r} is")
        self.state = World(at="dock", where=dict(self.order.where), shipped=[])

    def verify(self) -> Verdict:
        """Right is a box that was shipped with exactly what was ordered in it; all of them must be."""
        wanted: dict[str, set[str]] = {}
        for item, box in self.order.lines:
            wanted.setdefault(box, set()).add(item)
        right = sum(box in self.state.shipped and self._inside(box) == items for box, items in wanted.items())
        return Verdict(
            passed=right == len(wanted), score=right / len(wanted), detail=f"{right} of {len(wanted)} boxes right"
        )

    @tool
    def find(self, item: Item) -> str:
        """Ask where an item is."""
        where = self.state.where[item]
        if where in PLACES:
            return f"{item} at {where}"
        return f"{item} broken" if where == BROKEN else f"{item} in {where}"

    @tool
    def look(self) -> str:
        """See what is here; at the dock also what the boxes hold."""
        spots = [self.state.at]
        if self.state.at == "dock":
            spots += [box for box in BOXES if box not in self.state.shipped and self._inside(box)]
        return ", ".join(f"{spot}: {' '.join(sorted(self._inside(spot))) or 'nothing'}" for spot in spots)

    @tool
    def go(self, place: Place) -> str:
        """Walk to the dock, where the boxes are, or to a shelf."""
        self.state.at = self._slip([other for other in PLACES if other != place]) or place
        return f"at {self.state.at}"

    @tool
    def take(self, item: Item) -> str:
        """Take an item that is here, or at the dock out of a box. Hands hold one."""
        where = self.state.where[item]
        if self.state.holding:
            raise ToolError("hands full")
        if not self._in_reach(where):
            raise ToolError(f"no {item} here")
        away = self._slip([place for place in PLACES if place not in (self.state.at, where)])
        if away:
            self.state.where[item] = away
            return f"{item} rolled away"
        self.state.where[item], self.state.holding = HAND, item
        return f"took {item}"

    @tool
    def drop(self) -> str:
        """Leave what you hold where you are. Glass (cup, jar, lamp) breaks for good."""
        item = self._held()
        self.state.where[item] = BROKEN if item in GLASS else self.state.at
        self.state.holding = ""
        return f"{item} broke" if item in GLASS else f"{item} down"

    @tool
    def put(self, box: Box) -> str:
        """Put what you hold into a box; only at the dock."""
        item = self._held()
        self._need_box(box)
        into = self._slip([other for other in BOXES if other != box and other not in self.state.shipped]) or box
        self.state.where[item] = into
        self.state.holding = ""
        return f"{item} in {into}"

    @tool
    def ship(self, box: Box) -> str:
        """Send an ordered box off for good; only at the dock. The last one ends the work."""
        self._need_box(box)
        ordered = {each for _, each in self.order.lines}
        if box not in ordered:
            raise ToolError(f"{box} not ordered")
        self.state.shipped.append(box)
        if ordered <= set(self.state.shipped):
            self.end()
        return f"{box} shipped"

    def _slip(self, instead: list[str]) -> str:
        """One of `instead` if luck has it so, else nothing."""
        if not self.order.slip or not instead or self.np_random.random() >= self.order.slip:
            return ""
        return instead[int(self.np_random.integers(len(instead)))]

    def _inside(self, spot: str) -> set[str]:
        return {item for item, where in self.state.where.items() if where == spot}

    def _in_reach(self, where: str) -> bool:
        at_dock = self.state.at == "dock"
        return where == self.state.at or (at_dock and where in BOXES and where not in self.state.shipped)

    def _held(self) -> str:
        if not self.state.holding:
            raise ToolError("hands empty")
        return self.state.holding

    def _need_box(self, box: str) -> None:
        if self.state.at != "dock":
            raise ToolError("not at dock")
        if box in self.state.shipped:
            raise ToolError(f"{box} is gone")

    # ---- the truth, and the teacher ------------------------------------------------------------------------------

    def truth(self) -> Truth:
        """The least number of steps to win without a slip: fetch 4, repack or clear away 2, ship 1, less ways saved."""
        world, lost = self.state, Truth(cost=None)
        ordered = {box for _, box in self.order.lines}
        cost = len(ordered - set(world.shipped))
        fetch = [(item, box) for item, box in self.order.lines if world.where[item] != box]
        for item, box in fetch:
            where = world.where[item]
            if box in world.shipped or where in world.shipped or where == BROKEN:
                return lost
            cost += 1 if where == HAND else 4 if where in SHELVES else 2
        strays = self._strays()
        if any(world.where[item] in world.shipped for item in strays):
            return lost
        cost += 2 * len(strays)
        delivering = any(item == world.holding for item, _ in fetch)
        if world.holding and not delivering:
            cost += 1
        if world.at != "dock" and cost:
            spots = {world.where[item] for item, _ in fetch}
            if delivering or spots.isdisjoint(SHELVES):
                cost += 1
            elif world.at in spots:
                cost -= 1
        return Truth(cost=cost)

    def _strays(self) -> list[str]:
        """Items that nobody ordered but that lie in an ordered box."""
        ordered = {box for _, box in self.order.lines}
        wanted = {item for item, _ in self.order.lines}
        return [item for item, where in self.state.where.items() if where in ordered and item not in wanted]

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        """The next call of a competent picker (`styles`).

        `knowing` goes where things are, except that it finds first what the conversation shows to be elsewhere than
        expected. `exploring` finds everything it has not been told. Both leave that out when no step can be spared;
        `exploring` then goes by the catalogue.
        """
        name, arguments = self._plan(_told(messages), exploring=style == "exploring")
        number = sum(message.role == "assistant" for message in messages)
        call = ToolCall(id=f"call_{number}_0", name=name, arguments=dict(arguments))
        return Message(role="assistant", tool_calls=(call,))

    def _plan(self, told: dict[str, bool], exploring: bool) -> tuple[str, dict[str, str]]:
        world = self.state
        boxes: dict[str, str] = dict(self.order.lines)
        fetch = [
            item
            for item, box in boxes.items()
            if world.where[item] not in (box, BROKEN, *world.shipped) and box not in world.shipped
        ]
        if world.holding:
            if world.holding not in fetch:
                return "drop", {}
            return ("put", {"box": boxes[world.holding]}) if world.at == "dock" else ("go", {"place": "dock"})
        cost = self.truth().cost
        spare = cost is None or cost < self.remaining
        unsure = {item for item in fetch if not told.get(item, not exploring)}
        for item in fetch:
            if self._in_reach(world.where[item]) and (item not in unsure or not (spare or exploring)):
                return "take", {"item": item}
        if world.at == "dock":
            strays = [item for item in self._strays() if world.where[item] not in world.shipped]
            if strays:
                return "take", {"item": strays[0]}
            waiting = {boxes[item] for item in fetch} | {world.where[item] for item in fetch}
            ready = [box for box in boxes.values() if box not in waiting and box not in world.shipped]
            if ready:
                return "ship", {"box": ready[0]}
        if not fetch:
            return "go", {"place": "dock"}
        item = fetch[0]
        if item in unsure and spare:
            return "find", {"item": item}
        if item in unsure and exploring:
            return self._guess(item, item in told)
        where = world.where[item]
        return "go", {"place": where if where in PLACES else "dock"}

    def _guess(self, item: str, disappointed: bool) -> tuple[str, dict[str, str]]:
        """What is left to one who has no step to spare for asking: the catalogue, unless that has been tried."""
        usual = USUAL_SHELF[item]
        if disappointed:
            return "find", {"item": item}
        return ("take", {"item": item}) if self.state.at == usual else ("go", {"place": usual})


def _told(messages: tuple[Message, ...]) -> dict[str, bool]:
    """Per item: True if the conversation says where it is now, False if it shows that it is not where expected."""
    told: dict[str, bool] = {}
    for message in messages:
        if message.role != "tool":
            continue
        if match := _FOUND.match(message.content):
            told[match[1] or match[2]] = True
        elif match := _MISSED.match(message.content):
            told[match[1] or match[2]] = False
        elif message.name == "look":
            for spot, things in _SEEN.findall(message.content):
                told |= dict.fromkeys(things.split(), True)
                for item, usual in USUAL_SHELF.items():
                    if usual == spot:
                        told.setdefault(item, False)
    return told
