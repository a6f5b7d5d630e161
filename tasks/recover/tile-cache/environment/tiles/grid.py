"""Which tiles there are: at zoom level z, 2**z by 2**z of them."""

from typing import NamedTuple


class Tile(NamedTuple):
    """A tile by zoom level, column and row."""

    zoom: int
    x: int
    y: int

    @property
    def path(self):
        """Where it lies on the server."""
        return f"{self.zoom}/{self.x}/{self.y}.png"


def tiles_around(center, reach):
    """The tiles at most `reach` columns and rows away from `center`, row by row; columns go on around the world."""
    size = 2**center.zoom
    columns = min(2 * reach + 1, size)
    return [
        Tile(center.zoom, (center.x - reach + column) % size, y)
        for y in range(max(0, center.y - reach), min(size, center.y + reach + 1))
        for column in range(columns)
    ]
