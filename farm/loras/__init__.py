"""The LoRAs of each tenant: judged on their way into the store, named by their owner, removed once no open job wears
them."""
