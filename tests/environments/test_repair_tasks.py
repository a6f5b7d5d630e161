"""Repair's tasks: what a split, the dial and an issue promise; and the edits that lead from one text to another."""

from __future__ import annotations

import builtins
import keyword
import random
import re
from collections import Counter

import pytest
from agentdistill_environments.repair.bugs import FAMILIES, FAMILY_NAMES, VARIABLE
from agentdistill_environments.repair.edits import Edit, edits, occurrences
from agentdistill_environments.repair.modules import BY_NAME, MODULES, NAMES
from agentdistill_environments.repair.tasks import combos, draw_task, make_tasks
from hypothesis import example, given
from hypothesis import strategies as st
from repairs import package

from agentdistill.records import Task


def test_the_ith_task_is_the_same_however_many_are_drawn() -> None:
    many = make_tasks("train", 30, seed=3)
    assert make_tasks("train", 5, seed=3) == many[:5]
    assert make_tasks("train", 5, seed=3, first=20) == many[20:25]
    assert make_tasks("train", 5, seed=4) != many[:5]
    assert len({task.content_hash for task in many}) == 30


def test_held_out_tasks_share_neither_content_nor_combination_with_training() -> None:
    train, heldout = make_tasks("train", 600), make_tasks("heldout", 300)
    assert not {task.content_hash for task in train} & {task.content_hash for task in heldout}
    seen = {combo for task in train for combo in package(task).combos}
    unseen = {combo for task in heldout for combo in package(task).combos}
    assert not seen & unseen
    assert unseen == {f"{module}:{family}" for module, family in combos("heldout")}
    assert 0.2 <= len(combos("heldout")) / len(combos("train") | combos("heldout")) <= 0.3


def test_every_module_and_every_family_occurs_in_training() -> None:
    assert {module for module, _ in combos("train")} == {module.name for module in MODULES}
    assert {family for _, family in combos("train")} == set(FAMILY_NAMES)
    assert {family for _, family in combos("heldout")} == set(FAMILY_NAMES)
    assert all(len(module.families) >= 2 and len(module.sites) >= 3 for module in MODULES)


def test_at_gap_0_the_wrong_token_and_its_module_determine_the_fix() -> None:
    for family in FAMILIES:
        assert len({family.wrong_partner(token) for token in family.tokens}) == len(family.tokens)
    partners = {(s.partner, s.usual) for m in MODULES for s in m.sites if s.family == VARIABLE}
    assert len({wrong for wrong, _ in partners}) == len(partners)
    for task in make_tasks("heldout", 100, gap=0.0):
        made = package(task)
        assert made.candidates == (1,)
        assert made.path == f"src/{made.module}.py"
        assert not made.leftover


def test_the_dial_sets_how_often_each_difficulty_occurs() -> None:
    for gap, elsewhere, ambiguous, double, leftover in ((0.5, 0.42, 0.8, 0.05, 0.1), (1.0, 0.8, 1.0, 0.35, 0.25)):
        made = [package(task) for task in make_tasks("train", 500, gap=gap)]
        candidates = [count for p in made for count in p.candidates]
        assert abs(sum(p.path.count("/") == 2 for p in made) / 500 - elsewhere) < 0.07
        assert abs(sum(count > 1 for count in candidates) / len(candidates) - ambiguous) < 0.07
        assert abs(sum(len(p.combos) == 2 for p in made) / 500 - double) < 0.07
        assert abs(sum(bool(p.leftover) for p in made) / 500 - leftover) < 0.07
        assert max(candidates) == (2 if gap == 0.5 else 3)


def test_the_hidden_calls_are_not_the_visible_ones_and_no_answer_is_in_the_workspace() -> None:
    for task in make_tasks("train", 50):
        made = package(task)
        tests = made.files[f"tests/test_{made.module}.py"]
        calls = [call for path, call, _ in made.hidden if path == made.path]
        assert len(calls) >= 2
        assert not any(f"assert {call} ==" in tests for call in calls)
        assert made.solution[made.path] not in made.files.values()


def test_a_functions_name_stands_in_one_line_of_the_whole_catalogue_whatever_else_is_renamed() -> None:
    texts = {module.name: module.source(module.usual) for module in MODULES}
    for module in MODULES:
        for function in module.functions:
            assert Counter({name: text.count(function) for name, text in texts.items()}).total() == 1
            assert not any(function in name for kind in NAMES for name in kind)


