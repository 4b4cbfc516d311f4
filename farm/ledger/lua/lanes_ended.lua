-- lanes_ended(): how many jobs succeeded and failed in the last hour, by pool and lane, and how many seconds the successful ones
-- took, as JSON (farm.ledger.lane_numbers). Of more than MOST jobs the newest MOST count.
-- uses: full clock
local HOUR_MS, MOST = 3600000, 1000
local ended = redis.call('ZREVRANGEBYSCORE', Key.ended(), '+inf', NOW - HOUR_MS, 'WITHSCORES', 'LIMIT', 0, MOST)
local since = #ended == 2 * MOST and tonumber(ended[#ended]) or NOW - HOUR_MS
local lanes, known = {}, {}
for n = 1, #ended, 2 do
  local pool, lane, state, began = unpack(redis.call('HMGET', Key.job(ended[n]), 'pool', 'lane', 'state', 'started_ms'))
  if pool and lane then
    local name = pool .. '|' .. lane
    if not known[name] then
      known[name] = {pool = pool, lane = lane, done = 0, failed = 0, seconds = 0}
      lanes[#lanes + 1] = known[name]
    end
    local one = known[name]
    if state == State.SUCCEEDED then
      one.done = one.done + 1
      one.seconds = one.seconds + math.max(0, tonumber(ended[n + 1]) - tonumber(began or ended[n + 1])) / 1000
    elseif state == State.FAILED then
      one.failed = one.failed + 1
    end
  end
end
return cjson.encode({now_ms = NOW, since_ms = since, lanes = lanes})
