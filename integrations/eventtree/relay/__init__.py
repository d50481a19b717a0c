"""Beyond one machine: a relay replicates an app's logs to a collector, whose folder is shipped as any journal is.

    app's folder ──relay.py──▶ engine ──collect.py──▶ collector's folder ──▶ delivery, report, show, as ever
                    chunks of bytes     written at their offset, fsynced, only then acknowledged

relay.py        the relay: a thread of the app, or a process; takes the folder's lock, connects, tries again
replicate.py    what it sends: the next bytes of each log, and which processes live or have died
split.py        bytes as chunks; with more partitions than one, lines by their trees, as logs of their own
collect.py      the collector: takes leases, receives, acknowledges, asks again, ships
write.py        what it does with a chunk, by its offset; and with a process that is not heard of any more
port.py         what an engine is: publish a chunk, receive messages, acknowledge; a lease for each partition
nats.py         NATS JetStream (extra `nats`)
redis.py        Redis Streams (extra `redis`)
http.py         no engine: the collector's own endpoint, whose fsync is the acknowledgement (extra `collector`)
settings.py     where to: the URL, and the credentials of the environment
"""
