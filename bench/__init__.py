"""Side-by-side measurements. Each module answers one question with one command: `python -m bench.<name>`."""
