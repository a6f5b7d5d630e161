"""Fills every place of the week at the lowest cost: day by day, keeping the cheapest plan for each state of who has
worked how often."""

import itertools
import json
import sys


def crews(day, needs, staff):
    """All ways to fill the places of a day with different people, as {person: role}."""
    places = [role for role, count in sorted(needs.items()) for _ in range(count)]
    fit = [
        [person["name"] for person in staff if role in person["skills"] and day not in person["off"]] for role in places
    ]
    seen = set()
    for crew in itertools.product(*fit):
        if len(set(crew)) == len(crew) and (key := tuple(sorted(zip(places, crew, strict=True)))) not in seen:
            seen.add(key)
            yield key


def main(data, target):
    with open(f"{data}/staff.json", encoding="utf-8") as file:
        staff = json.load(file)
    with open(f"{data}/shifts.json", encoding="utf-8") as file:
        shifts = json.load(file)
    order = [person["name"] for person in staff]
    rate = {person["name"]: person["rate"] for person in staff}
    most = {person["name"]: person["max_shifts"] for person in staff}
    plans = {(0,) * len(order): (0, [])}
    for shift in shifts:
        after = {}
        for crew in crews(shift["day"], shift["needs"], staff):
            cost = sum(rate[name] for _, name in crew)
            for worked, (sum_, plan) in plans.items():
                now = list(worked)
                for _, name in crew:
                    now[order.index(name)] += 1
                if any(times > most[name] for times, name in zip(now, order, strict=True)):
                    continue
                if (key := tuple(now)) not in after or after[key][0] > sum_ + cost:
                    after[key] = (sum_ + cost, [*plan, (shift["day"], crew)])
        plans = after
    cost, plan = min(plans.values())
    roster = {}
    for day, crew in plan:
        roster[day] = {}
        for role, name in crew:
            roster[day].setdefault(role, []).append(name)
    with open(target, "w", encoding="utf-8") as file:
        json.dump(roster, file, indent=2)
    return cost


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
