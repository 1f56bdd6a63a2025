-- Tell what this router saw of the providers, and hear what others saw.
--
-- KEYS  stream
-- ARGV  router, what it saw ('' = nothing), the last id it has read ('' = begin with what counts still), how far back
--       anything counts (ms), how many entries are kept at most, how many are read at most
-- Gives the time and the entries after that id.

local now = clock('')
local oldest = text(now - tonumber(ARGV[4]))
if ARGV[2] ~= '' then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], '*', 'router', ARGV[1], 'saw', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], text(2 * tonumber(ARGV[4])))
end
local from = '(' .. ARGV[3]
if ARGV[3] == '' or tonumber(string.match(ARGV[3], '^%d+')) < tonumber(oldest) then
  from = oldest
end
return { text(now), redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[6]) }
