-- turn(name, worker, seconds): whether it is this worker's turn to do what one worker does for all. Whoever has the turn keeps it
-- by asking again within that time. Answers a Turn (farm.ledger.burst_notes).
-- uses: full
local key = Key.turn(ARGV[1])
local holder = redis.call('GET', key)
if holder and holder ~= ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2], 'PX', math.floor(1000 * tonumber(ARGV[3])))
return holder and 1 or 2
