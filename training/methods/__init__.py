"""Ways to train: a Lightning module for each. `base` has what they share."""
