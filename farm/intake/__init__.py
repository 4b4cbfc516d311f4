"""What becomes of a job's inputs before any GPU sees it: fetched, sniffed, checked, stored by content hash."""
