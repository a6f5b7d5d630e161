"""The promises of the cache, with the orders in which threads meet made on purpose: one waits until another has come."""

import json
import os
import subprocess
import sys
import unittest

from tiles import Stats, Tile, TileCache, prefetch, tiles_around

START = """
import json, sys, threading, time
from tiles import *

def run(*jobs):
    # All begin together; `None` for one that does not end.
    results, gate = [None] * len(jobs), threading.Barrier(len(jobs))
    def work(place, job):
        gate.wait()
        try:
            results[place] = job()
        except Exception as error:
            results[place] = type(error).__name__ + " " + str(error)
    threads = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4)
    return results

def say(*values):
    print(json.dumps(values), flush=True)
    sys.stdout.flush()
    import os
    os._exit(0)
"""


def said(code):
    """What a process of its own makes of `code`."""
    command = [sys.executable, "-B", "-S", "-c", START + code]
    result = subprocess.run(command, capture_output=True, env={"PYTHONPATH": os.getcwd()}, timeout=9)
    return json.loads(result.stdout.decode().strip().split("\n")[-1] or "null")


class TileCacheTest(unittest.TestCase):
    def test_threads_that_ask_together_load_once(self):
        code = """
calls, again = [], threading.Event()
def load(key):
    calls.append(key)
    if len(calls) > 1:
        again.set()
    again.wait(0.7)
    return key * 2
cache = TileCache(load)
got = run(*[lambda: cache.get("k")] * 4)
say(len(calls), got, cache.stats.summary(), cache.get("k"))
"""
        self.assertEqual(said(code), [1, ["kk"] * 4, "hit 3, load 1", "kk"])

    def test_different_keys_are_loaded_at_the_same_time(self):
        code = """
begun = {"a": threading.Event(), "b": threading.Event()}
def load(key):
    begun[key].set()
    return begun["b" if key == "a" else "a"].wait(2)
cache = TileCache(load)
say(run(lambda: cache.get("a"), lambda: cache.get("b")))
"""
        self.assertEqual(said(code), [[True, True]])

    def test_what_is_there_is_had_while_something_else_is_loaded(self):
        code = """
begun, had = threading.Event(), threading.Event()
def load(key):
    if key == "slow":
        begun.set()
        return had.wait(2)
    return key
cache = TileCache(load)
cache.get("there")
def other():
    begun.wait(2)
    found = cache.get("there"), len(cache), cache.keys()
    had.set()
    return found
say(run(lambda: cache.get("slow"), other))
"""
        self.assertEqual(said(code), [[True, ["there", 1, ["there"]]]])

    def test_a_load_that_fails_leaves_nobody_waiting_and_nothing_behind(self):
        code = """
calls = []
def load(key):
    calls.append(key)
    if len(calls) == 1:
        time.sleep(0.5)
        raise OSError("gone")
    return "late"
cache = TileCache(load)
got = run(*[lambda: cache.get("k")] * 3)
say("OSError gone" in got, all(each in ("OSError gone", "late") for each in got), cache.get("k"), cache.get("k"), cache.keys())
"""
        self.assertEqual(said(code), [True, True, "late", "late", ["k"]])

    def test_loading_may_ask_for_other_keys(self):
        code = """
cache = TileCache(lambda key: key if len(key) == 1 else "+".join(cache.get(each) for each in key))
say(run(lambda: cache.get("abc"), lambda: cache.get("cd")), sorted(cache.keys()), cache.stats.of("load"))
"""
        self.assertEqual(said(code), [["a+b+c", "c+d"], ["a", "abc", "b", "c", "cd", "d"], 6])

    def test_no_count_is_lost_to_a_slow_clock(self):
        code = """
ticks, second = [], threading.Event()
def clock():
    ticks.append(0)
    if len(ticks) > 1:
        second.set()
    second.wait(0.7)
    return 7.5
stats = Stats(clock)
run(*[lambda: stats.count("x")] * 4)
say(stats.of("x"), stats.last("x"), stats.of("y"), stats.last("y"), stats.summary())
"""
        self.assertEqual(said(code), [4, 7.5, 0, None, "x 4"])

    def test_a_clock_that_counts_itself(self):
        code = """
inside = []
def clock():
    if not inside:
        inside.append(0)
        stats.count("x")
        stats.count("tick")
    return 1.5
stats = Stats(clock)
run(lambda: stats.count("x"))
say(stats.summary())
"""
        self.assertEqual(said(code), ["tick 1, x 2"])

    def test_what_was_fetched_is_in_the_order_of_its_keys(self):
        code = """
done = threading.Event()
def load(key):
    if key == "a":
        done.wait(2)
        time.sleep(0.2)
    if key == "c":
        done.set()
    if key == "b":
        raise OSError("gone")
    return key.upper()
cache = TileCache(load)
got = prefetch(cache, iter("abcdab"), workers=3)
say(got, cache.stats.of("hit"))
"""
        self.assertEqual(said(code), [["A", None, "C", "D", "A", None], 1])

    def test_so_many_workers_fetch_at_the_same_time(self):
        code = """
gate = threading.Barrier(4)
def load(key):
    gate.wait(2)
    return key
say(prefetch(TileCache(load), [3, 1, 2, 0], workers=4))
"""
        self.assertEqual(said(code), [[3, 1, 2, 0]])

    def test_many_threads_in_a_small_cache(self):
        code = """
sys.setswitchinterval(1e-5)
calls = []
def load(key):
    calls.append(key)
    return -key
cache = TileCache(load, capacity=5)
def work(first):
    return all(cache.get((first + n * n) % 20) == -((first + n * n) % 20) for n in range(150))
got = run(*[lambda first=first: work(first) for first in range(8)])
stats = cache.stats
say(got, len(cache), stats.of("hit") + stats.of("load"), stats.of("load") - len(calls), stats.of("load") - stats.of("drop"))
"""
        self.assertEqual(said(code), [[True] * 8, 5, 1200, 0, 5])

    def test_one_thread_finds_all_as_it_was(self):
        calls = []
        cache = TileCache(lambda key: calls.append(key), capacity=2)
        self.assertEqual([cache.get(key) for key in "abaca"], [None] * 5)
        self.assertEqual((calls, list(cache.keys()), len(cache)), (["a", "b", "c"], ["c", "a"], 2))
        self.assertEqual(cache.stats.summary(), "drop 1, hit 2, load 3")
        cache.get("b")
        self.assertEqual((calls, list(cache.keys())), (["a", "b", "c", "b"], ["a", "b"]))
        with self.assertRaises(ValueError):
            TileCache(len, capacity=0)

    def test_the_rest_too(self):
        self.assertEqual(list(prefetch(TileCache(int), [], workers=2)), [])
        self.assertEqual(list(prefetch(TileCache(int), [1, 1, 2], workers=1)), [1, 1, 2])
        self.assertEqual([tile.x for tile in tiles_around(Tile(2, 0, 0), 1)], [3, 0, 1, 3, 0, 1])
        stats = Stats(lambda: 3.0)
        stats.count("x")
        self.assertEqual((stats.of("x"), stats.last("x"), stats.summary()), (1, 3.0, "x 1"))
