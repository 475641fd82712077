"""One page to look at pairs."""
