-- read_purchases(nonce, ...): of each purchase that is there {nonce, {field, value, ...}, 1 where its job runs there now, else 0}.
-- uses: clock
local found = {}
for _, nonce in ipairs(ARGV) do
  local record = redis.call('HGETALL', Key.purchase(nonce))
  if #record > 0 then
    local job = redis.call('HGET', Key.purchase(nonce), 'job')
    local held = redis.call('HMGET', Key.job(job), 'purchase', 'purchase_nonce', 'state')
    found[#found + 1] = {nonce, record, (held[1] and held[2] == nonce and held[3] == State.RUNNING) and 1 or 0}
  end
end
return found
