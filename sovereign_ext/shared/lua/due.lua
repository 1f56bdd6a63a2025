-- The reservations of a tenant that nobody will settle any more.
--
-- KEYS  reservations
-- ARGV  how many at most, the grace after they expired (ms), 1 if a holder may be taken for gone, then who is there
-- Gives call, record, call, record, ... Tombstones that have done their work are removed.

local now, most = clock(''), tonumber(ARGV[1])
local there = {}
for index = 4, #ARGV do
  there[ARGV[index]] = true
end
local reply = {}
local all = redis.call('HGETALL', KEYS[1])
for index = 1, #all, 2 do
  local expires, holder = opened(all[index + 1])
  local expired = now > tonumber(expires) + tonumber(ARGV[2])
  if holder == '-' then
    if expired then
      redis.call('HDEL', KEYS[1], all[index])
    end
  elseif expired or (ARGV[3] == '1' and not there[holder]) then
    if #reply < 2 * most then
      reply[#reply + 1] = all[index]
      reply[#reply + 1] = all[index + 1]
    end
  end
end
return reply
