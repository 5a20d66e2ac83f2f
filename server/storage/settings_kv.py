"""Small values of the installation (its id, the consent texts by version), as JSON under a name."""

from typing import Any

from sqlalchemy import delete, select, update

from server.storage.repository import Repository
from server.storage.tables_more import setting


class Settings(Repository):
    def get(self, name: str, default: Any = None) -> Any:
        row = self.link.execute(select(setting.c.value).where(setting.c.name == name)).first()
        return default if row is None else row[0]

    def put(self, name: str, value: Any) -> None:
        """Insert or replace. `value` is anything JSON can say except null."""
        if value is None:
            raise TypeError
        if not self.link.insert_new(setting, {"name": name, "value": value}):
            self.link.execute(update(setting).where(setting.c.name == name).values(value=value))

    def add(self, name: str, value: Any) -> bool:
        """Insert only; False when the name is taken (a consent text in force is never rewritten)."""
        return self.link.insert_new(setting, {"name": name, "value": value})

    def names(self, prefix: str) -> list[str]:
        """Names with the prefix, in order."""
        c = setting.c
        query = select(c.name).where(c.name.startswith(prefix, autoescape=True)).order_by(c.name)
        return [str(row[0]) for row in self.link.execute(query)]

    def remove(self, name: str) -> None:
        self.link.execute(delete(setting).where(setting.c.name == name))
