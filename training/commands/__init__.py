"""The commands that train: flags → configuration → one call."""
