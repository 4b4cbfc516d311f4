-- rate(tenant): count a request against the tenant's limit (GCRA: Key.rate is when the next one is due in theory).
-- Answers {allowed, burst, remaining, reset_ms, retry_after_ms}, or false where there is no limit.
-- uses: full clock
local tenant = ARGV[1]
local limits = redis.call('HMGET', Key.tenant(tenant), 'rate_per_minute', 'rate_burst')
local per_minute = tonumber(limits[1] or '')
if not per_minute or per_minute <= 0 then return false end
local burst = math.max(1, math.floor(tonumber(limits[2] or '') or per_minute))
local interval_ms = 60000 / per_minute
-- at most a whole burst in the future, also when the clock has gone back
local due = math.min(tonumber(redis.call('GET', Key.rate(tenant)) or 0), NOW + interval_ms * burst)
due = math.max(NOW, due)
local early_ms = due + interval_ms - interval_ms * burst - NOW
if early_ms > 0 then
  return {0, burst, 0, math.ceil(due - NOW), math.ceil(early_ms)}
end
due = due + interval_ms
redis.call('SET', Key.rate(tenant), due, 'PX', math.max(1, math.ceil(due - NOW)))
return {1, burst, math.floor((NOW + interval_ms * burst - due) / interval_ms), math.ceil(due - NOW), 0}
