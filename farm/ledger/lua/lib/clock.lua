-- NOW: ms since the epoch by the clock of this server, the only clock of the ledger. It is read once in a script.
local NOW
do
  local time = redis.call('TIME')
  NOW = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
