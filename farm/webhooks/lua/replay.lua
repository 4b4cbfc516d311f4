-- replay(tenant, id): a dead letter is due again, with all its retries. Answers 0 when there is none.
local tenant, id = ARGV[1], ARGV[2]
if redis.call('ZREM', dead_key(tenant), id) == 0 then return 0 end
local receiver = redis.call('HGET', hook_key(id), 'receiver')
if not receiver then return 0 end
redis.call('HSET', hook_key(id), 'state', 'due', 'attempts', 0, 'first_ms', NOW)
redis.call('ZADD', due_key(receiver), NOW, id)
refresh(receiver)
return 1
