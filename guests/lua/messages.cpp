// Messages out (post) and in (deliver), and answers.
#include <fmt/format.h>

#include "guests/lua/libraries.hpp"
#include "guests/lua/state.hpp"
#include "runtime/references.hpp"

namespace Atoll {

namespace {

void write_head(wire_writer& w, const outgoing& m, import_table& imports) {
  if (m.kind != record_kind::send) w.put_u64(m.call);
  if (m.kind == record_kind::invoke) {
    w.put_u8(static_cast<std::uint8_t>(m.op));
    put_imported_target(w, imports, m.via); // a failed writer is found by encode()
  }
  w.put_text(m.text);
}

} // namespace

void lua_guest::moving_done(bool sent) {
  for (const slab_id id : moving) {
    connection_state* c = connections.find(id);
    if (c == nullptr || !sent) continue;
    c->what = connection_state::status::moved;
    c->moved_at = ++moves;
  }
  moving.clear();
}

void lua_guest::move_back(std::uint64_t connection) {
  bool here = false; // it had not moved yet
  connection_state* last = nullptr;
  connections.for_each([&](slab_id, connection_state& c) {
    if (c.connection != connection) return;
    here = here || c.what == connection_state::status::fresh;
    if (c.what == connection_state::status::moved && (last == nullptr || c.moved_at > last->moved_at)) last = &c;
  });
  if (here) return;
  if (last == nullptr) return out.close_connection(connection);
  last->what = connection_state::status::fresh;
}

/// Opens a record and writes the values behind its head; a second time when objects among them had to be packed first.
/// `target`, if any, stays an import meanwhile, though a __pack release the reference.
template <class Open>
bool lua_guest::write_values(lua_State* L, int first, const char* what, import_table::index target, Open open) {
  if (encode(L, first, open(), what)) [[likely]]
    return true;
  give_up_record();
  if (!must_pack_) return false;
  if (target != import_table::none) out.imports().add_use(target);
  bool written = pack(L, first, what);
  if (written) {
    written = encode(L, first, open(), what);
    forget_packed(L);
    if (!written) give_up_record();
  }
  if (target != import_table::none) out.imports().drop_use(target);
  return written;
}

void lua_guest::give_up_record() {
  out.rollback();
  moving_done(false);
}

bool lua_guest::post(lua_State* L, outgoing& m) {
  crowded_ = false;
  if (closing) return fail_with(errc::runtime_finalizing, "the interpreter is closing: nothing goes out any more");
  const std::uint32_t depth = current != nullptr ? current->depth + 1 : 1;
  if (depth > deepest && m.token != 0) [[unlikely]]
    return too_deep(m, depth);
  const auto open = [&]() -> wire_writer& {
    if (m.token != 0) m.call = out.open_call_at(m.token, depth);
    wire_writer& w = out.open_message(m.to, m.kind);
    write_head(w, m, out.imports());
    return w;
  };
  return write_values(L, m.first, "argument", m.via, open) && commit_to(m);
}

bool lua_guest::too_deep(const outgoing& m, std::uint32_t depth) {
  return fail_with(errc::limit_reached,
                   fmt::format("{} calls, each made by the one before it, wait for each other: {} of {} may make no "
                               "further one to {} (limit {})",
                               depth - 1, current->label, name_of_interpreter(out.id()), name_of_interpreter(m.to),
                               deepest));
}

bool lua_guest::commit_to(const outgoing& m) {
  const send_status status = out.commit();
  crowded_ = status == send_status::crowded;
  const bool sent = status == send_status::sent || crowded_;
  if (!moving.empty()) moving_done(sent);
  if (sent) return true;
  out.rollback();
  if (status == send_status::no_memory) return fail_with(errc::out_of_memory, "no memory for the message");
  fail_with(errc::interpreter_gone, fmt::format("{} is gone", name_of_interpreter(m.to)));
  if (m.kind == record_kind::invoke) lost_with_owner(target_of(m));
  return false;
}

lua_guest::call_target lua_guest::target_of(const outgoing& m) const noexcept {
  if (m.kind != record_kind::invoke) return {};
  return {true, out.imports().type_of(m.via), out.imports().id_of(m.via).slot};
}

void lua_guest::lost_with_owner(call_target target) {
  failure_.message += fmt::format(", and {} {} with it", out.type_name(target.type), target.slot);
}

void lua_guest::name_target(call_target target) {
  if (!target.is_object || current->wake != wake_reason::outcome || wait_outcome->what != outcome::kind::failed) return;
  if (wait_outcome->failure->code != errc::interpreter_gone) return;
  failure_ = *wait_outcome->failure;
  lost_with_owner(target);
  gone_.need() = {.what = outcome::kind::failed, .failure = &failure_};
  wait_outcome = gone_.get();
}

void lua_guest::reply(lua_State* L, task& t, int first) {
  const auto open = [&]() -> wire_writer& { return out.open_reply(t.request); };
  if (!write_values(L, first, "result", import_table::none, open)) {
    failure_.message += fmt::format(" (returned by {} of {})", t.label, name_of_interpreter(out.id()));
    return out.reply_error(t.request, failure_);
  }
  const send_status status = out.commit();
  const bool sent = status == send_status::sent || status == send_status::crowded;
  if (!moving.empty()) moving_done(sent);
  if (sent) return;
  out.rollback();
  out.reply_error(t.request, {errc::out_of_memory, "no memory for the answer", {}, out.id(), out.name(), {}});
}

namespace {

int get_field(lua_State* L) {
  lua_gettable(L, 1);
  return 1;
}

int set_field(lua_State* L) {
  lua_settable(L, 1);
  return 0;
}

void unknown(lua_guest& g, std::string_view whose, const char* what, std::string_view name) {
  g.failed(
      *g.current,
      {errc::unknown_function, fmt::format("{} has no {} '{}'", whose, what, name), {}, g.out.id(), g.out.name(), {}});
}

void unknown_function(lua_guest& g, std::string_view name) {
  unknown(g, g.name_of_interpreter(g.out.id()), "function", name);
}

/// Puts the interface's function at index 2; its name stands there. False: there is none.
bool find_function(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.interface_ref);
  lua_pushvalue(L, 2);
  lua_gettable(L, -2);
  lua_replace(L, 2);
  lua_pop(L, 1);
  return !lua_isnil(L, 2);
}

int after_start(lua_State* L, int, lua_KContext) {
  lua_guest& g = lua_guest::of(L);
  g.end_wait(L);
  if (find_function(L)) return g.run_body(L);
  unknown_function(g, g.current->label);
  return 0;
}

int function_entry(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const std::string_view name = g.arriving->name;
  lua_pushcfunction(L, lua_guest::with_traceback);
  if (g.chunk_state == 3) {
    g.failed(*g.current, {errc::interpreter_gone,
                          g.name_of_interpreter(g.out.id()) + " could not start",
                          {},
                          g.out.id(),
                          g.out.name(),
                          {}});
    return 0;
  }
  if (g.chunk_state != 2 || !g.waiting_for_start.empty()) {
    lua_pushlstring(L, name.data(), name.size());
    g.push_message_values(L);
    g.begin_wait();
    g.waiting_for_start.push_back(g.current);
    return g.suspend(L, 0, after_start);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, g.interface_ref);
  lua_pushlstring(L, name.data(), name.size());
  if (lua_gettable(L, -2) == LUA_TNIL) {
    unknown_function(g, name);
    return 0;
  }
  lua_replace(L, -2);
  g.push_message_values(L);
  return g.run_body(L);
}

int eval_entry(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const std::string_view code = g.arriving->name;
  lua_pushcfunction(L, lua_guest::with_traceback);
  open_named(L, code);
  g.scratch.assign("return ").append(code);
  if (luaL_loadbufferx(L, g.scratch.data(), g.scratch.size(), "=eval", "t") != LUA_OK) {
    lua_pop(L, 1);
    if (luaL_loadbufferx(L, code.data(), code.size(), "=eval", "t") != LUA_OK) {
      g.failed(*g.current, {errc::load_error, lua_tostring(L, -1), {}, g.out.id(), g.out.name(), {}});
      return 0;
    }
  }
  g.push_message_values(L);
  return g.run_body(L);
}

/// The object is at index 1.
int invoke_entry(lua_State* L) {
  lua_guest& g = lua_guest::of(L);
  const incoming& m = *g.arriving;
  lua_pushcfunction(L, lua_guest::with_traceback);
  lua_insert(L, 1);
  switch (m.op) {
  case invoke_op::apply: break;
  case invoke_op::get: lua_pushcfunction(L, get_field); break;
  case invoke_op::set: lua_pushcfunction(L, set_field); break;
  case invoke_op::method:
    lua_pushlstring(L, m.name.data(), m.name.size());
    if (lua_gettable(L, 2) == LUA_TNIL) {
      unknown(g, g.own_object_text(m.target), "method", m.name);
      return 0;
    }
    break;
  }
  if (m.op != invoke_op::apply) lua_insert(L, 2);
  g.push_message_values(L);
  return g.run_body(L);
}

lua_CFunction entry_of(record_kind kind) noexcept {
  switch (kind) {
  case record_kind::eval: return eval_entry;
  case record_kind::invoke: return invoke_entry;
  default: return function_entry;
  }
}

} // namespace

void lua_guest::deliver(const incoming& message) {
  begin_reading(message.args);
  task* t = dead ? nullptr : new_task(task_body::message, message.kind == record_kind::eval ? "eval" : message.name);
  if (t == nullptr) {
    end_reading();
    if (message.request == no_request) return;
    return out.reply_error(message.request, {dead ? errc::killed : errc::out_of_memory,
                                             dead ? "killed" : "not enough memory",
                                             {},
                                             out.id(),
                                             out.name(),
                                             {}});
  }
  t->request = message.request;
  t->depth = message.depth;
  arriving = &message;
  lua_pushcfunction(t->thread, entry_of(message.kind));
  if (message.kind == record_kind::invoke) push_exported(t->thread, message.target);
  run(*t, message.kind == record_kind::invoke ? 1 : 0);
  arriving = nullptr;
  end_reading();
  if (ready_at_ < ready_.size()) run_woken();
}

} // namespace Atoll
