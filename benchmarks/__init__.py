"""Measurements; they look at everything and change nothing."""
