-- A batch. How many of its jobs are in a state is the size of an index (lib/job.lua); its own record adds up what they cost. Its
-- tenant's event stream tells of it at most once in Setting.BATCH_TOLD_MS, and at its end; a reap tells what was not told yet.
-- uses: clock states
-- seldom: batch_tell

local function batch_stream(tenant, id)
  return tenant .. '!' .. id
end

-- How many jobs are in each state, and how many of them are open.
local function batch_counts(id)
  local counts, open = {}, 0
  for n, state in ipairs(STATES) do
    counts[state] = redis.call('ZCARD', Key.batch_jobs(id, state))
    if n <= 3 then open = open + counts[state] end
  end
  return counts, open
end

local function batch_tell(id, tenant)
  local counts = batch_counts(id)
  local data = cjson.encode({batch = id, state = redis.call('HGET', Key.batch(id), 'state'), counts = counts})
  redis.call('XADD', Key.events(tenant), 'MAXLEN', '~', Setting.EVENTS_KEPT, '*', 'job', '', 'data', data)
  redis.call('HSET', Key.batch(id), 'told_ms', NOW)
  redis.call('SREM', Key.batches_untold(), id)
end

local function batch_changed(id, tenant)
  local told = tonumber(redis.call('HGET', Key.batch(id), 'told_ms') or 0)
  if told <= NOW and NOW - told < Setting.BATCH_TOLD_MS then
    redis.call('SADD', Key.batches_untold(), id)
  else
    batch_tell(id, tenant)
  end
end

-- Change one of the batch's sums for this job. An audit that is under way has counted the jobs up to audit_pos: for one of those
-- its own sum changes, too.
local function batch_add(job, sum, change)
  local key = Key.batch(job.batch)
  -- + 0: minus 0 is no integer to Redis 7.0
  redis.call('HINCRBY', key, sum, change + 0)
  local pos = redis.call('HGET', key, 'audit_pos')
  if pos and job.id <= pos then redis.call('HINCRBY', key, 'audit_' .. sum, change + 0) end
end

-- The GPU-milliseconds that a job is predicted to take.
local function batch_gpu_ms(predicted_s)
  return math.floor(1000 * (tonumber(predicted_s) or 0) + 0.5)
end

-- One of its jobs ended: with the last one the batch ends.
local function batch_job_ended(job)
  local key = Key.batch(job.batch)
  batch_add(job, 'gpu_ms_over', batch_gpu_ms(job.predicted_s))
  if redis.call('HGET', key, 'state') ~= Batch.OPEN then return end
  for n = 1, 3 do
    if redis.call('EXISTS', Key.batch_jobs(job.batch, STATES[n])) == 1 then return end
  end
  redis.call('HSET', key, 'state', Batch.ENDED, 'ended_ms', NOW)
  redis.call('ZREM', Key.batches_open(), job.batch)
  batch_tell(job.batch, job.tenant)
end

-- The batch that came with this idempotency key before, and the hash of that request; nil where there is none (any more).
local function batch_of_key(tenant, key)
  local first, sha = string.match(redis.call('GET', Key.batch_idem(tenant, key)) or '', '^(%S+) (%S*)$')
  if first and redis.call('EXISTS', Key.batch(first), Key.batch_asked(first)) > 0 then return first, sha end
end

-- Of batches that are staged or placed: how many jobs are to come, and what is held for them.
local function batch_coming(tenant)
  local coming = 0
  for _, count in ipairs(redis.call('HVALS', Key.coming(tenant))) do coming = coming + tonumber(count) end
  return coming
end

local function batch_reserved(tenant)
  local held = 0
  for _, amount in ipairs(redis.call('HVALS', Key.reserved(tenant))) do held = held + tonumber(amount) end
  return held
end
