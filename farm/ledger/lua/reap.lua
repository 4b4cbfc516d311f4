-- reap(limit): per pool, expired leases become retries or verdicts, delayed retries whose time has come are queued,
-- missing permits are reserved. Answers {expired, requeued, failed, cancelled, promoted, {permit, pool, ...}}.
-- uses: clock job queue permit verdict
local limit = tonumber(ARGV[1])
local pools = redis.call('SMEMBERS', Key.pools())
local expired, promoted, permits = 0, 0, {}
local outcomes = {[Fail.RETRY] = 0, [Fail.FAILED] = 0, [Fail.CANCELLED] = 0}

-- Whoever reaps was away, and so perhaps was Redis, which nobody could reach to renew a lease: every attempt gets one
-- more lease, once.
local last = tonumber(redis.call('GET', Key.reaped()) or NOW)
redis.call('SET', Key.reaped(), NOW)
if NOW - last > Setting.REAP_GAP_MS then
  for _, pool in ipairs(pools) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', Key.leases(pool), '-inf', NOW + Setting.LEASE_MS)) do
      local key = Key.job(id)
      if redis.call('EXISTS', key) == 1 and redis.call('HSETNX', key, 'graced', 1) == 1 then
        redis.call('ZADD', Key.leases(pool), 'XX', NOW + Setting.LEASE_MS, id)
      end
    end
  end
end

local function lost(pool, id)
  local job = job_load(id)
  if not job or TERMINAL[job.state] or job_pool(job) ~= pool or job.state == State.QUEUED then
    redis.call('ZREM', Key.leases(pool), id)
    return
  end
  local used_s = math.min(job.predicted_s or 0, (NOW - (job.started_ms or NOW)) / 1000)
  attempt_end(job, math.max(0, used_s))
  local outcome = attempt_failed(job, Fault.WORKER_LOST, 'the worker was lost: no heartbeat came in time')
  outcomes[outcome] = outcomes[outcome] + 1
  expired = expired + 1
end

for _, pool in ipairs(pools) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', Key.leases(pool), '-inf', NOW, 'LIMIT', 0, limit)) do
    lost(pool, id)
  end
  promoted = promoted + queue_promote(pool, limit)
  permit_reserve(pool, permits)
end
return {expired, outcomes[Fail.RETRY], outcomes[Fail.FAILED], outcomes[Fail.CANCELLED], promoted, permits}
