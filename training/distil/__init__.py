"""Teach a small patch model what a large one sees in each patch."""
