-- batch_ask(id, tenant, JSON, s of its window, key or '', sha256 of the request): keep that a batch is asked for by a file, which is
-- read later. It is in its tenant's list of batches from now on. Answers {'ok'}, {'known', id of the batch that came with this
-- key}, or {'conflict'}.
-- uses: clock batch
local id, tenant, text, window_s, key, sha = unpack(ARGV)
-- the same call again after a lost reply
if redis.call('EXISTS', Key.batch_asked(id)) == 1 then return {'ok'} end
if key ~= '' then
  local first, first_sha = batch_of_key(tenant, key)
  if first then return first_sha == sha and {'known', first} or {'conflict'} end
  redis.call('SET', Key.batch_idem(tenant, key), id .. ' ' .. sha, 'EX', Setting.IDEMPOTENCY_S)
end
redis.call('SET', Key.batch_asked(id), text, 'EX', Setting.ASKED_KEPT_S + tonumber(window_s))
redis.call('ZADD', Key.batches(tenant), 0, id)
redis.call('ZADD', Key.batches_asked(), NOW, id)
redis.call('SADD', Key.owners(), tenant)
return {'ok'}
