-- For scripts that must run in a full Redis: use it before the first write. Redis refuses a script's writes only until the
-- script has written something, and a DEL is never refused; this one deletes nothing. (Redis 6.2 has no flag for it.)
redis.call('DEL', Key.nothing())
