"""Grades a roster against the verifier's own copy of the data.

feasible   1 if the roster breaks no rule
coverage   share of the places that are filled, 0 unless feasible
cost       what the week costs, 0 unless feasible
note       1 if the note states that cost
reward     1 for a full week within the budget, half the coverage for any other feasible one, 0 otherwise
"""

import json
import os
import sys
from collections import Counter

DATA = "/tests/data"


def places(roster, staff, shifts):
    """The filled places as (day, role, name). Raises ValueError where a rule is broken."""
    if not isinstance(roster, dict):
        raise ValueError("not an object")
    filled = []
    for day, roles in roster.items():
        if day not in shifts or not isinstance(roles, dict):
            raise ValueError(f"{day!r} is no day of the week with roles")
        for role, names in roles.items():
            if not isinstance(names, list) or len(names) > shifts[day].get(role, 0):
                raise ValueError(f"{day}: too many for {role!r}")
            for name in names:
                if not isinstance(name, str) or name not in staff:
                    raise ValueError(f"{day}: {name!r} does not work here")
                if role not in staff[name]["skills"] or day in staff[name]["off"]:
                    raise ValueError(f"{day}: {name} cannot be {role}")
                filled.append((day, role, name))
    for (day, name), times in Counter((day, name) for day, _, name in filled).items():
        if times > 1:
            raise ValueError(f"{day}: {name} is there twice")
    for name, times in Counter(name for _, _, name in filled).items():
        if times > staff[name]["max_shifts"]:
            raise ValueError(f"{name} works too often")
    return filled


def grade(roster_path, note_path, budget):
    with open(f"{DATA}/staff.json", encoding="utf-8") as file:
        staff = {person["name"]: person for person in json.load(file)}
    with open(f"{DATA}/shifts.json", encoding="utf-8") as file:
        shifts = {shift["day"]: shift["needs"] for shift in json.load(file)}
    rewards = {"reward": 0.0, "feasible": 0, "coverage": 0.0, "cost": 0, "note": 0}
    try:
        with open(roster_path, encoding="utf-8") as file:
            filled = places(json.load(file), staff, shifts)
    except (OSError, ValueError, RecursionError) as wrong:
        print(f"no valid roster: {wrong}", file=sys.stderr)
        return rewards
    wanted = sum(count for needs in shifts.values() for count in needs.values())
    cost = sum(staff[name]["rate"] for _, _, name in filled)
    coverage = len(filled) / wanted
    rewards.update(feasible=1, coverage=coverage, cost=cost)
    rewards["reward"] = 1.0 if coverage == 1 and cost <= budget else coverage / 2
    try:
        with open(note_path, encoding="utf-8") as file:
            rewards["note"] = int(f"cost: {cost}" in file.read().splitlines())
    except (OSError, ValueError):
        pass
    return rewards


def main():
    roster_path, note_path, target = sys.argv[1:]
    rewards = grade(roster_path, note_path, int(os.environ["BUDGET"]))
    with open(target, "w", encoding="utf-8") as file:
        json.dump(rewards, file)


main()
