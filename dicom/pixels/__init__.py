"""Pixels: decoding and pictures. Imported by worker processes only."""
