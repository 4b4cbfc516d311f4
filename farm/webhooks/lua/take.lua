-- take(count, suspects, lease_ms): up to `count` due deliveries, of which at most `suspects` to receivers that failed
-- last, leased for lease_ms. One after the other from the tenant that has the fewest under way, and no more than
-- PER_TENANT of each. Answers {{id, fields and values of the delivery, suspect, NOW}, ...}.
local count, suspects, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = {}

-- The clock went back since the last look: move due times and leases back by as much. Some at a time; the next look
-- goes on.
local LOOKED = Key.hook_looked()
local back, left = tonumber(redis.call('GET', LOOKED) or NOW) - NOW, 2000

local function put_back(key)
  local later = redis.call('ZRANGEBYSCORE', key, '(' .. NOW, '+inf', 'WITHSCORES', 'LIMIT', 0, left)
  for n = 1, #later, 2 do redis.call('ZADD', key, math.max(NOW, tonumber(later[n + 1]) - back), later[n]) end
  left = left - #later / 2
end

if back > 0 then
  for _, tenant in ipairs(redis.call('ZRANGE', TENANTS, 0, -1)) do
    for _, receiver in ipairs(redis.call('ZRANGE', Key.hook_receivers(tenant), 0, -1)) do
      put_back(Key.hook_due(receiver))
      put_back(Key.hook_leased(receiver))
      refresh(receiver)
      if left <= 0 then break end
    end
    put_back(Key.hook_tenant_leased(tenant))
    if left <= 0 then break end
  end
end
if left > 0 then redis.call('SET', LOOKED, NOW) end

-- A lease ran out: its process died, and the delivery may have happened or not.
local function give_back(receiver)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', Key.hook_leased(receiver), '-inf', NOW)) do
    redis.call('ZREM', Key.hook_leased(receiver), id)
    redis.call('ZADD', Key.hook_due(receiver), NOW, id)
  end
end

-- One delivery of the tenant; false when it has none that may go out now.
local function take_one(tenant)
  for _, receiver in ipairs(redis.call('ZRANGEBYSCORE', Key.hook_receivers(tenant), '-inf', NOW, 'LIMIT', 0, 100)) do
    give_back(receiver)
    local suspect = failures(receiver) > 0
    local id = nil
    if allowance(receiver) > 0 and (not suspect or suspects > 0) then
      id = redis.call('ZRANGEBYSCORE', Key.hook_due(receiver), '-inf', NOW, 'LIMIT', 0, 1)[1]
    end
    if id then
      redis.call('ZREM', Key.hook_due(receiver), id)
      redis.call('ZADD', Key.hook_leased(receiver), NOW + lease_ms, id)
      redis.call('ZADD', Key.hook_tenant_leased(tenant), NOW + lease_ms, id)
      if suspect then suspects = suspects - 1 end
      taken[#taken + 1] = {id, redis.call('HGETALL', Key.hook(id)), suspect and 1 or 0, NOW}
    end
    refresh(receiver)
    -- look at this receiver later, so that it does not delay others
    if suspect and suspects <= 0 then
      redis.call('ZADD', Key.hook_receivers(tenant), 'XX', NOW + 1000, receiver)
      refresh_tenant(tenant)
    end
    if id then return true end
  end
  return false
end

local waiting = {}
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', TENANTS, '-inf', NOW, 'LIMIT', 0, 500)) do
  redis.call('ZREMRANGEBYSCORE', Key.hook_tenant_leased(tenant), '-inf', NOW)
  waiting[#waiting + 1] = {tenant, redis.call('ZCARD', Key.hook_tenant_leased(tenant))}
end
while #taken < count and #waiting > 0 do
  local least = 1
  for n = 2, #waiting do
    if waiting[n][2] < waiting[least][2] then least = n end
  end
  if waiting[least][2] < PER_TENANT and take_one(waiting[least][1]) then
    waiting[least][2] = waiting[least][2] + 1
  else
    table.remove(waiting, least)
  end
end
return taken
