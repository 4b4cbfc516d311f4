-- Credit, in micro-credits: `balance` is what was paid in and not yet spent, `held` the part of it that open jobs may cost. A job's
-- hold is open while its record says `hold_open`. Closing the hold removes that mark, so it is settled or released once.
-- uses: batch
local function money_has_account(tenant)
  return redis.call('HEXISTS', Key.credit(tenant), 'balance') == 1
end

-- A line of the statement. Call it after balance and held were changed: the line names them.
local function money_note(tenant, kind, amount, job_id, note)
  local now = redis.call('HMGET', Key.credit(tenant), 'balance', 'held')
  redis.call('XADD', Key.statement(tenant), '*', 'kind', kind, 'amount', amount, 'job', job_id,
    'balance', now[1] or 0, 'held', now[2] or 0, 'note', note or '')
end

-- Change what is held, for this job. An audit that is under way has counted the jobs up to audit_pos: for one of those its own sum
-- changes, too.
local function money_held(job, change)
  local key = Key.credit(job.tenant)
  redis.call('HINCRBY', key, 'held', change)
  if job.batch then batch_add(job, 'held', change) end
  local pos = redis.call('HGET', key, 'audit_pos')
  if pos and job.id <= pos then redis.call('HINCRBY', key, 'audit_sum', change) end
end

local function money_hold(job)
  if not job.hold or not money_has_account(job.tenant) then return end
  money_held(job, job.hold)
  job.hold_open = '1'
  redis.call('HSET', Key.job(job.id), 'hold_open', 1)
  money_note(job.tenant, Statement.HOLD, job.hold, job.id)
end

local function money_close(job, kind)
  if not job.hold_open then return end
  job.hold_open = nil
  redis.call('HDEL', Key.job(job.id), 'hold_open')
  if not money_has_account(job.tenant) then return end
  -- 0 - x, because the -0 of a hold of nothing is no integer to Redis
  money_held(job, 0 - job.hold)
  if kind == Statement.SETTLE then
    redis.call('HINCRBY', Key.credit(job.tenant), 'balance', 0 - job.hold)
    redis.call('HINCRBY', Key.credit(job.tenant), 'spent', job.hold)
  end
  money_note(job.tenant, kind, job.hold, job.id)
end

-- Hold this much for the job, whose price is another than at admission. Answers nil; or the free credit, where that does not cover
-- the change: then nothing is changed.
local function money_rehold(job, hold)
  if job.hold_open and money_has_account(job.tenant) then
    local account = redis.call('HMGET', Key.credit(job.tenant), 'balance', 'held')
    local change, available = hold - job.hold, tonumber(account[1]) - tonumber(account[2] or 0)
    if change > 0 and change > available then return available end
    money_held(job, change)
    if change > 0 then money_note(job.tenant, Statement.HOLD, change, job.id, 'the length of its clip') end
    if change < 0 then money_note(job.tenant, Statement.RELEASE, 0 - change, job.id, 'the length of its clip') end
  end
  if job.batch then redis.call('HINCRBY', Key.batch(job.batch), 'hold', hold - (job.hold or 0) + 0) end
  job.hold = hold
  redis.call('HSET', Key.job(job.id), 'hold', hold)
end

-- The job succeeded: what was held is spent.
local function money_settle(job)
  money_close(job, Statement.SETTLE)
  if job.hold then
    redis.call('HSET', Key.job(job.id), 'charged', job.hold)
    if job.batch then batch_add(job, 'spent', job.hold) end
  end
end

-- The job ended without a result: what was held is free again.
local function money_release(job)
  money_close(job, Statement.RELEASE)
  if job.hold then redis.call('HSET', Key.job(job.id), 'charged', 0) end
end
