"""The records of a tree in, an `EventTree` out: what lies below what, how it ended, what it used and cost."""
