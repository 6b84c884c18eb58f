"""How long one frame takes in every runtime that is present, one frame after the other."""
