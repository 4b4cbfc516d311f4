-- job_lines(id, fence, most, line, ...): keep lines that an attempt logged about its job; of all its lines the newest `most` stay.
-- Answers 1; 0, and keeps none, where a newer attempt has begun.
-- uses: clock job
local id, fence, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local job = job_load(id)
if not job or job.fence ~= fence then return 0 end
for n = 4, #ARGV do redis.call('RPUSH', Key.lines(id), ARGV[n]) end
redis.call('LTRIM', Key.lines(id), -most, -1)
return 1
