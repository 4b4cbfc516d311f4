"""The local stack: a real Redis and a real S3 server from wheels, and every process of the farm, on one machine."""
