"""From a torch checkpoint to a model file that is folded, checked and held to its numbers."""
