-- Tells the worker of a running job that its next heartbeat has an answer worth hearing: the message is the job's id. It may
-- be lost; the heartbeat comes in any case.
local function notify_worker(job)
  if job.worker then redis.call('PUBLISH', Key.notices(job.worker), job.id) end
end
