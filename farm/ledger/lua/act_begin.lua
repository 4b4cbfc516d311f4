-- act_begin(id, tenant, batch, ActKind, priority or '', label or '', error code or '', state or ''): note an act that is to be
-- done to many jobs of a batch: to all, or to those with this label, this error code and this state. act_step.lua does it, after
-- the acts that were asked for before. An earlier act that is under way and that this one undoes ends here: the last word counts.
-- Setting.ACTS_KEPT acts of a batch are kept: where there are more, the oldest that is over goes. Answers 1; 0 where the tenant has
-- no such batch; 2 where so many are under way.
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
-- newest first
local acts = {}
for n, one in ipairs(redis.call('LRANGE', Key.batch_acts(batch), 0, -1)) do
  local kept = redis.call('HMGET', Key.act(one), 'state', 'kind', 'label', 'code', 'only', 'behind')
  acts[n] = {id = one, open = kept[1] == ActState.UNDER_WAY, kind = kept[2], behind = kept[6],
    same = kept[3] == label and kept[4] == code and kept[5] == state}
end
if #acts >= Setting.ACTS_KEPT then
  local at = #acts
  while at > 0 and acts[at].open do at = at - 1 end
  if at == 0 then return 2 end
  local gone = table.remove(acts, at)
  -- acts are done in their order: what stood behind it stands behind those before it
  for _, later in ipairs(acts) do
    if later.behind == gone.id then redis.call('HSET', Key.act(later.id), 'behind', gone.behind) end
  end
  redis.call('LREM', Key.batch_acts(batch), -1, gone.id)
  redis.call('DEL', Key.act(gone.id), Key.act_remade(gone.id))
end
local all_of_it, behind = label .. code .. state == '', ''
for _, earlier in ipairs(acts) do
  if earlier.open and (UNDOES[kind] or {})[earlier.kind] and (all_of_it or earlier.same) then
    redis.call('HSET', Key.act(earlier.id), 'state', ActState.ENDED, 'ended_ms', NOW, 'error', 'undone')
    redis.call('ZREM', Key.acts_open(), earlier.id)
    redis.call('DEL', Key.act_remade(earlier.id))
  elseif earlier.open and behind == '' then
    behind = earlier.id
  end
end
redis.call('HSET', Key.act(id), 'tenant', tenant, 'batch', batch, 'kind', kind, 'priority', priority, 'label', label, 'code', code,
  'only', state, 'state', ActState.UNDER_WAY, 'at', 1, 'after', '', 'pass', 1, 'changed_now', 0, 'looked', 0, 'changed', 0, 'created_ms', NOW,
  'behind', behind)
redis.call('LPUSH', Key.batch_acts(batch), id)
redis.call('ZADD', Key.acts_open(), NOW, id)
if kind == Act.CANCEL and all_of_it then redis.call('HSET', Key.batch(batch), 'cancelling_ms', NOW) end
return 1
