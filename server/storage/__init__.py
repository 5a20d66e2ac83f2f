"""The clinical database: SQLite by default, PostgreSQL for a city. One of the two rooms where SQL stands."""
