-- read(id, ...): the jobs as lib/read.lua, false for one that is not there. Writes nothing.
-- uses: read
local jobs = {}
for n, id in ipairs(ARGV) do jobs[n] = job_read(id) end
return jobs
