-- What must go on in a full Redis uses this, before all that it writes. Redis refuses a script's writes only until the
-- script has written something, and a DEL is never refused; this one finds nothing. (Redis 6.2 has no flag for it.)
redis.call('DEL', Key.nothing())
