-- forget(before_ms, limit): remove the records of at most `limit` jobs that ended before, the oldest first. A batch is removed
-- with the last of its jobs. Answers the jobs as lib/read.lua.
-- uses: full clock job batch read states
local before, limit = ARGV[1], ARGV[2]
local forgotten = {}

local function forget_batch(tenant, batch)
  for _, state in ipairs(STATES) do
    if redis.call('EXISTS', Key.batch_jobs(batch, state)) == 1 then return end
  end
  -- Setting.ACTS_KEPT at most
  for _, act in ipairs(redis.call('LRANGE', Key.batch_acts(batch), 0, -1)) do redis.call('DEL', Key.act(act)) end
  redis.call('UNLINK', Key.batch(batch), Key.batch_acts(batch), Key.batch_asked(batch), Key.events(batch_stream(tenant, batch)))
  redis.call('ZREM', Key.batches(tenant), batch)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', Key.ended(), '-inf', '(' .. before, 'LIMIT', 0, limit)) do
  local job = job_load(id)
  if job and TERMINAL[job.state] then
    forgotten[#forgotten + 1] = job_read(id)
    job_index(job, 'ZREM', id)
    redis.call('UNLINK', Key.job(id), Key.body(id), Key.result(id), Key.lines(id), Key.purchases_of(id), Key.children(id))
    if job.batch then forget_batch(job.tenant, job.batch) end
  end
  redis.call('ZREM', Key.ended(), id)
end
return forgotten
