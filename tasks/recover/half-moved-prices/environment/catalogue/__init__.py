"""The catalogue of a hardware shop: articles with sizes, prices and offers."""

from catalogue.articles import Article, Size, articles
from catalogue.basket import Basket
from catalogue.migrate import migrate
from catalogue.report import price_list
from catalogue.store import Store, WrongFormat

__all__ = ["Article", "Basket", "Size", "Store", "WrongFormat", "articles", "migrate", "price_list"]
