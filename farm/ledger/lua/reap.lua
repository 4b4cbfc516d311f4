-- reap(limit, unless ms): do what time asks for, unless the last reap was less than that long ago. Attempts whose lease has run out
-- are retried, or their jobs end. Delayed retries that are due are queued. Jobs whose start-by time or window is past end, and
-- economy jobs whose window is near become normal. Missing permits are reserved. Where the lease of a bought job runs out while it
-- is at its provider, no worker was lost: another process resumes the job. It looks at about `limit` jobs and tenants, so that no
-- call takes long. Answers {leases run out, jobs to retry, jobs failed, jobs cancelled, delayed retries queued, bought jobs to
-- resume, {permit, pool, ...}, 1 where there may be more to do}.
-- uses: full clock age job event batch fair limit queue due permit notify verdict depend grace
local limit = tonumber(ARGV[1])
local left = limit
local pools = redis.call('SMEMBERS', Key.pools())
local expired, resumable, promoted, permits = 0, 0, 0, {}
local PROVIDER_PHASES = Table.PROVIDER_PHASES
local outcomes = {[Fail.RETRY] = 0, [Fail.FAILED] = 0, [Fail.CANCELLED] = 0}

local reaped = redis.call('GET', Key.reaped())
local last = tonumber(reaped or NOW)
if reaped and within(last, tonumber(ARGV[2])) then return {0, 0, 0, 0, 0, 0, {}, 0} end
redis.call('SET', Key.reaped(), NOW)
if NOW - last > Setting.REAP_GAP_MS then grace_begin() end
left = grace_give(pools, left)
-- no lease counts as run out before every attempt has got its extra lease (lib/grace.lua)
local graced = left > 0

-- How far the clock has gone back since the last reap: stored deadlines are moved back by as much.
local back = math.max(0, last - NOW)

local function cap(key, term_ms)
  local found = redis.call('ZRANGEBYSCORE', key, '(' .. (NOW + term_ms), '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
  for n = 1, #found, 2 do
    local until_ms = math.min(tonumber(found[n + 1]) - back, NOW + term_ms)
    redis.call('ZADD', key, 'XX', math.max(NOW, until_ms), found[n])
  end
end

local function cap_delays(pool)
  local from = NOW + Setting.DELAY_MAX_MS
  if back > 0 then from = NOW end
  local found = redis.call('ZREVRANGEBYSCORE', Key.delayed(pool), '+inf', '(' .. from, 'WITHSCORES', 'LIMIT', 0, limit)
  for n = 1, #found, 2 do
    local job = job_load(found[n])
    local ready_ms = NOW + (job and attempt_backoff_ms(job, math.max(1, job.attempts_used)) or 0)
    if ready_ms < tonumber(found[n + 1]) then
      redis.call('ZADD', Key.delayed(pool), ready_ms, found[n])
      if job then redis.call('HSET', Key.job(job.id), 'not_before_ms', ready_ms) end
    end
  end
end

local function lost(pool, id)
  local job = job_load(id)
  if not job or TERMINAL[job.state] or job_pool(job) ~= pool or job.state == State.QUEUED then
    redis.call('ZREM', Key.leases(pool), id)
    return
  end
  if job.purchase and PROVIDER_PHASES[job.phase] then
    attempt_resumable(job, 0)
    resumable = resumable + 1
    return
  end
  local used_s = math.min(job.predicted_s or 0, (NOW - (job.started_ms or NOW)) / 1000)
  attempt_end(job, math.max(0, used_s))
  if job.unheard then redis.call('HSET', Key.job(id), 'unheard', job.unheard) end
  local outcome
  if job.unheard and job.unheard <= Setting.UNHEARD_MOST then
    -- no heartbeat ever came: the claim ran for a worker that had given it up
    outcome = attempt_returned(job, 0)
  else
    outcome = attempt_failed(job, Fault.WORKER_LOST, 'the worker was lost: no heartbeat came in time')
  end
  outcomes[outcome] = outcomes[outcome] + 1
  expired = expired + 1
end

local function see_to(id)
  local job = job_load(id)
  if not job or TERMINAL[job.state] then
    redis.call('ZREM', Key.due(), id)
    return
  end
  local why = due_over(job)
  if why and job.state ~= State.RUNNING then return job_expired(job, why) end
  if why and not job.cancelling then
    job.cancelling = Fault.EXPIRED
    redis.call('HSET', Key.job(id), 'cancelling', job.cancelling)
    event(job, {cancelling = true})
    notify_worker(job)
  end
  -- a running one becomes normal when it is queued again
  if redis.call('ZSCORE', Key.queue(job_line(job), job.tenant), id) and NOW >= (job.rises_ms or math.huge)
    and job.tier == Tier.ECONOMY then
    queue_remove(job_line(job), job.tenant, id)
    queue_put(job)
    event(job)
  end
  due_note(job, NOW)
end

-- Ids whose time has come, `most` and `left` of them at most; and whether there may be more.
local function some_of(key, most)
  most = math.min(left, most or left)
  local ids = most > 0 and redis.call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, most) or {}
  left = left - #ids
  return ids, most > 0 and #ids == most
end

-- Half of the call at most, so that leases have their turn however many jobs are due.
local due, more = some_of(Key.due(), math.ceil(limit / 2))
for _, id in ipairs(due) do see_to(id) end
-- half of what is left, since each of these may end, which takes long; the io worker sees to the rest (children.lua)
if left > 0 then left = left - depend_work(math.ceil(left / 2)) end
for _, id in ipairs(redis.call('SRANDMEMBER', Key.batches_untold(), 16)) do
  local tenant = redis.call('HGET', Key.batch(id), 'tenant')
  if tenant then batch_tell(id, tenant) else redis.call('SREM', Key.batches_untold(), id) end
end
-- a cap may have been raised
if left > 0 then
  local aside = redis.call('SRANDMEMBER', Key.set_aside(), math.min(16, math.ceil(left / 2)))
  for _, tenant in ipairs(aside) do limit_review(tenant) end
  left = left - #aside
end

for _, pool in ipairs(pools) do
  cap(Key.leases(pool), Setting.LEASE_MS)
  if back > 0 then cap(Key.workers(pool), Setting.PRESENT_MAX_MS) end
  cap_delays(pool)
  if graced then
    for _, id in ipairs(some_of(Key.leases(pool))) do lost(pool, id) end
  end
  if left > 0 then
    local queued = queue_promote(pool, left)
    promoted, left = promoted + queued, left - queued
  end
  permit_reserve(pool, permits)
  -- a worker that has nothing new to tell renews no more than its presence
  for _, offer in ipairs(redis.call('HKEYS', Key.offers(pool))) do redis.call('ZADD', Key.offered(pool), NOW, offer) end
  redis.call('ZREMRANGEBYSCORE', Key.offered(pool), '-inf', NOW - Setting.ELSEWHERE_MS - 1)
end
return {expired, outcomes[Fail.RETRY], outcomes[Fail.FAILED], outcomes[Fail.CANCELLED], promoted, resumable,
  permits, (more or left <= 0) and 1 or 0}
