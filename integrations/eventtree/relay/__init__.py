"""Beyond one machine: a relay replicates an app's logs to a collector, whose folder is shipped as any journal is.

    app's folder ──relay.py──▶ engine ──collect.py──▶ collector's folder ──▶ delivery, report, show, as ever
                    chunks of bytes     written at their offset, fsynced, only then acknowledged

port.py         what an engine is: publish a message, receive messages, acknowledge; a lease for each partition
nats.py         NATS JetStream (extra `nats`)
redis.py        Redis Streams (extra `redis`)
http.py         no engine: the collector's own endpoint, whose fsync is the acknowledgement (extra `collector`)
split.py        more partitions than one: the lines of a log, by their trees, as logs of their own
ends.py         who still writes: heartbeats, and what becomes of a process that was not heard of
settings.py     where to: the URL, and the credentials of the environment
"""
