-- settle(id, outcome, status, error, pause_ms, dead_kept): record how a leased delivery ended. outcome: 'delivered' forgets it,
-- 'retry' makes it due in pause_ms, 'dead' puts it on the tenant's dead-letter list. Answers 0 when the lease was lost.
local id, outcome = ARGV[1], ARGV[2]
local facts = redis.call('HMGET', Key.hook(id), 'receiver', 'tenant')
local receiver, tenant = facts[1], facts[2]
if not receiver or redis.call('ZREM', Key.hook_leased(receiver), id) == 0 then return 0 end
redis.call('ZREM', Key.hook_tenant_leased(tenant), id)
if outcome == 'delivered' then
  redis.call('HDEL', FAILURES, receiver)
  redis.call('DEL', Key.hook(id))
else
  redis.call('HINCRBY', FAILURES, receiver, 1)
  redis.call('HINCRBY', Key.hook(id), 'attempts', 1)
  redis.call('HSET', Key.hook(id), 'status', ARGV[3], 'error', ARGV[4], 'tried_ms', NOW)
  if outcome == 'retry' then
    redis.call('ZADD', Key.hook_due(receiver), NOW + tonumber(ARGV[5]), id)
  else
    redis.call('HSET', Key.hook(id), 'state', 'dead')
    redis.call('ZADD', Key.hook_dead(tenant), NOW, id)
    local over = redis.call('ZCARD', Key.hook_dead(tenant)) - tonumber(ARGV[6])
    if over > 0 then
      for _, old in ipairs(redis.call('ZPOPMIN', Key.hook_dead(tenant), over)) do
        redis.call('DEL', Key.hook(old))
      end
    end
  end
end
refresh(receiver)
return 1
