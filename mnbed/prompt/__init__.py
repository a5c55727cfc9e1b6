"""The prompt on a standing network: a user of runs, not a part of them."""
