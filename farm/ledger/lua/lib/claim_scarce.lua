-- Pools of unequal workers.
-- uses: job fits workforce claim_worker claim_affinity
-- In a pool of unequal workers a worker takes, among the tenant's first jobs of the same priority, the one that the fewest live
-- workers can hold: so that a large GPU is not busy with a small job when a large one waits. A job is passed over for that no
-- more often than for a lane.
local function scarcer(first)
  if memory == '' or (first.passes or 0) >= Setting.AFFINITY_PASSES then return end
  if redis.call('HLEN', Key.offers(pool)) <= 1 then return end  -- all workers are alike
  local offers = redis.call('HGETALL', Key.offers(pool))
  local known = {}
  local function holders(needs)
    if not known[needs] then
      known[needs] = 0
      for n = 1, #offers, 2 do
        local theirs = offer_parts(offers[n])
        if fits(needs, theirs) then known[needs] = known[needs] + tonumber(offers[n + 1]) end
      end
    end
    return known[needs]
  end
  local fewest, best = holders(first.needs or ''), nil
  for _, id in shortlist(first) do
    local lane, priority, _, needs = details_of(id, first)
    if not not_for_here(needs, lane) then
      if tonumber(priority or -1) ~= first.priority then break end
      if holders(needs or '') < fewest then fewest, best = holders(needs or ''), id end
    end
  end
  local job = best and job_load(best)
  if not job or not belongs(job) or left_to_others(job) then return end
  redis.call('HINCRBY', Key.job(first.id), 'passes', 1)
  return job
end
