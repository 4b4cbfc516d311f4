-- forget(before_ms, limit): remove the records of jobs that ended before, the oldest first, and answer them as lib/read.
-- uses: full clock job read
local before, limit = ARGV[1], ARGV[2]
local forgotten = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', Key.ended(), '-inf', '(' .. before, 'LIMIT', 0, limit)) do
  local job = job_load(id)
  if job and TERMINAL[job.state] then
    forgotten[#forgotten + 1] = job_read(id)
    job_index(job, 'ZREM', id)
    redis.call('DEL', Key.job(id), Key.body(id), Key.result(id), Key.purchases_of(id))
  end
  redis.call('ZREM', Key.ended(), id)
end
return forgotten
