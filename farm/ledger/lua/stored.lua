-- stored(tenant): bytes that the tenant has in the store, and those that addresses were given out for.
-- uses: stored
return stored_bytes(ARGV[1])
