"""`dreambatch evaluate`: judges look at the assets of a dataset, and what they say is kept."""
