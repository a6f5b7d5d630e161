"""audit.py SEED TOLERANCE TOTALS: whether the totals are those of the lists made from the seed.

Everything needed is in this file: it neither imports the office's package nor reads its folder.
"""

import json
import random
import re
import sys

RATES = {"ABD": 12, "BRV": 9, "CUX": 30, "ELB": 0}
GRAMS = {"g": 1, "kg": 1000, "t": 1000_000}


def weight(draw):
    unit = draw.choice(("g", "kg", "kg", "t"))
    if unit == "g":
        return f"{draw.randrange(100, 90000)} g"
    if unit == "kg":
        return f"{draw.randrange(1, 900)}.{draw.randrange(0, 1000):03d} kg"
    return f"{draw.randrange(1, 4)}.{draw.randrange(0, 100):02d} t"


def lists(seed):
    """The lists as the image has them; see environment/make_lists.py."""
    draw = random.Random(seed)
    number = 1000
    for week in range(1, 14):
        lines = []
        for _ in range(draw.randrange(15, 40)):
            number += draw.randrange(1, 4)
            line = [str(number), draw.choice(tuple(RATES)), weight(draw)]
            damage = draw.random()
            if damage < 0.05:
                line[1] = draw.choice(("", "XXX", "AB"))
            elif damage < 0.10:
                line[2] = draw.choice(("", "? kg", "-4 kg", "12 st", "0 g"))
            elif damage < 0.14:
                line = line[:2]
            lines.append(line)
            if draw.random() < 0.06:
                lines.append(line)
        yield f"week-{week:02d}.csv", lines


def grams(text):
    found = re.fullmatch(r"(\d+)(?:\.(\d{1,3}))? (g|kg|t)", text)
    if not found:
        return 0
    whole, fraction, unit = found.groups()
    return (int(whole) * 1000 + int((fraction or "").ljust(3, "0"))) * GRAMS[unit] // 1000


def expected(seed):
    totals = {destination: {"shipments": 0, "grams": 0} for destination in RATES}
    rejected, counted = {}, set()
    for name, lines in lists(seed):
        for line in lines:
            mass = grams(line[2]) if len(line) == 3 else 0
            if not mass or line[1] not in RATES or line[0] in counted:
                rejected[name] = rejected.get(name, 0) + 1
                continue
            counted.add(line[0])
            totals[line[1]]["shipments"] += 1
            totals[line[1]]["grams"] += mass
    return totals, rejected


def faults(found, seed, tolerance):
    totals, rejected = expected(seed)
    if found["rejected"] != rejected:
        yield f"rejected: {found['rejected']}, not {rejected}"
    if set(found["destinations"]) != set(totals):
        yield f"destinations: {sorted(found['destinations'])}"
    for destination, total in totals.items():
        claim = found["destinations"][destination]
        if claim["shipments"] != total["shipments"]:
            yield f"{destination}: {claim['shipments']} shipments, not {total['shipments']}"
        if abs(claim["grams"] - total["grams"]) > tolerance:
            yield f"{destination}: {claim['grams']} g, not {total['grams']}"
        if claim["duty_cents"] != claim["grams"] * RATES[destination] // 1000:
            yield f"{destination}: {claim['duty_cents']} cents on {claim['grams']} g"


def main():
    seed, tolerance, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    try:
        with open(path, encoding="utf-8") as file:
            wrong = list(faults(json.load(file), seed, tolerance))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main())
