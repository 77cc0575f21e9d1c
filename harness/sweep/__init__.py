"""From the sweep file to a plan: what is asked for, what it means here, which cells it takes, what they will cost."""
