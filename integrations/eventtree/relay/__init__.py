"""Beyond one machine: a relay replicates an app's logs to a collector, whose folder is shipped like any journal.

    app's folder ──relay.py──▶ engine ──collect.py──▶ collector's folder ──▶ delivery, report, show, as ever
                    chunks of bytes     written at their offset, fsynced, only then acknowledged

relay.py        the relay: a thread of the app, or a process; takes the folder's lock, connects, tries again
replicate.py    sends the next bytes of each log, by partitions, and which processes live or have died
collect.py      the collector: takes leases, writes chunks at their offsets, acknowledges, asks again, ships
port.py         the interface of an engine: publish a chunk, receive messages, acknowledge; a lease for each partition;
                and the engine of a URL, with the credentials of the environment
nats.py         NATS JetStream (extra `nats`)
redis.py        Redis Streams (extra `redis`)
http.py         no engine: the collector's own endpoint, whose fsync is the acknowledgement (extra `collector`)
"""
