-- For scripts that must run in a full Redis: they use it before their first write. Redis refuses a script's writes only until the
-- script has written something, and it never refuses a DEL; this one deletes nothing. (Redis 6.2 has no flag for it.)
redis.call('DEL', Key.nothing())
