"""The types that methods, encoders, tasks and the runner agree on, and small pure functions over them.

Nothing here knows a method, a file of a run or a backend. Authors of methods read ``harness.method``, which re-exports
what they need.
"""
