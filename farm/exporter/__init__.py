"""The process that shows the whole farm to Prometheus."""
