"""Assets out of the dataset: folders and shards of files that other programs read."""
