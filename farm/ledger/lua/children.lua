-- children(limit): queue or fail jobs that follow one that is over, until `limit` records were read, theirs and their parents'.
-- A job that fails so is over, too: those that follow it come next. Answers how many records were read, 0 where no such job is
-- left. The next reap reserves the permits.
-- uses: full clock job event batch money queue due verdict depend
return depend_work(tonumber(ARGV[1]))
