"""Connectors for people who only want to use them: folders that ``harness.load`` opens."""
