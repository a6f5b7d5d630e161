import json
import tempfile
import unittest
from pathlib import Path

from catalogue import Basket, Store, WrongFormat, articles, migrate, price_list

OLD = {
    "articles": [
        {"code": "H1", "title": "Hammer", "sizes": [{"name": "300 g", "price": 12.5, "stock": 3}], "offer": 11.0},
        {"code": "N1", "title": "Nails", "sizes": [{"name": "box", "price": 4, "stock": 90}]},
    ]
}
NEW = {
    "format": 2,
    "articles": [
        {"code": "H1", "title": "Hammer", "sizes": [{"name": "300 g", "cents": 1250, "stock": 3}], "offer_cents": 1100},
        {"code": "N1", "title": "Nails", "sizes": [{"name": "box", "cents": 400, "stock": 90}]},
    ],
}


class CatalogueTest(unittest.TestCase):
    def store(self, data):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "catalogue.json"
        path.write_text(json.dumps(data))
        return Store(path)

    def test_migrate(self):
        store = self.store(OLD)
        self.assertEqual(migrate(store), 2)
        self.assertEqual(json.loads(store.path.read_text()), NEW | {"articles": NEW["articles"]})

    def test_old_format_is_refused(self):
        with self.assertRaises(WrongFormat):
            articles(self.store(OLD))

    def test_basket(self):
        known = articles(self.store(NEW))
        basket = Basket()
        basket.add(known["H1"], "300 g", 2)
        self.assertEqual((basket.goods(), basket.total()), (2200, 2690))

    def test_price_list(self):
        self.assertEqual(price_list(self.store(NEW)), ["Hammer, 300 g: 11.00 *", "Nails, box: 4.00"])

    def test_our_catalogue_can_be_read(self):
        self.assertEqual(len(articles(Store(Path("data/catalogue.json")))), 24)


if __name__ == "__main__":
    unittest.main()
