"""A long run against real cameras: how old what is scored is, and what grows meanwhile.

python -m benchmarks.soak --minutes 10
"""
