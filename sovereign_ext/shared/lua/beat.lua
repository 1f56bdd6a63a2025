-- A router is there. Begins an epoch if the data are not those of the last one: lost, or another server's. One that
-- began in the future, by a clock that was set back since, begins now.
--
-- KEYS  epoch, routers
-- ARGV  router, the server's lineage, a name for an epoch that begins, how long a silent router is remembered (ms)
-- Gives the epoch, since when (server ms), the time, and every router with the time of its last sign.

local now = clock('')
local stored = redis.call('GET', KEYS[1])
local lineage, name, since = '', '', ''
if stored then
  lineage, name, since = string.match(stored, '^(%S+) (%S+) (%d+)$')
end
if lineage ~= ARGV[2] or tonumber(since) > now then
  name, since = lineage ~= ARGV[2] and ARGV[3] or name, text(now)
  redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. name .. ' ' .. since)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - tonumber(ARGV[4])))
redis.call('ZADD', KEYS[2], text(now), ARGV[1])
return { name, since, text(now), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES') }
