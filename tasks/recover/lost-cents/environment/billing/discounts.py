"""Shares an amount out, such as the discount of an order over its lines."""

from collections.abc import Sequence


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` in whole parts that go by `weights`; together they are `amount` again.

    Each part is the exact share cut down to a whole number, towards zero. The cents that this leaves over go one by one
    to the parts that lost most by the cut, the first of them where several lost the same. A part of weight 0 gets
    nothing. Weights may all be negative; the parts are the same as with all of them positive. A negative amount is
    shared out like the positive one, with the sign turned round.

    Raises:
        ValueError: there is something to share out, but all weights are 0; or some are positive and some negative.
    """
    if any(weight < 0 for weight in weights) and any(weight > 0 for weight in weights):
        raise ValueError("weights of both signs")
    total = sum(weights)
    if not total:
        if amount:
            raise ValueError("nothing to share it out by")
        return [0 for _ in weights]
    return [round(amount * weight / total) for weight in weights]
