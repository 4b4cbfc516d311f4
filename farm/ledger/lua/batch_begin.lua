-- batch_begin(id, tenant, jobs, hold, key or '', body sha256, name or '', GPU-ms, data JSON, 1 if a price is
-- unknown, deadline ms): note that a batch is to be admitted, and hold its credit. Nobody sees it until batch_flip.lua. Answers
-- {'ok'}, {'known', id of the batch that came with this key}, or why not: {'conflict'}, {'unpriced'},
-- {'no_room', bytes stored, most}, {'too_many', tenant, limit}, {'payment', tenant, needed, available}.
-- uses: late clock job event batch money stored
local id, tenant, count, hold, key, sha, name, gpu_ms, data, unpriced = unpack(ARGV)
-- the same call again after a lost reply
if redis.call('HGET', Key.batch(id), 'tenant') == tenant then return {'ok'} end
if key ~= '' then
  local first, first_sha = batch_of_key(tenant, key)
  if first then return first_sha == sha and {'known', first} or {'conflict'} end
end
-- a result cannot be refused once it is rendered
local stored = stored_bytes(tenant)
if stored > Setting.MAX_STORED then return {'no_room', stored, Setting.MAX_STORED} end
local limit = tonumber(redis.call('HGET', Key.tenant(tenant), 'max_open') or '') or Setting.MAX_OPEN
local open = redis.call('ZCARD', Key.jobs(tenant, State.WAITING)) + redis.call('ZCARD', Key.jobs(tenant, State.QUEUED))
  + redis.call('ZCARD', Key.jobs(tenant, State.RUNNING)) + batch_coming(tenant)
if open + tonumber(count) > limit then return {'too_many', tenant, limit} end
local paid = money_has_account(tenant)
if paid then
  if unpriced == '1' then return {'unpriced'} end
  local account = redis.call('HMGET', Key.credit(tenant), 'balance', 'held')
  local available = tonumber(account[1]) - tonumber(account[2] or 0)
  if tonumber(hold) > available then return {'payment', tenant, tonumber(hold), available} end
  redis.call('HINCRBY', Key.credit(tenant), 'held', hold)
  redis.call('HSET', Key.reserved(tenant), id, hold)
  money_note(tenant, Statement.HOLD, hold, '', 'batch ' .. id)
end
redis.call('HSET', Key.batch(id), 'tenant', tenant, 'state', Batch.STAGING, 'jobs', count, 'staged', 0, 'placed', 0,
  'hold', hold, 'held', paid and hold or 0, 'spent', 0, 'paid', paid and 1 or 0, 'gpu_ms', gpu_ms,
  'gpu_ms_over', 0, 'created_ms', NOW, 'name', name, 'key', key, 'sha', sha, 'data', data)
redis.call('HSET', Key.coming(tenant), id, count)
redis.call('ZADD', Key.batches_coming(), NOW, id)
redis.call('SADD', Key.owners(), tenant)
return {'ok'}
