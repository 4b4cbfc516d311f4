-- replay(tenant, id): a dead letter is due again, with all its retries. Answers 0 when there is none.
local tenant, id = ARGV[1], ARGV[2]
if redis.call('ZREM', Key.hook_dead(tenant), id) == 0 then return 0 end
local receiver = redis.call('HGET', Key.hook(id), 'receiver')
if not receiver then return 0 end
redis.call('HSET', Key.hook(id), 'state', 'due', 'attempts', 0, 'first_ms', NOW)
redis.call('ZADD', Key.hook_due(receiver), NOW, id)
refresh(receiver)
return 1
