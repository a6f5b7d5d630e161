"""Depot: pick what was ordered, pack it into the right boxes, ship them. In memory, thousands of steps a second.

Order lines (item → box). Items lie on six shelves, boxes stand at the dock, hands carry one thing. A box that is
shipped is gone, glass that is dropped is broken; the last ordered box ends the episode. A scanner ends each answer with
what is next (`want drill`, `for red`, `ready red`), so that one who knows the catalogue reads the next call off the
last answer, if everything is as it should be.

What makes a student err here, by the dial `gap` (0: only the third):

1. *What it cannot know.* An item is not on the shelf that the catalogue says, or a box is shut and must be opened
   before anything goes in, each with probability 0.4 x gap. `find` tells the one and `look` at the dock the other; so
   does the error of a call that relied on it. The `knowing` teacher does the right thing unasked; the `exploring` one
   asks first. Ten to twelve steps are needed; those left mend a mistake or two, or pay for three questions.
2. *Slips.* With probability 0.1 x gap a `go` takes a wrong turn, a `put` hits a neighbouring box, or a taken item rolls
   away to another place. The answer says so; the luck is the environment's own and part of a snapshot.
3. *Its own weakness*: wrong item, wrong box, a box shipped too soon, a dropped cup.

These numbers and the step limit were tuned with run seeds 100 and 101 on the held-out stream `evaluation.seed` 0.
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
LINES = 2

_TOLD = re.compile(r"(?:error: )?(?:took (\w+)|(\w+) (?:is |rolled )?(?:at|in|to|down|broken|shut|open)\b)")


class Order(Record):
    """What a task's data holds: the lines, where every item lies and which boxes are shut at the start, and luck."""

    lines: tuple[tuple[Item, Box], ...]
    where: dict[str, Place]
    shut: tuple[Box, ...] = ()
    slip: float = 0.0


@dataclass
class World:
    """What changes: where one stands, where each item is (a place, a box, `hand` or `broken`), which boxes are gone."""

    at: str
    where: dict[str, str]
    shipped: list[str]
    shut: list[str]
    holding: str = ""


