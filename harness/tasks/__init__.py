"""One file per task: what connectors are measured on. ``harness.tasks.base`` is the page that a task's author reads."""
