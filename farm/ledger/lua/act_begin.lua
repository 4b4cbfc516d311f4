-- act_begin(id, tenant, batch, ActKind, priority or '', label or '', error code or '', state or ''): an act on many jobs of a
-- batch is to be done; act_step does it, after those that were asked for before. Answers 1; 0 where there is no such batch.
-- uses: clock
local id, tenant, batch, kind, priority, label, code, state = unpack(ARGV)
local owner, stage = unpack(redis.call('HMGET', Key.batch(batch), 'tenant', 'state'))
if owner ~= tenant or stage == Batch.STAGING then return 0 end
if redis.call('EXISTS', Key.act(id)) == 1 then return 1 end
redis.call('HSET', Key.act(id), 'tenant', tenant, 'batch', batch, 'kind', kind, 'priority', priority, 'label', label, 'code', code,
  'only', state, 'state', ActState.UNDER_WAY, 'at', 1, 'after', '', 'pass', 1, 'changed_now', 0, 'looked', 0, 'changed', 0, 'created_ms', NOW,
  'behind', redis.call('LINDEX', Key.batch_acts(batch), 0) or '')
redis.call('LPUSH', Key.batch_acts(batch), id)
redis.call('ZADD', Key.acts_open(), NOW, id)
if kind == Act.CANCEL and label .. code .. state == '' then redis.call('HSET', Key.batch(batch), 'cancelling_ms', NOW) end
return 1
