"""The GPU worker's agent: claims, keeps the lease, prepares inputs, uploads, commits. Knows jobs and no tensors."""
