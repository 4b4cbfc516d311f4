-- rate(tenant): count a request against the tenant's limit. Answers {1 where it is allowed, else 0; burst; requests that may still
-- come now; ms until a whole burst may come; ms until the next request may come, 0 where this one was allowed}, or false where
-- there is no limit.
-- uses: full clock rate
local tenant = ARGV[1]
local rate = rate_of(tenant)
if not rate then return false end
local early_ms = rate.due + rate.interval_ms - rate.interval_ms * rate.burst - NOW
if early_ms > 0 then
  return {0, rate.burst, 0, math.ceil(rate.due - NOW), math.ceil(early_ms)}
end
rate.due = rate.due + rate.interval_ms
redis.call('SET', Key.rate(tenant), rate.due, 'PX', math.max(1, math.ceil(rate.due - NOW)))
return {1, rate.burst, rate_remaining(rate), math.ceil(rate.due - NOW), 0}
