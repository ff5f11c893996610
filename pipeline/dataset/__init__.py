"""What an output holds: assets, packed files, snapshots, catalog, failures, scores, lease."""
