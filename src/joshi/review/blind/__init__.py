"""The blind review: people compare what ships with a baseline and do not know which is which."""
