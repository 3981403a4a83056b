"""Does the model still answer as it did at release? Tests of one day, held together by sums over days.

`judge.judge_day` is the way in; it reads and writes nothing. Two sources are watched. The same probes are answered at
release and every day, so that what changes is the model or how it is served. Production's own answers are to other
messages each day, so that what changes may be the suppliers as well.
"""
