"""Live cameras, one or many, in one process: each on its own, one model for all."""
