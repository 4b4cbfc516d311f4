"""A job's inputs before any GPU reads them: fetched, recognised, checked, stored by content hash."""
