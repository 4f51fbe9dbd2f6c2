-- expect-error: lua_bad_syntax.lua:4: unexpected symbol near <eof>
-- expect-status: 1
local t = {
