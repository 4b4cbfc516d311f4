-- bought(nonce, the provider's id, handle JSON, who or '', why): note that the submission with this nonce arrived and got this
-- id. Needs no lease: whoever learns it records it, also after another process has resumed the job, or after the job has left
-- the purchase. A purchase that was closed unpaid is open again. A job that was queued again because nothing was known of the
-- submission goes back to its purchase. `who`: the operator who found it out; what changes nothing is not in the log of operators' acts.
-- Answers a PurchaseNews.
-- uses: full clock job event queue purchase
local nonce, purchase_id, handle, who, why = unpack(ARGV)

local record = purchase_load(nonce)
if not record then return News.UNKNOWN end
if record.id and record.id ~= purchase_id then return News.SECOND end
if not record.id then
  if who ~= '' then
    purchase_settled_by(record, who, why, record.ending or record.state, 'arrived as ' .. purchase_id)
  end
  redis.call('HSET', Key.purchase(nonce), 'id', purchase_id, 'handle', handle)
  record.id = purchase_id
  if record.state == Purchase.CLOSED and tonumber(record.cost) == 0 then
    redis.call('HDEL', Key.purchase(nonce), 'ending', 'cost', 'payer', 'closed_ms', 'settled_by')
    purchase_hold(record)
  end
end
local id = record.job
local job = job_load(id)
if not job then return News.LEFT end
local key = Key.job(id)
if job.purchase and redis.call('HGET', key, 'purchase_nonce') == nonce then
  if job.purchase_id then return News.KNOWN end
  redis.call('HSET', key, 'purchase_id', purchase_id)
  if job.state == State.RUNNING and (job.phase == Phase.SUBMITTING or job.phase == Phase.SUBMIT_UNKNOWN) then
    redis.call('HSET', key, 'phase', Phase.PROVIDER_QUEUED, 'phase_ms', NOW)
    event(job, {phase = Phase.PROVIDER_QUEUED})
  end
  return News.KNOWN
end
if record.state ~= Purchase.OPEN or job.state ~= State.QUEUED or job.purchase then return News.LEFT end
if not redis.call('ZSCORE', Key.queue(job_line(job), job.tenant), id) then return News.LEFT end
queue_remove(job_line(job), job.tenant, id)
job.purchase, job.purchase_id, job.phase = record.intent, purchase_id, Phase.PROVIDER_QUEUED
job_move(job, State.RUNNING)
redis.call('HSET', key, 'started_ms', NOW, 'phase', job.phase, 'phase_ms', NOW, 'purchase', job.purchase,
  'purchase_id', purchase_id, 'purchase_nonce', nonce)
queue_put(job)
event(job, {phase = job.phase})
return News.BACK
