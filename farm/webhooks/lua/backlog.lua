-- backlog(): {deliveries not settled yet, of those the longest due: since when, ms, or 0; dead letters}. Counts lists of
-- receivers, never deliveries.
local pending, first, dead = 0, 0, 0
for _, tenant in ipairs(redis.call('ZRANGE', TENANTS, 0, -1)) do
  for _, receiver in ipairs(redis.call('ZRANGE', Key.hook_receivers(tenant), 0, -1)) do
    pending = pending + redis.call('ZCARD', Key.hook_due(receiver)) + redis.call('ZCARD', Key.hook_leased(receiver))
    local due = redis.call('ZRANGE', Key.hook_due(receiver), 0, 0, 'WITHSCORES')
    if due[2] and (first == 0 or tonumber(due[2]) < first) then first = tonumber(due[2]) end
  end
end
for _, tenant in ipairs(ARGV) do dead = dead + redis.call('ZCARD', Key.hook_dead(tenant)) end
return {pending, first, dead, NOW}
