"""Sending what is in the journal: one thread with one asyncio loop, a consumer per vendor; none waits for another.

shipper.py       starts consumers, wakes them, flushes, stops
thread.py        the thread, its loop, its start and its end; a relay has one too
feed.py          the logs read once, each finished tree folded once for all vendors
consumer.py      one vendor: takes what is due, has it sent, settles it
sender.py        items → requests → answers
gate.py          whether the vendor may be asked now
lookups.py       the ids that fill its addresses
http.py          one request, one answer; the only file that knows httpx
connection.py    HTTP/1.1 on sockets that are kept open
retry.py         what an answer means, how long to wait, when to stop asking
dead_letters.py  what a vendor refused, with its words
resend.py        dead letters, sent again
flush.py         waiting for delivery
report.py        accepted = delivered + waiting + dead + dropped
"""
