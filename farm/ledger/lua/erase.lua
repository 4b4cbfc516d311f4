-- erase(tenant, id, '1' or ''): the owner deletes the files of a job: from now on it has no result. With '1' it is also in no
-- list of its dialect any more. Answers 1 (also when it was done before); 0 where the job may still get a result, since it is
-- neither over nor being cancelled; false where the tenant has no such job.
-- uses: full clock job
local tenant, id, unlist = ARGV[1], ARGV[2], ARGV[3]
local job = job_load(id)
if not job or job.tenant ~= tenant then return false end
if not TERMINAL[job.state] and not job.cancelling then return 0 end
redis.call('HSET', Key.job(id), 'erased', 1)
redis.call('DEL', Key.result(id))
if unlist == '1' and job.dialect then
  redis.call('ZREM', Key.dialect(job.tenant, job.state, job.dialect), id)
  redis.call('HDEL', Key.job(id), 'dialect')
end
return 1
