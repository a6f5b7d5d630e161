"""A customer's basket."""

from catalogue.articles import Article


class Basket:
    """Pieces of articles by size; from 50 euros on there is no charge for delivery."""

    DELIVERY = 490
    FREE_FROM = 5000

    def __init__(self) -> None:
        self._lines: list[tuple[Article, str, int]] = []

    def add(self, article: Article, size: str, pieces: int = 1) -> None:
        """Put pieces in; KeyError if there is no such size."""
        article.cents(size)
        self._lines.append((article, size, pieces))

    def goods(self) -> int:
        """What is in it, in cents."""
        return sum(article.cents(size) * pieces for article, size, pieces in self._lines)

    def total(self) -> int:
        """With delivery, in cents; an empty basket costs nothing."""
        goods = self.goods()
        return goods + (self.DELIVERY if 0 < goods < self.FREE_FROM else 0)
