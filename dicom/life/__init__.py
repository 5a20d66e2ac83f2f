"""The life of the data: scrub, repair, figures, backup and restore."""
