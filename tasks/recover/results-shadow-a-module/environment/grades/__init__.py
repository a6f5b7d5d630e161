"""Works out how the terms of a school went."""

from grades.figures import Figures, figures, trend
from grades.report import overview, report
from grades.terms import Mark, NoSuchTerm, read_term, term_names

__all__ = ["Figures", "Mark", "NoSuchTerm", "figures", "overview", "read_term", "report", "term_names", "trend"]
