-- Glob patterns of samples/kv, as KEYS and SCAN MATCH take them.
-- expect: every pattern agrees
-- expect: many stars take no time

package.path = (arg[0]:match("^(.*/)") or "./") .. "../../samples/kv/?.lua;" .. package.path
local glob = require "glob"

local cases = {
  {"*", "", true}, {"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false}, {"?", "a", true}, {"?", "", false},
  {"a*", "a", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"*b", "abc", false}, {"a*c", "ac", true}, {"a*c", "abcb", false},
  {"a**c", "abc", true}, {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "ba", false}, {"ab*ba", "aba", false}, {"ab*ba", "abba", true},
  {"h[ae]llo", "hello", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hello", false}, {"h[^e]llo", "hallo", true},
  {"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"[a-]", "-", false}, {"[a-]", "^", true}, {"[]", "a", false}, {"[^]", "a", true},
  {"[]a]", "]a]", false}, {"[\\]]", "]", true}, {"[abc", "b", true}, {"\\*", "*", true}, {"\\*", "a", false}, {"a\\", "a\\", true},
  {"%d", "1", false}, {"%d", "%d", true}, {".", "a", false}, {"a-b", "a-b", true}, {"[%]", "%", true}, {"$^()", "$^()", true},
  {"\0*\255", "\0x\r\n\255", true}, {"?", "\n", true}, {"?", "\0", true}, {"user:*:name", "user:12:name", true},
}
local wrong = {}
for _, case in ipairs(cases) do
  if glob.matcher(case[1])(case[2]) ~= case[3] then wrong[#wrong + 1] = ("%q on %q"):format(case[1], case[2]) end
end
print(#wrong == 0 and "every pattern agrees" or "wrong: " .. table.concat(wrong, "; "))

-- What backtracks would take longer than the universe has.
local started = os.clock()
local matched = glob.matcher(("a*"):rep(200) .. "b")(("a"):rep(20000))
print(not matched and os.clock() - started < 5 and "many stars take no time" or "many stars took long")
