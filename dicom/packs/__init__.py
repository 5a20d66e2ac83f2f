"""Packs: append-only files of records that describe themselves. The index can be rebuilt from them alone."""
