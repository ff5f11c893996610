"""One run: its job, the loop that hands out attempts, and the account of what became of them."""
