"""What the io worker does: intake of inputs, and keeping the house. Each file is one duty; farm.io_app calls them."""
