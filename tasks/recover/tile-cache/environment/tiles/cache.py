"""A cache of tiles that loads what it does not have."""

from collections import OrderedDict

from tiles.stats import Stats


class TileCache:
    """At most `capacity` values, those used longest ago dropped first. Any number of threads may use it at a time.

    - A key that is not there is loaded by calling ``load(key)``. Threads that ask for it meanwhile wait for that one call and
      get what it returns: nothing is loaded twice at a time, nor again while it is there. `None` is a value like others.
    - Loading one key keeps nobody waiting who asks for another, be that one there or to be loaded.
    - If ``load`` raises, that goes to whoever asked, those who waited included, and nothing is kept: the next to ask loads
      anew.
    - ``load`` may ask the cache for other keys.
    - `stats` counts ``load`` for each call of ``load``, ``hit`` for each value that was there already or was waited for, ``drop``
      for each value dropped. A failed load is a ``load`` and, for those who waited, nothing.
    """

    def __init__(self, load, capacity=256, stats=None):
        if capacity < 1:
            raise ValueError(f"there must be room for one value at least, not {capacity}")
        self.stats = stats or Stats()
        self._load = load
        self._capacity = capacity
        self._values = OrderedDict()

    def __len__(self):
        return len(self._values)

    def keys(self):
        """The keys of what is there, as a list, those used longest ago first."""
        return list(self._values)

    def get(self, key):
        """The value for `key`, loaded if need be."""
        if key in self._values:
            self.stats.count("hit")
            self._values.move_to_end(key)
            return self._values[key]
        self.stats.count("load")
        value = self._load(key)
        self._values[key] = value
        while len(self._values) > self._capacity:
            self._values.popitem(last=False)
            self.stats.count("drop")
        return value
