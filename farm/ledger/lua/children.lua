-- children(limit): look at up to `limit` of the jobs that follow one that is over: queue them or fail them. What failed
-- so is over, too: those that follow it come next. Answers how many were looked at; permits come with the next reap.
-- uses: full clock job event batch money queue due verdict depend
return depend_work(tonumber(ARGV[1]))
