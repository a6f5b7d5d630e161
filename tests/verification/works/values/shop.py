import collections, dataclasses, datetime, decimal, enum, fractions, pathlib, uuid

def same(value):
    return value

def kind(value):
    return type(value).__name__

def name_of(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"
