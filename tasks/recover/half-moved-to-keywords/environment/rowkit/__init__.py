"""Runs recipes over tables."""

from rowkit.recipes import BadRecipe, check, read_recipe
from rowkit.runner import run, run_file
from rowkit.summary import highlights, summary

__all__ = ["BadRecipe", "check", "highlights", "read_recipe", "run", "run_file", "summary"]
