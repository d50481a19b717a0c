"""Sending what is in the journal: one thread with one asyncio loop, a consumer per vendor; none waits for another.

shipper.py   the thread: starts consumers, wakes them, flushes, stops
consumer.py      one vendor: read what is due, encode, send, settle
http.py      one request, one answer; the only file that knows httpx
retry.py     what an answer means, how long to wait, when to stop asking
split.py     halving a refused request, shortening a too large one
throttle.py      short slices, so that the app's callbacks don't wait for the interpreter
dead.py      what a vendor refused, with its words
report.py    accepted = delivered + waiting + dead + dropped
"""
