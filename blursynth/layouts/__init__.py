"""The layouts of the community's data sets."""
