-- queued(line, tenant, ...): how many jobs each tenant has in its queue of the line.
local sizes = {}
for n = 2, #ARGV do sizes[n - 1] = redis.call('ZCARD', Key.queue(ARGV[1], ARGV[n])) end
return sizes
