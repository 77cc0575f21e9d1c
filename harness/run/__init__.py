"""Running a plan: cells, the store that remembers them, and the backends that schedule them."""
