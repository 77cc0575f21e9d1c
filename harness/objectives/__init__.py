"""One file per training objective. ``harness.contract.objective`` says what an objective is."""
