import collections, datetime, decimal, fractions, math, pathlib, uuid
import shop

VALUES = [
    None, True, 0, -7, 2**53, -2**200, -(2**5000), 1.5, -0.0, float("inf"), 2 + 3j, "", "é\u2028\0", "\ud800", b"\xff\0",
    bytearray(b"x"), [], [1, [2, (3,)]], (), (1,), {1, 2}, frozenset({"a"}), {}, {"a": 1, 2: [3], (4, 5): None, None: {}},
    ..., NotImplemented, int, ValueError, range(3, 9, 2), slice(1, None), decimal.Decimal("1.10"),
    fractions.Fraction(1, 3), datetime.date(2024, 2, 29), datetime.timedelta(days=-1, microseconds=3),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone.utc), datetime.time(23, 59), pathlib.Path("/a/b"),
    uuid.UUID(int=5), collections.Counter("abca"), collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.deque([1, 2], 5), collections.defaultdict(None, {"a": 1}),
]

def test_values():
    for value in VALUES:
        back = shop.same(value)
        assert type(back) is type(value), (value, type(back))
        assert back == value, value
        assert repr(back) == repr(value)
        assert shop.kind(value) == type(value).__name__

def test_not_a_number():
    assert math.isnan(shop.same(float("nan")))
