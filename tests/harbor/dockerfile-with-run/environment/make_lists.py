"""Makes the shipping lists of a quarter: make_lists.py SEED FOLDER"""

import os
import random
import sys

DESTINATIONS = ("ABD", "BRV", "CUX", "ELB")


def weight(draw):
    unit = draw.choice(("g", "kg", "kg", "t"))
    if unit == "g":
        return f"{draw.randrange(100, 90000)} g"
    if unit == "kg":
        return f"{draw.randrange(1, 900)}.{draw.randrange(0, 1000):03d} kg"
    return f"{draw.randrange(1, 4)}.{draw.randrange(0, 100):02d} t"


def lists(seed):
    """Yields the name and the lines of each list."""
    draw = random.Random(seed)
    number = 1000
    for week in range(1, 14):
        lines = ["number,destination,weight"]
        for _ in range(draw.randrange(15, 40)):
            number += draw.randrange(1, 4)
            line = [str(number), draw.choice(DESTINATIONS), weight(draw)]
            damage = draw.random()
            if damage < 0.05:
                line[1] = draw.choice(("", "XXX", "AB"))
            elif damage < 0.10:
                line[2] = draw.choice(("", "? kg", "-4 kg", "12 st", "0 g"))
            elif damage < 0.14:
                line = line[:2]
            lines.append(",".join(line))
            if draw.random() < 0.06:
                lines.append(lines[-1])
        yield f"week-{week:02d}.csv", lines


def main():
    seed, folder = int(sys.argv[1]), sys.argv[2]
    for name, lines in lists(seed):
        with open(os.path.join(folder, name), "w", encoding="ascii", newline="") as file:
            file.write("\r\n".join(lines) + "\r\n")


if __name__ == "__main__":
    main()
