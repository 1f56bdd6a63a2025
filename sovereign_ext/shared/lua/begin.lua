-- Begin to load a window's spend from the database.
--
-- KEYS  reservations, window
-- ARGV  epoch, token of the loader, how long it may take (ms), the window's name, from when it may be loaded (server ms)
-- Gives 'known', or 'busy' (another loads it), or 'wait' and for how many ms, or 'begun' and the calls that hold
-- something against the window: the loader leaves these out of its sum, since they will add themselves.

local now = clock('')
local row = redis.call('HMGET', KEYS[2], 'epoch', 'loader', 'until')
if row[1] == ARGV[1] then
  return { 'known' }
end
if now < tonumber(ARGV[5]) then
  return { 'wait', tonumber(ARGV[5]) - now }
end
local left = row[2] and tonumber(row[3]) - now or 0
if left > 0 and left <= tonumber(ARGV[3]) then -- more is of a clock that was set back since
  return { 'busy' }
end
local reply = { 'begun' }
local all = redis.call('HGETALL', KEYS[1])
for index = 1, #all, 2 do
  if held(all[index + 1], ARGV[4]) then
    reply[#reply + 1] = all[index]
  end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'loader', ARGV[2], 'until', text(now + tonumber(ARGV[3])), 'late', 0)
redis.call('PEXPIRE', KEYS[2], text(2 * tonumber(ARGV[3])))
return reply
