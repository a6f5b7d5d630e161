import contextlib, copy, io, unittest
from unittest import mock
import shop
from shop import *
from shop import Price, Refused, Shop, Sold


class ShopTest(unittest.TestCase):
    def setUp(self):
        self.shop = Shop(stock={"nut": 2, "bolt": 1})

    def test_exceptions(self):
        with self.assertRaises(Sold) as caught:
            self.shop.take("nut", count=5)
        self.assertEqual(str(caught.exception), "no nut")
        self.assertEqual(caught.exception.args, ("no nut",))
        self.assertEqual(caught.exception.missing, 3)
        self.assertIsInstance(caught.exception, Refused)
        self.assertIsInstance(caught.exception, ValueError)
        with self.assertRaisesRegex(ValueError, "no cup"):
            self.shop.take("cup")
        with self.assertRaises(TypeError):
            self.shop.take()
        with self.assertRaises(AttributeError):
            self.shop.nothing
        try:
            self.shop["cup"]
        except KeyError as error:
            self.assertEqual(error.args, ("cup",))
        else:
            self.fail()

    def test_attributes_items_and_length(self):
        self.assertEqual(self.shop.take("nut"), 1)
        self.assertEqual((self.shop.last, self.shop.stock, len(self.shop)), ("nut", {"nut": 1, "bolt": 1}, 2))
        self.shop["cup"] = 3
        del self.shop["nut"]
        self.assertEqual(list(self.shop), ["bolt", "cup"])
        self.assertIn("cup", self.shop)
        self.assertNotIn("nut", self.shop)
        self.shop.stock = {}
        self.assertEqual(len(self.shop), 0)
        self.assertFalse(hasattr(self.shop, "price"))
        self.assertEqual(getattr(self.shop, "price", 5), 5)
        self.assertEqual((Shop.take.__doc__, Shop.take.__name__), ("Take it.", "take"))

    def test_classes(self):
        self.assertIsInstance(self.shop, Shop)
        self.assertNotIsInstance(Price(3), Shop)
        self.assertTrue(issubclass(Sold, Refused))
        Shop.rate = 5
        self.assertEqual(self.shop.rate, 5)
        self.assertIs(Colour("red"), Colour.RED)
        self.assertEqual(Size.M, 2)
        self.assertEqual(Size.M + 1, 3)
        self.assertLess(Size.S, Size.M)
        self.assertLess(Size.S, 2)

    def test_operators(self):
        self.assertEqual(Price(2) + Price(3), Price(5))
        self.assertEqual(sum([Price(2), Price(3)]), Price(5))
        self.assertEqual(Price(2) - Price(3), Price(-1))
        self.assertEqual(Price(2) * 3, Price(6))
        self.assertNotEqual(Price(2), Price(3))
        self.assertNotEqual(Price(2), 2)
        self.assertGreater(Price(3), Price(2))
        self.assertEqual(str(Price(250)), "2.50")
        self.assertEqual(f"{Price(250)}", "2.50")
        self.assertEqual(repr(Price(2)), "Price(cents=2)")
        self.assertFalse(Price(0))
        self.assertEqual(float(Price(250)), 2.5)
        self.assertEqual({Price(2): 1}[Price(2)], 1)
        self.assertEqual(sorted([Price(3), Price(1)])[0].cents, 1)
        self.assertEqual(copy.deepcopy(Price(4)), Price(4))
        price = same = Price(1)
        price += Price(2)
        self.assertEqual(same.cents, 3)
        with self.assertRaises(TypeError):
            Price(1) / Price(2)

    def test_extended_builtins(self):
        basket = Basket(nut=2)
        self.assertEqual(basket, {"nut": 2})
        basket["cup"] = 3
        self.assertEqual(basket, {"nut": 2, "cup": 3})
        self.assertEqual(basket.sum(), 5)
        self.assertEqual(dict(basket), {"nut": 2, "cup": 3})
        pair = Pair(1, 2)
        self.assertEqual(pair, (1, 2))
        self.assertEqual((pair.left, pair[1], list(pair)), (1, 2, [1, 2]))
        left, right = pair
        self.assertEqual(right, 2)

    def test_with_and_iterators(self):
        with Basket(a=1) as basket:
            self.assertEqual(Basket.opened, 1)
            basket["none"]
        with self.assertRaises(ZeroDivisionError):
            with basket:
                1 / 0
        self.assertEqual(list(count_up(3)), [0, 1, 2])
        numbers = count_up(2)
        self.assertEqual((next(numbers), next(numbers), next(numbers, "end")), (0, 1, "end"))
        self.assertEqual(drain(number * 2 for number in range(3)), [0, 2, 4])
        self.assertEqual(drain(io.StringIO("a\nb")), ["a\n", "b"])

    def test_callbacks_and_fakes(self):
        found = []
        self.assertEqual(self.shop.each(lambda item, count: found.append(item) or count), [1, 2])
        self.assertEqual(found, ["bolt", "nut"])
        watcher = mock.Mock(return_value=5)
        self.assertEqual(self.shop.each(watcher), [5, 5])
        watcher.assert_called_with("nut", count=2)

        class Fake:
            def ask(self, number): return number + 1
            def __len__(self): return 4
            def __enter__(self): return self
            def __exit__(self, *error): pass
            def __getitem__(self, key): return key * 2
            def __iter__(self): return iter("ba")

        fake = Fake()
        self.assertEqual(use(fake), (4, True, "kk", ["a", "b"]))
        self.assertEqual(fake.seen, 3)

        def fail():
            raise KeyError("k")

        self.assertEqual(call_and_catch(fail), "caught 'k'")

        def sell_out():
            raise Sold("all")

        with self.assertRaises(Sold):
            call_and_catch(sell_out)

    def test_arguments_that_change(self):
        items, table, seen = [3, 1, 2], {}, set()
        rearrange(items, table, seen)
        self.assertEqual((items, table, seen), ([1, 2], {"new": 3}, {"x"}))

    def test_output(self):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            shop.shout()
        self.assertEqual((out.getvalue(), err.getvalue()), ("loud\n", "louder\n"))

    def test_patches(self):
        with mock.patch("shop.rate", return_value=2.0) as patched, mock.patch.object(Shop, "rate", 9):
            self.assertEqual(shop.taxed(3), 6.0)
            self.assertEqual(self.shop.rate, 9)
        patched.assert_called_once_with()
        self.assertEqual((shop.taxed(3), self.shop.rate), (3.0, 1))

    def test_threads(self):
        import threading
        found = []
        threads = [threading.Thread(target=lambda: found.append(self.shop.take("nut", count=0))) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        self.assertEqual(found, [0] * 8)


class LaterTest(unittest.IsolatedAsyncioTestCase):
    async def test_await(self):
        self.assertEqual(await shop.fetch(2), 3)
        with self.assertRaises(Refused):
            await shop.fetch(-1)
