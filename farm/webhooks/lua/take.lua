-- take(count, suspects, lease_ms): up to `count` due deliveries, of which at most `suspects` to receivers that failed
-- last, leased for lease_ms. Answers {{id, fields and values of the delivery, suspect, NOW}, ...}.
local count, suspects, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = {}

-- The clock went back since somebody looked: what is due then comes when it was promised, not so much later. Some at a
-- time; those that are left are seen at the next look.
local LOOKED = PREFIX .. ':hooks:looked'
local back, left = tonumber(redis.call('GET', LOOKED) or NOW) - NOW, 2000
if back > 0 then
  for _, receiver in ipairs(redis.call('ZRANGE', RECEIVERS, 0, -1)) do
    for _, key in ipairs({due_key(receiver), flying_key(receiver)}) do
      local later = redis.call('ZRANGEBYSCORE', key, '(' .. NOW, '+inf', 'WITHSCORES', 'LIMIT', 0, left)
      for n = 1, #later, 2 do redis.call('ZADD', key, math.max(NOW, tonumber(later[n + 1]) - back), later[n]) end
      left = left - #later / 2
    end
    refresh(receiver)
    if left <= 0 then break end
  end
end
if left > 0 then redis.call('SET', LOOKED, NOW) end

for _, receiver in ipairs(redis.call('ZRANGEBYSCORE', RECEIVERS, '-inf', NOW, 'LIMIT', 0, 500)) do
  -- a lease that ran out: its process died, and the delivery may have happened or not
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', flying_key(receiver), '-inf', NOW)) do
    redis.call('ZREM', flying_key(receiver), id)
    redis.call('ZADD', due_key(receiver), NOW, id)
  end
  local suspect = failures(receiver) > 0
  local room = math.min(allowance(receiver), count - #taken)
  if suspect then room = math.min(room, suspects) end
  if room > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_key(receiver), '-inf', NOW, 'LIMIT', 0, room)) do
      redis.call('ZREM', due_key(receiver), id)
      redis.call('ZADD', flying_key(receiver), NOW + lease_ms, id)
      if suspect then suspects = suspects - 1 end
      taken[#taken + 1] = {id, redis.call('HGETALL', hook_key(id)), suspect and 1 or 0, NOW}
    end
  end
  refresh(receiver)
  -- not in the way of others while there is no room for it
  if suspect and suspects <= 0 then redis.call('ZADD', RECEIVERS, 'XX', NOW + 1000, receiver) end
  if #taken >= count then break end
end
return taken