def test_a_name_is_of_one_kind_and_means_nothing_else() -> None:
    names = [name for kind in NAMES for name in kind]
    assert len(set(names)) == len(names)
    assert not [name for name in names if keyword.iskeyword(name) or hasattr(builtins, name)]
    for module in MODULES:
        assert not set(module.identifiers) & set(module.functions)


def test_names_differ_from_task_to_task_and_what_a_module_does_does_not() -> None:
    seen: dict[str, set[str]] = {}
    for task in make_tasks("train", 200, gap=0.0):
        made = package(task)
        for path, text in made.solution.items():
            seen.setdefault(path.rsplit("/", 1)[-1], set()).add(text)
            does: dict[str, object] = {}
            exec(text, does)
            for _, call, value in (each for each in made.hidden if each[0] == path):
                assert eval(call, does) == eval(value)
    assert len(seen) == len(MODULES)
    assert all(len(texts) > 5 for texts in seen.values())
    module = BY_NAME["cart"]
    plain = module.source(module.usual)
    assert module.renamed(module.usual, {}) == plain
    swapped = module.renamed(module.usual, {"price": "rate", "total": "price"})
    assert swapped.splitlines()[:4] == [
        "def charge(rate, count):",
        "    fee = 1",
        "    price = rate * count",
        "    return price + fee",
    ]


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_the_issue_points_at_every_wrong_line_and_at_nothing_else(gap: float) -> None:
    for task in make_tasks("train", 100, gap=gap):
        made = package(task)
        pointed, said = re.fullmatch(r'((?:\w+:\d+ ".*?"(?:, )?)+): (.*)', task.instruction).groups()  # type: ignore[union-attr]
        spots = re.findall(r'(\w+):(\d+) "(.*?)"', pointed)
        text, goal = made.files[made.path].split("\n"), made.solution[made.path].split("\n")
        assert [int(number) for _, number, _ in spots] == [
            n for n, (a, b) in enumerate(zip(text, goal, strict=True), 1) if a != b
        ]
        assert all(module == made.module and text[int(number) - 1].count(old) == 1 for module, number, old in spots)
        assert re.match(rf"{made.function}\(.*\) (gave|raised) .*, not .*\.", said)
        assert (f"Delete {made.leftover} too." in said) == bool(made.leftover)


def test_a_task_survives_json_and_hides_its_answer_from_the_instruction() -> None:
    task = draw_task(random.Random(1), "train", 1.0)
    again = Task.model_validate_json(task.model_dump_json())
    assert again == task
    assert package(again) == package(task)


# ---- edits -------------------------------------------------------------------------------------------------------


def test_an_edit_replaces_little_and_as_much_around_it_as_makes_it_unique() -> None:
    goal = "def f(a):\n    b = max(a)\n    return b + 1\n"
    assert edits(goal, goal) == []
    assert edits(goal.replace("max", "min").replace("+", "-"), goal) == [Edit(2, "min", "max"), Edit(3, "-", "+")]
    assert edits("a = b - a", "a = b - c") == [Edit(1, " a", " c")]
    assert edits("x \n", "x\n") == [Edit(1, " ", "")]
    assert edits("x\n", "x\ny") == [Edit(2, "", "y")]
    assert edits("a a", "") == [Edit(1, "a a", "")]
    with pytest.raises(ValueError, match="zip"):
        edits("x\n", "x")


_LINES = st.text(st.sampled_from("ab_ \t+-=.()é\u0301\r\f\u2028😀"), max_size=12) | st.text(
    st.characters(exclude_characters="\n")
)


@given(st.lists(st.tuples(_LINES, _LINES), min_size=1, max_size=5))
@example([("a a a", "a a b")])
@example([("--", "---")])
@example([("", "x"), ("x", ""), (" ", "  ")])
def test_edits_lead_from_any_text_to_any_with_as_many_lines(pairs: list[tuple[str, str]]) -> None:
    text, goal = ("\n".join(lines) for lines in zip(*pairs, strict=True))
    todo = edits(text, goal)
    assert [edit.line for edit in todo] == [number for number, (a, b) in enumerate(pairs, 1) if a != b]
    lines = text.split("\n")
    for edit in todo:
        line = lines[edit.line - 1]
        assert (edit.old and occurrences(line, edit.old) == 1) or edit.old == line == ""
        assert line.find(edit.old) == line.rfind(edit.old)
        lines[edit.line - 1] = line.replace(edit.old, edit.new, 1)
    assert "\n".join(lines) == goal
