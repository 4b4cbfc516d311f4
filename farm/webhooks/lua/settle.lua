-- settle(id, outcome, status, error, pause_ms, dead_kept): how a leased delivery went. outcome: 'delivered' forgets it,
-- 'retry' makes it due in pause_ms, 'dead' puts it on the tenant's dead-letter list. Answers 0 when somebody else did.
local id, outcome = ARGV[1], ARGV[2]
local facts = redis.call('HMGET', hook_key(id), 'receiver', 'tenant')
local receiver, tenant = facts[1], facts[2]
if not receiver or redis.call('ZREM', flying_key(receiver), id) == 0 then return 0 end
redis.call('ZREM', tenant_flying_key(tenant), id)
if outcome == 'delivered' then
  redis.call('HDEL', STANDING, receiver)
  redis.call('DEL', hook_key(id))
else
  redis.call('HINCRBY', STANDING, receiver, 1)
  redis.call('HINCRBY', hook_key(id), 'attempts', 1)
  redis.call('HSET', hook_key(id), 'status', ARGV[3], 'error', ARGV[4], 'tried_ms', NOW)
  if outcome == 'retry' then
    redis.call('ZADD', due_key(receiver), NOW + tonumber(ARGV[5]), id)
  else
    redis.call('HSET', hook_key(id), 'state', 'dead')
    redis.call('ZADD', dead_key(tenant), NOW, id)
    local over = redis.call('ZCARD', dead_key(tenant)) - tonumber(ARGV[6])
    if over > 0 then
      for _, old in ipairs(redis.call('ZPOPMIN', dead_key(tenant), over)) do
        redis.call('DEL', hook_key(old))
      end
    end
  end
end
refresh(receiver)
return 1
