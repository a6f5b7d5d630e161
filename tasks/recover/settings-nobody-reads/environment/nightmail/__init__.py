"""Collects what happens and sends it as a digest, one per profile."""

from nightmail.digest import Event, compose
from nightmail.schedule import is_quiet, next_delivery
from nightmail.settings import BadSetting, Settings, load, profiles

__all__ = ["BadSetting", "Event", "Settings", "compose", "is_quiet", "load", "next_delivery", "profiles"]
