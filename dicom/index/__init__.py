"""The archive's index: one SQLite file, rebuilt from the packs at will. One of the two rooms where SQL stands."""
