"""A linear head on the features of a trunk that stays as it is."""
