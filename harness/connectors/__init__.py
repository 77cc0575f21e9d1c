"""One file per kind of connector. ``harness.contract.connector`` says what a kind is."""
