-- buy(id, worker, nonce, purchase JSON, price, details JSON, n, then n times: scope, 'day' or 'month', cap; deadline ms): lease a
-- queued job to a worker that buys it, hold the price against every cap, and store what the worker is about to submit. From now on
-- the job is bought, also if the worker dies. It moves to the burst pool, and costs its tenant no share of the GPUs. Answers
-- {attempt, job as lib/read.lua}; {'cap', number of the cap from 0, what is left of it} where the price does not fit under a cap;
-- false where the job cannot be bought.
-- uses: late full clock job event queue due limit read purchase
local id, worker, nonce, purchase, price, details = unpack(ARGV, 1, 6)

local job = job_load(id)
if not job then return false end
local key = Key.job(id)
local before = redis.call('HMGET', key, 'purchase_nonce', 'purchase_attempt')
if before[1] == nonce then
  -- the same call again after a lost reply: the same lease, if it still is one
  local attempt = tonumber(before[2])
  return job.purchase and job_held(job, fence_of(attempt, nonce)) and {attempt, job_read(id)}
end
if redis.call('EXISTS', Key.purchase(nonce)) == 1 then return false end
-- it left a purchase of which nothing is known: it is rendered here, and bought of nobody else
if before[1] and redis.call('HGET', Key.purchase(before[1]), 'state') == Purchase.OPEN then return false end
if job.state ~= State.QUEUED or not redis.call('ZSCORE', Key.queue(job_line(job), job.tenant), id) then return false end
if due_over(job) or limit_switched('tenant', job.tenant) then return false end

local periods = purchase_periods(NOW)
for n = 0, tonumber(ARGV[7]) - 1 do
  local scope, kind, most = unpack(ARGV, 8 + 3 * n, 10 + 3 * n)
  local booked = redis.call('HMGET', Key.spend(scope, periods[kind]), 'held', 'spent')
  local left = tonumber(most) - tonumber(booked[1] or 0) - tonumber(booked[2] or 0)
  if tonumber(price) > left then return {'cap', n, left} end
end

queue_remove(job_line(job), job.tenant, id)
job.attempt, job.purchase = job.attempt + 1, purchase
job_move(job, State.RUNNING)
redis.call('HSET', key, 'attempt', job.attempt, 'nonce', nonce, 'worker', worker, 'started_ms', NOW, 'phase', Phase.SUBMITTING,
  'phase_ms', NOW, 'purchase', purchase, 'purchase_nonce', nonce, 'purchase_attempt', job.attempt)
redis.call('HDEL', key, 'passes', 'purchase_id', 'unheard')
redis.call('SADD', Key.pools(), job_pool(job))
redis.call('ZADD', Key.leases(job_pool(job)), NOW + Setting.LEASE_MS, id)
local record = {nonce = nonce, job = id, tenant = job.tenant, provider = cjson.decode(purchase).provider, price = price,
  at_ms = NOW, day = periods.day, month = periods.month, intent = purchase}
redis.call('HSET', Key.purchase(nonce), 'job', id, 'tenant', job.tenant, 'label', job.label or '', 'provider', record.provider,
  'attempt', job.attempt, 'intent', purchase, 'details', details, 'price', price, 'at_ms', NOW, 'day', periods.day, 'month', periods.month)
redis.call('ZADD', Key.purchases(), NOW, nonce)
redis.call('RPUSH', Key.purchases_of(id), nonce)
purchase_hold(record)
event(job, {phase = Phase.SUBMITTING, progress = 0})
return {job.attempt, job_read(id)}
