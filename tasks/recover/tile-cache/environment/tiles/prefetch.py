"""Getting many tiles at a time."""

import threading


def prefetch(cache, keys, workers=4):
    """The values for `keys`, in the order of `keys`, got by `workers` threads.

    A key that cannot be loaded has `None` for its value; the others are got all the same.
    """
    waiting = list(keys)
    found = []

    def work():
        while waiting:
            key = waiting.pop(0)
            try:
                found.append(cache.get(key))
            except Exception:
                found.append(None)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
