-- schedule(id, job, tenant, url, dialect, receiver): a delivery, due now. A second call changes nothing. Answers 1 if new.
local id, receiver = ARGV[1], ARGV[6]
if redis.call('EXISTS', Key.hook(id)) == 1 then return 0 end
redis.call('HSET', Key.hook(id), 'job', ARGV[2], 'tenant', ARGV[3], 'url', ARGV[4], 'dialect', ARGV[5],
  'receiver', receiver, 'state', 'due', 'attempts', 0, 'first_ms', NOW, 'created_ms', NOW)
redis.call('ZADD', Key.hook_due(receiver), NOW, id)
refresh(receiver)
return 1
