"""The ruler: judges, what they are shown and what they are asked, and the benchmark of assets."""
