-- A job's record and the indexes that follow its state. Only job_move changes a state.
-- uses: clock tier
local TERMINAL = Table.TERMINAL
-- Fields of the record that job_load makes numbers; all others are texts.
local NUMBERS = {priority = 1, deadline_ms = 1, predicted_s = 1, max_attempts = 1, attempt = 1, attempts_used = 1,
  worker_losses = 1, hold = 1, charged_s = 1, vlifted = 1, started_ms = 1, queued_ms = 1, unheard = 1, start_by_ms = 1,
  rises_ms = 1, expires_ms = 1, passes = 1}

-- The fence of an attempt, by which its holder names it (farm.jobs.job.Fence.text). With a nonce, since a Redis that lost its last
-- second gives a number out twice. `attempt`: a number, or its text as the record has it.
local function fence_of(attempt, nonce)
  return attempt .. ':' .. (nonce or '')
end

-- The record of a job as a table, or nil. attempt, attempts_used and worker_losses are never nil. Its `record`: the names and
-- values as they were read.
local function job_load(id)
  local record = redis.call('HGETALL', Key.job(id))
  local job = {id = id, record = record}
  for n = 1, #record, 2 do
    local name = record[n]
    job[name] = NUMBERS[name] and tonumber(record[n + 1]) or record[n + 1]
  end
  if not job.state then return nil end
  job.attempt = job.attempt or 0
  job.fence = fence_of(job.attempt, job.nonce)
  job.attempts_used = job.attempts_used or 0
  job.worker_losses = job.worker_losses or 0
  return job
end

local function job_index(job, command, ...)
  redis.call(command, Key.jobs(job.tenant, job.state), ...)
  if job.label then redis.call(command, Key.label(job.tenant, job.state, job.label), ...) end
  if job.dialect then redis.call(command, Key.dialect(job.tenant, job.state, job.dialect), ...) end
  if job.batch then redis.call(command, Key.batch_jobs(job.batch, job.state), ...) end
end

-- Change the job's state, and its indexes with it. `also`: names and values of the record that are written in the same call.
local function job_move(job, to, also)
  if job.state == to then return end
  if not string.find(Text.TRANSITIONS, ' ' .. job.state .. '>' .. to .. ' ', 1, true) then
    error('no way from ' .. job.state .. ' to ' .. to .. ' for job ' .. job.id)
  end
  job_index(job, 'ZREM', job.id)
  job.state = to
  job_index(job, 'ZADD', 0, job.id)
  redis.call('HSET', Key.job(job.id), 'state', to, unpack(also or {}))
end

-- The pool in whose queue, leases and delays a job is now: a bought one has left its own.
local function pool_of(state, purchase, pool)
  if state == State.WAITING then return Setting.INTAKE_POOL end
  if purchase and state == State.RUNNING then return Setting.BURST_POOL end
  return pool
end

local function job_pool(job)
  return pool_of(job.state, job.purchase, job.pool)
end

-- The line in which it is queued, or would be.
local function job_line(job)
  return tier_line(job_pool(job), job.tier)
end

-- Whether `fence` holds the job's lease: every write of a worker passes here.
local function job_held(job, fence)
  return job.fence == fence and redis.call('ZSCORE', Key.leases(job_pool(job)), job.id) ~= false
end
