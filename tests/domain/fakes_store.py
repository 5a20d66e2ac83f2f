"""A shelf of versioned values: add, get, save with the version check of consult/ports.py."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from consult.errors import Conflict, NotFound, Stale

T = TypeVar("T")


class Shelf(Generic[T]):
    def __init__(self) -> None:
        self._items: dict[Hashable, T] = {}

    def get(self, key: Hashable) -> T:
        try:
            return self._items[key]
        except KeyError:
            raise NotFound from None

    def all(self) -> Sequence[T]:
        return list(self._items.values())

    def add(self, key: Hashable, value: T) -> None:
        if key in self._items:
            raise Conflict(field="id")
        self._items[key] = value

    def put(self, key: Hashable, value: T) -> None:
        self._items[key] = value

    def save(self, key: Hashable, value: Any) -> T:
        stored: Any = self.get(key)
        if stored.version != value.version:
            raise Stale(version=stored.version)
        changed: T = replace(value, version=value.version + 1)
        self._items[key] = changed
        return changed

    def remove(self, key: Hashable) -> None:
        self._items.pop(key, None)
