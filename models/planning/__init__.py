"""What a render is asked for, and what it weighs, before it runs. Pure."""
