-- intake_done(id, fence, body JSON, predicted_s, needs, hold): waiting -> queued. The last three follow from its inputs; '' for
-- what stays as it was. Attempts of the intake do not count as attempts of the render. Where the account does not cover the new
-- hold, the job fails. Answers {CommitOutcome, {permit, pool, ...}}.
-- uses: full clock job event batch money queue due permit verdict
local id, fence, body = ARGV[1], ARGV[2], ARGV[3]
local predicted_s, needs, hold = ARGV[4], ARGV[5], tonumber(ARGV[6])

local job = job_load(id)
if not job then return {Commit.FENCED, {}} end
if job.state ~= State.WAITING or not job_held(job, fence) then
  if job.intake_attempt == fence then return {Commit.ALREADY, {}} end
  if job.state == State.CANCELLED and job.fence == fence then return {Commit.CANCELLED, {}} end
  return {Commit.FENCED, {}}
end
attempt_end(job, 0)
redis.call('SET', Key.body(id), body)
redis.call('HSET', Key.job(id), 'intake_attempt', fence, 'queued_ms', NOW)
redis.call('HDEL', Key.job(id), 'attempts_used', 'worker_losses', 'worker')
if predicted_s ~= '' then
  redis.call('HSET', Key.job(id), 'predicted_s', predicted_s)
  if job.batch then
    local change = batch_gpu_ms(predicted_s) - batch_gpu_ms(job.predicted_s)
    redis.call('HINCRBY', Key.batch(job.batch), 'gpu_ms', change + 0)
  end
  if job.rises_ms then
    -- a longer clip has to become normal earlier
    job.rises_ms = math.floor(job.rises_ms - 1000 * (tonumber(predicted_s) - job.predicted_s))
    redis.call('HSET', Key.job(id), 'rises_ms', string.format('%.0f', job.rises_ms))
    due_note(job, 0)
  end
  job.predicted_s = tonumber(predicted_s)
end
if needs ~= '' then redis.call('HSET', Key.job(id), 'needs', needs) end
local available = hold and money_rehold(job, hold)
if available then
  -- as farm.jobs.money.credits_text
  local function credits(micro)
    return (string.gsub(string.format('%.6f', micro / 1000000), '%.?0+$', ''))
  end
  job_end(job, State.FAILED, Fault.INSUFFICIENT_CREDIT,
    string.format('%s credits are needed for the whole clip, and %s are free besides the %s held for it',
      credits(hold), credits(available), credits(job.hold)))
  return {Commit.UNPAID, {}}
end
job_move(job, State.QUEUED)
queue_put(job)
event(job)
return {Commit.COMMITTED, permit_reserve(job.pool, {})}
