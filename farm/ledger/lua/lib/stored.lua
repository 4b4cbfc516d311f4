-- What a tenant has in the store (farm.storage.quota counts it).
-- uses: clock
-- Its bytes, and those that addresses were given out for.
local function stored_bytes(tenant)
  local bytes = math.max(0, tonumber(redis.call('HGET', Key.stored(), tenant) or 0))
  -- a field for each minute, however many addresses were given out
  local rooms = redis.call('HGETALL', Key.rooms(tenant))
  for n = 1, #rooms, 2 do
    if 60000 * rooms[n] > NOW then bytes = bytes + tonumber(rooms[n + 1]) end
  end
  return bytes
end
