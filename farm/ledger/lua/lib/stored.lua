-- What a tenant has in the store (farm.storage.quota counts it).
-- uses: clock
-- Its bytes, with those that it may still upload to addresses it was given.
local function stored_bytes(tenant)
  local bytes = math.max(0, tonumber(redis.call('HGET', Key.stored(), tenant) or 0))
  -- one field for each minute, however many addresses were given out
  local rooms = redis.call('HGETALL', Key.rooms(tenant))
  for n = 1, #rooms, 2 do
    if 60000 * rooms[n] > NOW then bytes = bytes + tonumber(rooms[n + 1]) end
  end
  return bytes
end
