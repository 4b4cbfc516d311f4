"""How HTTP comes in: connections with deadlines, whole requests, and then a thread. No address and no dialect in it."""
