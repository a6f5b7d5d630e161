"""The results of the terms, and what reads them."""
