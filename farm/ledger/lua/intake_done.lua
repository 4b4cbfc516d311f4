-- intake_done(id, attempt, body JSON): waiting -> queued; the attempts of the intake do not count for the render.
-- Answers {CommitOutcome, {permit, pool, ...}}.
-- uses: clock job event queue permit verdict
local id, attempt, body = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local job = job_load(id)
if not job then return {Commit.FENCED, {}} end
if job.state ~= State.WAITING or not job_held(job, attempt) then
  if job.intake_attempt == attempt then return {Commit.ALREADY, {}} end
  if job.state == State.CANCELLED and job.attempt == attempt then return {Commit.CANCELLED, {}} end
  return {Commit.FENCED, {}}
end
attempt_end(job, 0)
redis.call('SET', Key.body(id), body)
redis.call('HSET', Key.job(id), 'intake_attempt', attempt, 'queued_ms', NOW)
redis.call('HDEL', Key.job(id), 'attempts_used', 'worker_losses', 'worker')
job_move(job, State.QUEUED)
queue_put(job)
event(job)
return {Commit.COMMITTED, permit_reserve(job.pool, {})}
