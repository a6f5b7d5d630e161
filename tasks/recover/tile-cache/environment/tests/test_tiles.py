import random
import threading
import time
import unittest

from tiles import Stats, Tile, TileCache, prefetch, tiles_around


def server(tile):
    """As quick as the real one: now and then it takes a moment."""
    if random.random() < 0.05:
        time.sleep(0.002)
    return tile.path


class TilesTest(unittest.TestCase):
    def test_around(self):
        self.assertEqual(len(tiles_around(Tile(4, 3, 3), 1)), 9)
        self.assertEqual([tile.x for tile in tiles_around(Tile(2, 0, 0), 1)], [3, 0, 1, 3, 0, 1])

    def test_what_is_there_is_not_loaded_again(self):
        cache = TileCache(server)
        self.assertEqual([cache.get(Tile(1, 0, 1)) for _ in range(3)], ["1/0/1.png"] * 3)
        self.assertEqual(cache.stats.summary(), "hit 2, load 1")

    def test_the_oldest_is_dropped(self):
        cache = TileCache(str.upper, capacity=2)
        for key in "abac":
            cache.get(key)
        self.assertEqual(cache.keys(), ["a", "c"])
        self.assertEqual(cache.stats.of("drop"), 1)

    def test_prefetched_tiles_are_in_order(self):
        tiles = tiles_around(Tile(4, 3, 3), 1)
        self.assertEqual(prefetch(TileCache(server), tiles), [tile.path for tile in tiles])

    def test_threads_load_a_tile_once(self):
        cache, tile = TileCache(server), Tile(5, 1, 2)
        threads = [threading.Thread(target=cache.get, args=(tile,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(cache.stats.summary(), "hit 3, load 1")

    def test_counts(self):
        stats = Stats()
        threads = [threading.Thread(target=lambda: [stats.count("x") for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(stats.of("x"), 200)


if __name__ == "__main__":
    unittest.main()
