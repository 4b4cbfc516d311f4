-- What a tenant has in the store (farm.storage.quota counts it).
-- uses: clock
-- Its bytes, and those that addresses were given out for.
local function stored_bytes(tenant)
  local bytes = math.max(0, tonumber(redis.call('HGET', Key.stored(), tenant) or 0))
  for _, room in ipairs(redis.call('ZRANGEBYSCORE', Key.rooms(tenant), NOW, '+inf')) do
    bytes = bytes + tonumber(string.match(room, ':(%d+)$'))
  end
  return bytes
end
