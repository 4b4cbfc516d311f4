-- How far a claim looks into the queues for a job that its worker may take.
-- uses: job headroom claim_worker
-- seldom: farther
-- The id of the tenant's first job that this worker may take, and the job; the id alone when that does not belong into the
-- queue any more. Jobs that are too large for it, or of a model that it does not offer, are passed over farther than those that
-- failed on it: they may be a whole batch. `head`: the id of the first job of the queue, where the caller knows it.
local function first_of(tenant, head)
  head = head or redis.call('ZRANGE', Key.queue(line, tenant), 0, 0)[1]
  if not head then return end
  local first = job_load(head)
  -- nearly always it is the first
  if first and not not_for_here(first.needs, first.lane) and belongs(first) and not left_to_others(first) then
    return head, first
  end
  local looked = 0
  for at = 0, 4 * Setting.AFFINITY_WINDOW - 1, Setting.AFFINITY_WINDOW do
    local ids = redis.call('ZRANGE', Key.queue(line, tenant), at, at + Setting.AFFINITY_WINDOW - 1)
    for n, id in ipairs(ids) do
      -- of what stands behind only what decides is read
      local job = at == 0 and n == 1 and first
      local needs, lane
      if job then
        needs, lane = job.needs, job.lane
      else
        needs, lane = unpack(redis.call('HMGET', Key.job(id), 'needs', 'lane'))
      end
      if not not_for_here(needs, lane) then
        job = job or job_load(id)
        if not belongs(job) then return id end
        if not left_to_others(job) then return id, job end
        looked = looked + 1
        if looked == Setting.AFFINITY_WINDOW then return end
      end
    end
    if #ids < Setting.AFFINITY_WINDOW then return end
  end
end

-- Jobs that stand further behind. Each claim looks at some of them: it begins where the worker's last claim stopped, goes on
-- tenant by tenant in the order of their names, and then begins anew. So a worker that may take none of the first jobs is idle
-- for a few claims and no longer, however many they are.
local function farther()
  local tenants = redis.call('ZRANGE', Key.fair(line), 0, -1)
  if not tenants[1] then return end
  table.sort(tenants)
  local offset, marked = string.match(redis.call('GET', Key.bookmark(line, worker)) or '0 ', '^(%d+) (.*)$')
  local at, found = 1, nil
  while at < #tenants and tenants[at] < marked do at = at + 1 end
  if tenants[at] ~= marked then offset = 0 end
  offset = tonumber(offset)
  local budget, ends = Setting.STALE_PER_CLAIM, 0
  while budget > 0 and ends <= #tenants and not found do
    local ids = redis.call('ZRANGE', Key.queue(line, tenants[at]), offset, offset + budget - 1)
    for n, id in ipairs(ids) do
      local job = not not_for_here(unpack(redis.call('HMGET', Key.job(id), 'needs', 'lane'))) and job_load(id)
      if job and belongs(job) and not left_to_others(job)
        and not headroom_keeps(pool, line_tier, line, tenants[at]) then
        found, ids = job, {unpack(ids, 1, n - 1)}
        break
      end
    end
    offset, budget = offset + #ids, budget - #ids
    if budget > 0 and not found then at, offset, ends = at % #tenants + 1, 0, ends + 1 end
  end
  redis.call('SET', Key.bookmark(line, worker), offset .. ' ' .. tenants[at], 'PX', Setting.ELSEWHERE_MS + 1)
  return found
end
