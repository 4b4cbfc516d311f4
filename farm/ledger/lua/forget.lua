-- forget(before_ms, limit, skip): look at `limit` jobs that ended before, the oldest first, after the first `skip`, and remove their
-- records. Where jobs of a batch follow others, all of its jobs stay until it has ended: a child that is open needs what became of
-- its parents, and their results. A batch is removed with the last of its jobs. Answers {how many were looked at, how many stay,
-- {job as lib/read.lua, ...}}.
-- uses: full clock job batch read states
local before, limit, skip = unpack(ARGV)
local forgotten, stay = {}, 0

-- The batch of the job, or of the one that was made of it anew.
local function batch_now(id)
  for _ = 1, 100 do
    local again, batch = unpack(redis.call('HMGET', Key.job(id), 'retried_as', 'batch'))
    if not again then return batch end
    id = again
  end
end

local function followed(id)
  local batch = batch_now(id)
  if not batch then return false end
  local chained, state = unpack(redis.call('HMGET', Key.batch(batch), 'chained', 'state'))
  return chained and state ~= Batch.ENDED
end

local function forget_batch(tenant, batch)
  for _, state in ipairs(STATES) do
    if redis.call('EXISTS', Key.batch_jobs(batch, state)) == 1 then return end
  end
  -- Setting.ACTS_KEPT at most
  for _, act in ipairs(redis.call('LRANGE', Key.batch_acts(batch), 0, -1)) do redis.call('DEL', Key.act(act)) end
  redis.call('UNLINK', Key.batch(batch), Key.batch_acts(batch), Key.batch_asked(batch), Key.events(batch_stream(tenant, batch)))
  redis.call('ZREM', Key.batches(tenant), batch)
end

local ids = redis.call('ZRANGEBYSCORE', Key.ended(), '-inf', '(' .. before, 'LIMIT', skip, limit)
for _, id in ipairs(ids) do
  local job = job_load(id)
  if job and TERMINAL[job.state] and followed(id) then
    stay = stay + 1
  else
    if job and TERMINAL[job.state] then
      forgotten[#forgotten + 1] = job_read(id)
      job_index(job, 'ZREM', id)
      redis.call('UNLINK', Key.job(id), Key.body(id), Key.result(id), Key.lines(id), Key.purchases_of(id), Key.children(id))
      if job.batch then forget_batch(job.tenant, job.batch) end
    end
    redis.call('ZREM', Key.ended(), id)
  end
end
return {#ids, stay, forgotten}
