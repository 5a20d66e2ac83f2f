"""Long searches for what goes wrong: `make fuzz` runs every module here; `make test` runs a seeded sample of each."""
