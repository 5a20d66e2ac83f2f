"""The demo city: a whole region with fictional people, in which every part of the product has something to do."""

from server.demo.seeding import accounts, describe, seed

__all__ = ["accounts", "describe", "seed"]
