"""Beyond one machine: a relay replicates an app's logs to a collector, whose folder is shipped like any journal.

    app's folder ──relay.py──▶ engine ──collect.py──▶ collector's folder ──▶ delivery, report, show, as ever
                    chunks of bytes     written at their offset, fsynced, only then acknowledged

`relay.py` runs `replicate.py` in a thread or a process. `port.py` is the interface of an engine, which `nats.py` and
`redis.py` implement, and `http.py`, where the collector itself listens and its fsync is the acknowledgement.
"""
