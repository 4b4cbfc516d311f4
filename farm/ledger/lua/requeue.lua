-- requeue(id, who, why): an operator takes a job from its worker, or ends the delay before its retry: it is queued now. The attempt
-- does not count, and its GPU time is not charged to the tenant's share. The worker is told to send a heartbeat, and hears `lost`.
-- Answers {OperationOutcome, {permit, pool, ...}}.
-- uses: full clock job event queue permit notify verdict operation
local id, who, why = unpack(ARGV)
local job = job_load(id)
if not job then return {Operation.NOT_FOUND, {}} end
if TERMINAL[job.state] then return {Operation.OVER, {}} end
if job.purchase then return {Operation.BOUGHT, {}} end
local pool = job_pool(job)
local leased = redis.call('ZSCORE', Key.leases(pool), id)
if leased then
  operation_note(who, why, 'requeue', 'job ' .. id, 'attempt ' .. job.attempt .. ' on ' .. (job.worker or '?'), State.QUEUED)
  notify_worker(job)
  attempt_end(job, 0)
  attempt_returned(job, 0)
  return {Operation.DONE, permit_reserve(pool, {})}
end
if queue_stopped(job) then return {Operation.HELD, {}} end
if redis.call('ZREM', Key.delayed(pool), id) == 0 then
  operation_note(who, why, 'requeue', 'job ' .. id, State.QUEUED, State.QUEUED)
  return {Operation.UNCHANGED, {}}
end
operation_note(who, why, 'requeue', 'job ' .. id, 'delayed', State.QUEUED)
redis.call('HDEL', Key.job(id), 'not_before_ms')
queue_put(job)
event(job)
return {Operation.DONE, permit_reserve(pool, {})}
