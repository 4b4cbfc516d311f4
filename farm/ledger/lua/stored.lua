-- stored(tenant): bytes that the tenant has in the store, with those that it may still upload to addresses it was given.
-- uses: stored
return stored_bytes(ARGV[1])
