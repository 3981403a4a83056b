"""A blind review: people compare what ships with a baseline, not knowing which is which; what that shows and what not.

`judgement.py` is what a reviewer says, `comparisons.py` what all of them say of a sample, `report.py` the report.
"""
