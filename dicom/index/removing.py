"""Taking an instance out of the index again. Its bytes stay where they are."""

from __future__ import annotations

import sqlite3


def remove_instance(connection: sqlite3.Connection, instance: int) -> None:
    """Remove one row, and the series and study that held nothing else."""
    series, study = connection.execute(
        "SELECT i.series, s.study FROM instance i JOIN series s ON s.id = i.series WHERE i.id = ?",
        (instance,),
    ).fetchone()
    connection.execute("DELETE FROM instance WHERE id = ?", (instance,))
    connection.execute("UPDATE series SET instance_count = instance_count - 1 WHERE id = ?", (series,))
    connection.execute("UPDATE study SET instance_count = instance_count - 1 WHERE id = ?", (study,))
    gone = connection.execute("DELETE FROM series WHERE id = ? AND instance_count = 0", (series,)).rowcount
    connection.execute("UPDATE study SET series_count = series_count - ? WHERE id = ?", (gone, study))
    connection.execute("DELETE FROM study WHERE id = ? AND instance_count = 0", (study,))
