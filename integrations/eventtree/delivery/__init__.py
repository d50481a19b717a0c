"""Delivering the journal: one thread with one asyncio loop, and a consumer per vendor; none waits for another.

shipper.py       starts consumers, wakes them, flushes, stops
thread.py        the thread, its loop, its start and its end; a relay has one too
feed.py          the logs read once, each finished tree folded once for all vendors
consumer.py      one vendor: takes due trees and feedback, sends and settles them
sender.py        items → requests → answers
gate.py          whether the vendor may be asked now
lookups.py       the ids that fill its addresses
http.py          one request, one answer; no other file imports httpx
connection.py    HTTP/1.1 on sockets that are kept open
retry.py         what a status means, how long to wait, when to stop asking
dead_letters.py  refused items, with the vendor's words
resend.py        dead letters, sent again
flush.py         waiting for delivery
report.py        accepted = delivered + waiting + dead + dropped
"""
