#!/bin/bash
set -e
cat check.sh tiles/cache.py tiles/stats.py tiles/prefetch.py
python3 - <<'END'
from pathlib import Path


def change(name, *pairs):
    path = Path(name)
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    path.write_text(text)


change(
    "tiles/stats.py",
    ('"""Counts of what happened."""\n\nimport time\n', '"""Counts of what happened."""\n\nimport threading\nimport time\n'),
    ("        self._clock = clock\n", "        self._clock = clock\n        self._lock = threading.Lock()\n"),
    (
        """        before = self._counts.get(event, 0)
        self._last[event] = self._clock()
        self._counts[event] = before + 1
""",
        """        now = self._clock()  # not with the lock: it may be slow, and count itself
        with self._lock:
            self._counts[event] = self._counts.get(event, 0) + 1
            self._last[event] = now
""",
    ),
    (
        """        return ", ".join(f"{event} {count}" for event, count in sorted(self._counts.items()))
""",
        """        with self._lock:
            counts = sorted(self._counts.items())
        return ", ".join(f"{event} {count}" for event, count in counts)
""",
    ),
)
change(
    "tiles/cache.py",
    (
        "from collections import OrderedDict\n",
        "import threading\nfrom collections import OrderedDict\nfrom concurrent.futures import Future\n",
    ),
    (
        "        self._values = OrderedDict()\n",
        """        self._values = OrderedDict()
        self._loading = {}  # key -> what those who wait for it will get
        self._lock = threading.Lock()  # for both of these, never held while anything is loaded or counted
""",
    ),
    ("        return list(self._values)\n", "        with self._lock:\n            return list(self._values)\n"),
    (
        """        if key in self._values:
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
""",
        '''        with self._lock:
            future = self._loading.get(key)
            is_ours = future is None
            if key in self._values:
                self._values.move_to_end(key)
                future, is_ours = Future(), False
                future.set_result(self._values[key])
            elif is_ours:
                future = self._loading[key] = Future()
        if is_ours:
            return self._loaded(key, future)
        value = future.result()
        self.stats.count("hit")
        return value

    def _loaded(self, key, future):
        """Load a value, keep it, and give it to those who wait."""
        self.stats.count("load")
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            future.set_exception(error)
            raise
        with self._lock:
            self._values[key] = value
            del self._loading[key]
            too_many = len(self._values) - self._capacity
            for _ in range(too_many):
                self._values.popitem(last=False)
        future.set_result(value)
        for _ in range(too_many):
            self.stats.count("drop")
        return value
''',
    ),
)
END
cat > tiles/prefetch.py <<'END'
"""Getting many tiles at a time."""

from concurrent.futures import ThreadPoolExecutor


def prefetch(cache, keys, workers=4):
    """The values for `keys`, in the order of `keys`, got by `workers` threads.

    A key that cannot be loaded has `None` for its value; the others are got all the same.
    """

    def value_of(key):
        try:
            return cache.get(key)
        except Exception:
            return None

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(value_of, keys))
END
for run in 1 2 3; do ./check.sh; done
