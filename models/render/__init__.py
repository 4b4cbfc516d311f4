"""The warm model of one device, and the tasks that it renders."""
