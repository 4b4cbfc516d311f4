-- act_begin(id, tenant, batch, ActKind, priority or '', label or '', error code or '', state or ''): note an act that is to be
-- done to many jobs of a batch: to all, or to those with this label, this error code and this state. act_step.lua does it, after
-- the acts that were asked for before. An earlier act that is under way and that this one undoes ends here: the last word counts.
-- The newest Setting.ACTS_KEPT acts of a batch are kept. Answers 1; 0 where the tenant has no such batch; 2 where so many are
-- kept and the oldest is still under way.
-- uses: clock
local UNDOES = {
  [Act.RESUME] = {[Act.PAUSE] = true},
  [Act.PAUSE] = {[Act.RESUME] = true},
  [Act.PRIORITY] = {[Act.PRIORITY] = true},
  [Act.CANCEL] = {[Act.PAUSE] = true, [Act.RESUME] = true, [Act.APPROVE] = true, [Act.PRIORITY] = true, [Act.RETRY] = true},
}
local id, tenant, batch, kind, priority, label, code, state = unpack(ARGV)
local owner, stage = unpack(redis.call('HMGET', Key.batch(batch), 'tenant', 'state'))
if owner ~= tenant or stage == Batch.STAGING then return 0 end
if redis.call('EXISTS', Key.act(id)) == 1 then return 1 end
-- a full Redis refuses a retry, which makes jobs, and no other act (lib/full.lua)
if kind ~= Act.RETRY then redis.call('DEL', Key.nothing()) end
if redis.call('LLEN', Key.batch_acts(batch)) >= Setting.ACTS_KEPT then
  local oldest = redis.call('LINDEX', Key.batch_acts(batch), -1)
  if redis.call('HGET', Key.act(oldest), 'state') == ActState.UNDER_WAY then return 2 end
  redis.call('RPOP', Key.batch_acts(batch))
  redis.call('DEL', Key.act(oldest), Key.act_remade(oldest))
end
local all_of_it, behind = label .. code .. state == '', ''
for _, earlier in ipairs(redis.call('LRANGE', Key.batch_acts(batch), 0, -1)) do
  local before = redis.call('HMGET', Key.act(earlier), 'state', 'kind', 'label', 'code', 'only')
  local same = before[3] == label and before[4] == code and before[5] == state
  if before[1] == ActState.UNDER_WAY and (UNDOES[kind] or {})[before[2]] and (all_of_it or same) then
    redis.call('HSET', Key.act(earlier), 'state', ActState.ENDED, 'ended_ms', NOW, 'error', 'undone')
    redis.call('ZREM', Key.acts_open(), earlier)
    redis.call('DEL', Key.act_remade(earlier))
  elseif before[1] == ActState.UNDER_WAY and behind == '' then
    behind = earlier
  end
end
redis.call('HSET', Key.act(id), 'tenant', tenant, 'batch', batch, 'kind', kind, 'priority', priority, 'label', label, 'code', code,
  'only', state, 'state', ActState.UNDER_WAY, 'at', 1, 'after', '', 'pass', 1, 'changed_now', 0, 'looked', 0, 'changed', 0, 'created_ms', NOW,
  'behind', behind)
redis.call('LPUSH', Key.batch_acts(batch), id)
redis.call('ZADD', Key.acts_open(), NOW, id)
if kind == Act.CANCEL and all_of_it then redis.call('HSET', Key.batch(batch), 'cancelling_ms', NOW) end
return 1
