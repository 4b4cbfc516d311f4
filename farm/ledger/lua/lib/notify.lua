-- Tell the worker of a job to send a heartbeat now, since the answer has news. The message is the job's id. It may be lost; the
-- heartbeat comes in any case.
local function notify_worker(job)
  if job.worker then redis.call('PUBLISH', Key.notices(job.worker), job.id) end
end