class Depot(ToolEnvironment):
    """A small warehouse; see the module's docstring."""

    step_limit = 16
    styles: ClassVar[tuple[str, ...]] = ("knowing", "exploring")
    state: World

    def __init__(
        self,
        *,
        gap: float = 0.5,
        slips: bool = True,
        sandboxes: SandboxBackend | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Args:
        gap: in [0, 1], how much there is to go wrong that is not the student's fault.
        slips: False makes the same tasks a calm world, in which nothing slips.
        """
        if not 0 <= gap <= 1:
            raise ConfigError(f"gap must lie in [0, 1], not {gap}")
        super().__init__(sandboxes=sandboxes, render_mode=render_mode)
        self.gap, self.slips = gap, slips
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
        lines: dict[Box, Item] = {}
        for number in rng.choice(len(ITEMS), LINES, replace=False).tolist():
            allowed = [box for j, box in enumerate(BOXES) if ((number + j) % 3 == 0) == (split == "heldout")]
            free = [box for box in allowed if box not in lines]
            lines[free[int(rng.integers(len(free)))]] = ITEMS[number]
        where = {}
        for item in ITEMS:
            elsewhere, usual = SHELVES[int(rng.integers(len(SHELVES)))], USUAL_SHELF[item]
            where[item] = elsewhere if rng.random() < 0.4 * self.gap else usual
        shut = tuple(box for box in BOXES if rng.random() < 0.4 * self.gap)
        return Task(
            id=f"depot-{split}-{name}",
            environment="agentdistill/Depot-v0",
            instruction="ship " + ", ".join(f"{item} {box}" for box, item in lines.items()),
            data=Order(
                lines=tuple((item, box) for box, item in lines.items()), where=where, shut=shut, slip=0.1 * self.gap
            ).model_dump(mode="json"),
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
        self.state = World(at="dock", where=dict(self.order.where), shipped=[], shut=list(self.order.shut))

    def opening(self, task: Task) -> tuple[Message, ...]:
        """The order, and what the scanner says."""
        return (Message(role="user", content=self._say(task.instruction)),)

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
        return self._say(self._spot(item))

    @tool
    def look(self) -> str:
        """See what is here; at the dock also which boxes are shut, and what the others hold."""
        spots = [self.state.at]
        if self.state.at == "dock":
            spots += [box for box in BOXES if box not in self.state.shipped and self._inside(box)]
        seen = [f"{spot} {' '.join(sorted(self._inside(spot))) or 'empty'}" for spot in spots]
        shut = ["shut " + (" ".join(self.state.shut) or "none")] if self.state.at == "dock" else []
        return self._say(", ".join([*seen, *shut]))

    @tool
    def go(self, place: Place) -> str:
        """Walk to the dock, where the boxes are, or to a shelf."""
        self.state.at = self._slip([other for other in PLACES if other != place]) or place
        return self._say(f"at {self.state.at}")

    @tool
    def take(self, item: Item) -> str:
        """Take an item that is here, or at the dock out of a box. Hands hold one."""
        where = self.state.where[item]
        if self.state.holding:
            raise self._refusal("hands full")
        if not self._in_reach(where):
            raise self._refusal(self._spot(item))
        away = self._slip([place for place in PLACES if place not in (self.state.at, where)])
        if away:
            self.state.where[item] = away
            return self._say(f"{item} rolled to {away}")
        self.state.where[item], self.state.holding = HAND, item
        return self._say(f"took {item}")

    @tool
    def drop(self) -> str:
        """Leave what you hold where you are. Glass (cup, jar, lamp) breaks for good."""
        item = self._held()
        self.state.where[item] = BROKEN if item in GLASS else self.state.at
        self.state.holding = ""
        return self._say(f"{item} broken" if item in GLASS else f"{item} down")

    @tool
    def open(self, box: Box) -> str:
        """Open a box that is shut; only at the dock."""
        self._need_box(box)
        if box not in self.state.shut:
            raise self._refusal(f"{box} is open")
        self.state.shut.remove(box)
        return self._say(f"{box} open")

    @tool
    def put(self, box: Box) -> str:
        """Put what you hold into a box that is not shut; only at the dock."""
        item = self._held()
        self._need_box(box)
        if box in self.state.shut:
            raise self._refusal(f"{box} is shut")
        closed = (box, *self.state.shipped, *self.state.shut)
        into = self._slip([other for other in BOXES if other not in closed]) or box
        self.state.where[item] = into
        self.state.holding = ""
        return self._say(f"{item} in {into}")

    @tool
    def ship(self, box: Box) -> str:
        """Send an ordered box off for good; only at the dock. The last one ends the work."""
        self._need_box(box)
        ordered = {each for _, each in self.order.lines}
        if box not in ordered:
            raise self._refusal(f"{box} not ordered")
        self.state.shipped.append(box)
        if ordered <= set(self.state.shipped):
            self.end()
        return self._say(f"{box} shipped")

    def _say(self, what: str) -> str:
        return f"{what}. {self._next()}"

    def _refusal(self, why: str) -> ToolError:
        return ToolError(self._say(why))

    def _next(self) -> str:
        """What the scanner shows: what to pick, to put or to ship; it knows no places, and not what is shut."""
        world = self.state
        if world.holding:
            boxes = [box for item, box in self.order.lines if item == world.holding and box not in world.shipped]
            return f"for {boxes[0]}" if boxes else "not ordered"
        ready, want = self._ready(), [item for item in self._fetch() if world.where[item] != BROKEN]
        strays = [item for item in self._strays() if world.where[item] not in world.shipped]
        if world.at == "dock" and strays:
            return f"clear {strays[0]}"
        if ready and (world.at == "dock" or not want):
            return f"ready {ready[0]}"
        return f"want {want[0]}" if want else "done"

    def _spot(self, item: str) -> str:
        where = self.state.where[item]
        return (
            f"{item} at {where}" if where in PLACES else f"{item} broken" if where == BROKEN else f"{item} in {where}"
        )

    def _boxes(self) -> dict[str, str]:
        return dict[str, str](self.order.lines)

    def _fetch(self) -> list[str]:
        """Ordered items that are not in their boxes yet, where it is not too late for them."""
        world = self.state
        gone = (BROKEN, *world.shipped)
        return [
            item
            for item, box in self.order.lines
            if box not in world.shipped and world.where[item] != box and world.where[item] not in gone
        ]

    def _ready(self) -> list[str]:
        """Ordered boxes that wait for nothing, and in which nothing waits."""
        fetch, boxes = self._fetch(), self._boxes()
        waiting = {boxes[item] for item in fetch} | {self.state.where[item] for item in fetch}
        waiting |= {self.state.where[item] for item in self._strays()}
        return [box for box in dict.fromkeys(boxes.values()) if box not in waiting and box not in self.state.shipped]

    def _slip(self, instead: list[str]) -> str:
        """One of `instead` if luck has it so, else nothing."""
        if not self.slips or not self.order.slip or not instead or self.np_random.random() >= self.order.slip:
            return ""
        return instead[int(self.np_random.integers(len(instead)))]

    def _inside(self, spot: str) -> set[str]:
        return {item for item, where in self.state.where.items() if where == spot}

    def _in_reach(self, where: str) -> bool:
        at_dock = self.state.at == "dock"
        return where == self.state.at or (at_dock and where in BOXES and where not in self.state.shipped)

    def _held(self) -> str:
        if not self.state.holding:
            raise self._refusal("hands empty")
        return self.state.holding

    def _need_box(self, box: str) -> None:
        if self.state.at != "dock":
            raise self._refusal("not at dock")
        if box in self.state.shipped:
            raise self._refusal(f"{box} is gone")

    # ---- the truth, and the teacher ------------------------------------------------------------------------------

    def truth(self) -> Truth:
        """The least number of steps to win without a slip: fetch 4, repack or clear away 2, open and ship 1, less ways
        saved.
        """
        world, lost = self.state, Truth(cost=None)
        ordered = {box for _, box in self.order.lines}
        cost = len(ordered - set(world.shipped))
        fetch = [(item, box) for item, box in self.order.lines if world.where[item] != box]
        for item, box in fetch:
            where = world.where[item]
            if box in world.shipped or where in world.shipped or where == BROKEN:
                return lost
            cost += 1 if where == HAND else 4 if where in SHELVES else 2
        cost += len({box for _, box in fetch} & set(world.shut))
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

        `knowing` goes where things are and opens what is shut. `exploring` finds every item, and looks at the boxes
        before it puts something into one, unless the conversation has told; where no step can be spared for that, it
        goes by the catalogue and takes boxes to be open, until an error tells.
        """
        told = None if style == "knowing" else _told(messages)
        name, arguments = self._plan(told)
        number = sum(message.role == "assistant" for message in messages)
        call = ToolCall(id=f"call_{number}_0", name=name, arguments=dict(arguments))
        return Message(role="assistant", tool_calls=(call,))

    def _plan(self, told: frozenset[str] | None) -> tuple[str, dict[str, str]]:
        """The next call of one who was told where these items are and which of these boxes are shut (None: all)."""
        world, boxes, fetch = self.state, self._boxes(), self._fetch()
        cost = self.truth().cost
        spare = cost is None or cost < self.remaining
        if world.holding:
            if world.holding not in fetch:
                return "drop", {}
            if world.at != "dock":
                return "go", {"place": "dock"}
            box = boxes[world.holding]
            known = told is None or box in told
            if not known and spare:
                return "look", {}
            return ("open" if known and box in world.shut else "put"), {"box": box}
        for item in fetch:
            if self._in_reach(world.where[item]) and (told is None or item in told or not spare):
                return "take", {"item": item}
        if world.at == "dock":
            strays = [item for item in self._strays() if world.where[item] not in world.shipped]
            if strays:
                return "take", {"item": strays[0]}
            if ready := self._ready():
                return "ship", {"box": ready[0]}
        if not fetch:
            return "go", {"place": "dock"}
        item = fetch[0]
        if told is None or item in told:
            where = world.where[item]
            return "go", {"place": where if where in PLACES else "dock"}
        if spare:
            return "find", {"item": item}
        usual = USUAL_SHELF[item]
        return ("take", {"item": item}) if world.at == usual else ("go", {"place": usual})

    def equivalent(self, one: Message, other: Message) -> bool:
        """Whether two turns are as useful here: the same calls, calls that serve an order line each, or questions."""
        here, there = ([self._use(call) for call in turn.tool_calls] for turn in (one, other))
        return bool(here) and not any(call.problem for call in (*one.tool_calls, *other.tool_calls)) and here == there

    def progress(self) -> float:
        """The share of order lines that lie right, less that of those which no longer can: broken, or shipped amiss."""
        world = self.state
        gone = (BROKEN, *world.shipped)
        right = [world.where[item] == box for item, box in self.order.lines]
        lost = [world.where[item] != box and {world.where[item], box} & {*gone} for item, box in self.order.lines]
        return (sum(right) - sum(map(bool, lost))) / len(right)

    def reference(self) -> str:
        """Where the ordered items are, and which of the ordered boxes are shut."""
        boxes = [box for _, box in self.order.lines]
        told = [f"{self._spot(item)} belongs in {box}" for item, box in self.order.lines]
        told += [f"{box} is shut" for box in dict.fromkeys(boxes) if box in self.state.shut]
        return "; ".join(told) + "."

    def _use(self, call: ToolCall) -> tuple[str, ...]:
        """What a call is good for here: equal for calls that serve one order line or another as well."""
        world, fetch, boxes = self.state, self._fetch(), self._boxes()
        said = {name: str(value) for name, value in call.arguments.items()}
        goal = said.get("place") or said.get("item") or said.get("box") or ""
        if call.name in ("find", "look"):
            return ("ask",)
        serves = {
            "go": not world.holding and goal != world.at and goal in {world.where[item] for item in fetch},
            "take": not world.holding and goal in fetch and self._in_reach(world.where[goal]),
            "ship": world.at == "dock" and goal in self._ready(),
            "open": world.at == "dock" and goal in world.shut and goal in {boxes[item] for item in fetch},
        }
        return (call.name, "serves") if serves.get(call.name) else (call.name, goal)


def _told(messages: tuple[Message, ...]) -> frozenset[str]:
    """Items of which the conversation says where they are, and boxes of which it says whether they are shut."""
    told: set[str] = set()
    for message in messages:
        if message.role == "tool":
            if match := _TOLD.match(message.content):
                told.add(match[1] or match[2])
            if ", shut " in message.content:
                told.update(BOXES)
    return frozenset(told)
