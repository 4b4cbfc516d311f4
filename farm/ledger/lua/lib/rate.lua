-- A tenant's request rate (GCRA): Key.rate is the theoretical arrival time of the next request.
-- uses: clock
-- {burst, interval_ms, due: that arrival time, ms, not before NOW}, or nil where there is no limit.
local function rate_of(tenant)
  local limits = redis.call('HMGET', Key.tenant(tenant), 'rate_per_minute', 'rate_burst')
  local per_minute = tonumber(limits[1] or '')
  if not per_minute or per_minute <= 0 then return nil end
  local burst = math.max(1, math.floor(tonumber(limits[2] or '') or per_minute))
  local interval_ms = 60000 / per_minute
  -- at most a whole burst from now, also when the clock has gone back
  local due = math.min(tonumber(redis.call('GET', Key.rate(tenant)) or 0), NOW + interval_ms * burst)
  return {burst = burst, interval_ms = interval_ms, due = math.max(NOW, due)}
end

-- Requests that may still come now.
local function rate_remaining(rate)
  return math.floor((NOW + rate.interval_ms * rate.burst - rate.due) / rate.interval_ms)
end
