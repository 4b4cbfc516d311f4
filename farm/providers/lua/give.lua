-- give(provider, key, holder): the job is over there, or was never submitted. Answers 1 if it had a slot.
local provider, key, holder = unpack(ARGV)
local this = Key.provider(provider)
-- a probe that told nothing makes room for the next
if redis.call('HGET', this, 'probe') == holder then redis.call('HDEL', this, 'probe', 'probe_until') end
return redis.call('ZREM', Key.provider_slots(provider, key), holder)
