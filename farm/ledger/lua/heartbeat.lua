-- heartbeat(worker or '', pool, ttl_ms, mark, then of each attempt: id, fence, phase or '', progress or '', step, steps): renew
-- the leases. With a phase, record the progress and write it to the tenant's event stream. A worker that is listed, and whose
-- last announcement has this mark (worker_seen.lua), counts as live for ttl_ms more. Answers {when the last reap was, ms, or '';
-- 1, or 0 where the worker has to announce itself again; a Verdict for each attempt, ...}. It is the most frequent call: each
-- field and local function costs.
-- uses: full clock job event
local WIDTH = 6

local function beat(id, fence, phase, progress, step, steps)
  local key = Key.job(id)
  local attempt, nonce, state, pool, purchase, was, cancelling, graced, unheard, tenant, label, batch, held_for = unpack(
    redis.call('HMGET', key, 'attempt', 'nonce', 'state', 'pool', 'purchase', 'phase', 'cancelling', 'graced', 'unheard',
      'tenant', 'label', 'batch', 'held_for'))
  if not state or fence ~= fence_of(attempt or 0, nonce) then return Verdict.LOST end
  local leases = Key.leases(pool_of(state, purchase, pool))
  -- 0: the job has no lease, or its lease was renewed in this millisecond
  if redis.call('ZADD', leases, 'XX', 'CH', NOW + Setting.LEASE_MS, id) == 0 and not redis.call('ZSCORE', leases, id) then
    return state == State.CANCELLED and Verdict.CANCEL or Verdict.LOST
  end
  if graced or unheard then redis.call('HDEL', key, 'graced', 'unheard') end
  if phase ~= '' then
    if phase ~= was then redis.call('HSET', key, 'phase', phase, 'phase_ms', NOW) end
    if progress ~= '' then
      redis.call('HSET', key, 'step', step, 'steps', steps, 'progress', progress)
    else
      redis.call('HSET', key, 'step', step, 'steps', steps)
    end
    event_progress({id = id, state = state, tenant = tenant, label = label, batch = batch, held_for = held_for}, attempt,
      phase, progress, step, steps)
  end
  return cancelling and Verdict.CANCEL or Verdict.GO
end

local answer = {redis.call('GET', Key.reaped()) or '', 1}
local worker = ARGV[1]
if worker ~= '' then
  local pool = ARGV[2]
  -- the second is 0 also in the very millisecond of the announcement: then the worker announces itself once more
  if redis.call('HGET', Key.marks(pool), worker) ~= ARGV[4]
    or redis.call('ZADD', Key.workers(pool), 'XX', 'CH', NOW + ARGV[3], worker) == 0 then answer[2] = 0 end
end
for at = 5, #ARGV, WIDTH do
  answer[#answer + 1] = beat(unpack(ARGV, at, at + WIDTH - 1))
end
return answer
