"""The LoRAs of each tenant: checked while they are stored, named by their owner, removed once no open job uses them."""
