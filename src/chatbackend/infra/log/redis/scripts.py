"""The scripts that Redis runs: each is one decision and one write, or none.

Every script takes `:meta` and `:events` of one response, and may be sent again when its reply was lost:
a second run finds what the first one wrote. Replies are `{word, number...}`; see `log.py`.
`:meta` holds `fence`, `next`, `ended`, `deleted`.

Source: https://redis.io/docs/latest/develop/interact/programmability/eval-intro/
"""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """Lua over two keys, sent by its hash and, where Redis does not know it yet, as text."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


# ARGV: fence, seconds to keep. Replies with 1 where the stream has its end.
OPEN = Script("""
local held = redis.call('HMGET', KEYS[1], 'fence', 'next', 'deleted', 'ended')
if held[3] or not held[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  held = {false, '0', false, false}
elseif tonumber(held[1]) > tonumber(ARGV[1]) then
  return {'fenced'}
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'next', held[2])
if not held[4] then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return {'ok', tonumber(held[2]), held[4] and 1 or 0}
""")

# ARGV: fence, expected, channel, seconds to keep an un-ended stream, seconds to keep an ended one or "",
# then number, type and data of each event.
APPEND = Script("""
local held = redis.call('HMGET', KEYS[1], 'fence', 'next', 'ended', 'deleted')
if held[4] then return {'gone'} end
if not held[1] then return {'behind', 0} end
local fence, expected, following = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(held[2])
if tonumber(held[1]) > fence then return {'fenced'} end
if tonumber(held[1]) < fence or expected > following then return {'behind', following} end

local at = 6
if expected < following then
  local count = (#ARGV - 5) / 3
  local there = redis.call('XRANGE', KEYS[2], string.format('%d-0', expected + 1), '+', 'COUNT', count)
  if #there == 0 then return {'fenced'} end
  for _, entry in ipairs(there) do
    local id = string.format('%d-0', ARGV[at] + 1)
    if entry[1] ~= id or entry[2][2] ~= ARGV[at + 1] or entry[2][4] ~= ARGV[at + 2] then return {'fenced'} end
    at = at + 3
  end
end
if at > #ARGV then return {'ok', following} end
if held[3] then return {'fenced'} end

for i = at, #ARGV, 3 do
  redis.call('XADD', KEYS[2], string.format('%d-0', ARGV[i] + 1), 't', ARGV[i + 1], 'd', ARGV[i + 2])
end
following = ARGV[#ARGV - 2] + 1
redis.call('HSET', KEYS[1], 'next', following)
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'ended', 1)
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  redis.call('EXPIRE', KEYS[2], ARGV[5])
elseif at == 6 and expected == 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
redis.call('PUBLISH', ARGV[3], following)
return {'ok', following}
""")

EXTENT = Script("""
local held = redis.call('HMGET', KEYS[1], 'next', 'ended', 'deleted')
if held[3] or not held[1] then return {'none'} end
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local floor = held[1]
if first then floor = string.match(first[1], '%d+') - 1 end
return {'ok', tonumber(floor), tonumber(held[1]), held[2] and 1 or 0}
""")

# ARGV: channel, seconds to remember that it was deleted (an owner must not take that for a lost log).
DELETE = Script("""
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'deleted', 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[1], 'deleted')
return {'ok'}
""")
