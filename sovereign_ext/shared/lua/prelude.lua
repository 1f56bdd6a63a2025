-- Put before every script. Keys, fields and formats are those of shared/layout.py; why is in docs/adr/0014.
--
-- All numbers are whole and below 2^53, so they are exact in Lua's doubles. The arithmetic of a bucket is that of
-- tenants/buckets.py. tostring() would write 14 digits only: text() writes all of them.

local floor = math.floor

local function text(number)
  return string.format('%.0f', number)
end

-- The time in milliseconds: the server's, so that routers need not agree on it, or the one given (in tests).
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + floor(tonumber(time[2]) / 1000)
end

-- A bucket filled up to now: used units, the part of a unit that has filled on top (in 1/window), and when; and whether
-- the clock was set back since.
local function bucket(stored, capacity, window, now)
  local used, part, at = 0, 0, now
  if stored then
    local a, b, c = string.match(stored, '^(%d+) (%d+) (%d+)$')
    used, part, at = tonumber(a), tonumber(b), tonumber(c)
  end
  local back = at - now > window
  if back then
    at = now
  elseif now > at then
    local elapsed = now - at
    local windows = floor(elapsed / window)
    local rest = elapsed - windows * window
    local each = floor(capacity / window)
    local share = rest * (capacity - each * window) + part
    local filled = windows * capacity + rest * each + floor(share / window)
    at = now
    if filled >= used then
      used, part = 0, 0
    else
      used, part = used - filled, share % window
    end
  end
  return { used = used, part = part, at = at, back = back }
end

-- A full bucket is no key at all; another is kept until it is full, and a minute more, at most ten years.
local function keep(key, state, capacity, window)
  if state.used <= 0 then
    redis.call('DEL', key)
    return
  end
  local full = math.min(floor(state.used / capacity * window) + 60000, 315360000000)
  redis.call('SET', key, text(state.used) .. ' ' .. text(state.part) .. ' ' .. text(state.at), 'PX', text(full))
end

-- The set of a slot lives as long as the longest of its calls needs it.
local function occupy(key, call, milliseconds)
  redis.call('SADD', key, call)
  if redis.call('PTTL', key) < tonumber(milliseconds) then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

-- A reservation is "expires holder json"; a tombstone's holder is "-".
local function opened(record)
  return string.match(record, '^(%d+) (%S+) (.*)$')
end

-- What a reservation holds against a window, nil if nothing. The JSON is layout.py's.
local function held(record, window)
  local _, holder, json = opened(record)
  local total = nil
  if holder ~= '-' then
    for _, reserve in ipairs(cjson.decode(json)[4]) do
      local name = 'w:' .. reserve[3] .. ':' .. text(reserve[4]) .. ':' .. reserve[1] .. ':' .. reserve[2]
      if name == window then
        total = (total or 0) + reserve[7]
      end
    end
  end
  return total
end
