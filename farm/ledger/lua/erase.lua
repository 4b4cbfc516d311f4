-- erase(tenant, id): the owner wants the files of a job gone: from now on it has none. Answers 'erased' (also when it
-- was before), 'open' or 'not_found'.
-- uses: clock job
local tenant, id = ARGV[1], ARGV[2]
local job = job_load(id)
if not job or job.tenant ~= tenant then return 'not_found' end
if not TERMINAL[job.state] then return 'open' end
redis.call('HSET', Key.job(id), 'erased', 1)
redis.call('DEL', Key.result(id))
return 'erased'
