"""Objects in S3, their keys, and files that clients upload."""
