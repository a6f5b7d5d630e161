"""Map tiles, kept in memory."""

from tiles.cache import TileCache
from tiles.grid import Tile, tiles_around
from tiles.prefetch import prefetch
from tiles.stats import Stats

__all__ = ["Stats", "Tile", "TileCache", "prefetch", "tiles_around"]
