-- unbuy(id, fence, nonce, ending or '', cost): the job leaves its purchase and is queued in its own pool again; the attempt does not
-- count. With an `ending` the purchase is closed in the same write. Without one it stays open: nobody knows what became of it.
-- One that an operator has closed meanwhile brought the job nothing: the farm's overhead account pays for it.
-- Answers {FailOutcome, {permit, pool, ...}}.
-- uses: full clock job event queue permit verdict purchase
local id, fence, nonce, ending, cost = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local job = job_load(id)
if not job then return {Fail.FENCED, {}} end
if not job.purchase or not job_held(job, fence) then return {attempt_over(job, fence), {}} end
if redis.call('HGET', Key.job(id), 'purchase_nonce') ~= nonce then return {Fail.FENCED, {}} end
local record = purchase_load(nonce)
if record and ending ~= '' then
  purchase_close(record, ending, cost, false)
elseif record and tonumber(record.cost or 0) > 0 and not job.cancelling then
  purchase_waste(record)
end
attempt_end(job, 0)
redis.call('HSET', Key.job(id), 'ended_attempt', fence)
redis.call('HDEL', Key.job(id), 'purchase', 'purchase_id')
job.purchase = nil
if job.cancelling then
  job_cancelled(job)
  return {Fail.CANCELLED, {}}
end
job_move(job, State.QUEUED)
redis.call('HSET', Key.job(id), 'queued_ms', NOW)
queue_put(job)
event(job)
return {Fail.RETRY, permit_reserve(job.pool, {})}
