"""Made by tools.generate_fields from data/schema.sql. Do not edit."""

SCHEMA = 2
NAME = 0
COUNTRY = 1
POPULATION = 2
ELEVATION = None
CAPITAL = None
