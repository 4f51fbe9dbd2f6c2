#include "channels/directory.hpp"

#include "channels/channel_space.hpp"

#include <algorithm>
#include <mutex>
#include <new>

namespace Atoll {

directory::directory() : channels_(std::make_shared<channel_space>(*this, buffers_, inside_)) {}

// Handles of channels and of buffers may outlive it.
directory::~directory() {
  channels_->seal();
  buffers_->drop_lost();
}

namespace {
bool is_program(interpreter_id id) { return id != host_interpreter && id != net_interpreter; }
} // namespace

const char* name_of(run_state state) noexcept {
  switch (state) {
  case run_state::starting: return "starting";
  case run_state::running: return "running";
  case run_state::stopping: return "stopping";
  case run_state::gone: break;
  }
  return "gone";
}

bool directory::enter(interpreter_id id, std::string name, interpreter_id parent, inbox_ptr box) {
  const std::scoped_lock lock(mutex_);
  const auto [named, is_new] = name.empty() ? std::pair(names_.end(), true) : names_.try_emplace(name, id);
  if (!is_new) return false;
  try {
    living_.emplace(id, entry{std::move(box), std::move(name), parent, run_state::starting});
  } catch (const std::bad_alloc&) {
    if (named != names_.end()) names_.erase(named);
    throw;
  }
  return true;
}

void directory::set_state(interpreter_id id, run_state state) {
  const std::scoped_lock lock(mutex_);
  if (const auto it = living_.find(id); it != living_.end()) it->second.state = state;
}

void directory::leave(interpreter_id id, std::vector<tombstone> pinned) {
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(id);
  if (it == living_.end()) return;
  if (!it->second.name.empty()) names_.erase(it->second.name);
  living_.erase(it);
  if (!pinned.empty()) dead_.emplace(id, std::move(pinned));
}

inbox_ptr directory::find(interpreter_id id) const {
  if (born_.forked()) return nullptr;
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(id);
  return it != living_.end() ? it->second.box : nullptr;
}

std::optional<interpreter_info> directory::look_up(interpreter_id id) const {
  if (born_.forked()) return std::nullopt;
  const std::scoped_lock lock(mutex_);
  const auto it = living_.find(id);
  if (it == living_.end()) return std::nullopt;
  return info(id, it->second);
}

std::optional<interpreter_info> directory::find(std::string_view name) const {
  if (born_.forked()) return std::nullopt;
  const std::scoped_lock lock(mutex_);
  const auto it = names_.find(std::string(name));
  if (it == names_.end()) return std::nullopt;
  return info(it->second, living_.at(it->second));
}

std::vector<interpreter_info> directory::list() const {
  std::vector<interpreter_info> all;
  if (born_.forked()) return all;
  {
    all.reserve(size());
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, e] : living_)
      if (is_program(id)) all.push_back(info(id, e));
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return all;
}

std::size_t directory::size() const {
  const std::scoped_lock lock(mutex_);
  return living_.size() - living_.count(host_interpreter) - living_.count(net_interpreter);
}

std::optional<tombstone> directory::return_loan(interpreter_id holder, const object_id& id, std::uint32_t loans) {
  const std::scoped_lock lock(mutex_);
  const auto it = dead_.find(holder);
  if (it == dead_.end()) return std::nullopt;
  std::vector<tombstone>& stones = it->second;
  const auto stone = std::find_if(stones.begin(), stones.end(), [&](const tombstone& t) { return t.id == id; });
  if (stone == stones.end()) return std::nullopt;
  stone->loans_out -= std::min(loans, stone->loans_out);
  if (stone->loans_out > 0) return std::nullopt;
  tombstone done = std::move(*stone);
  stones.erase(stone);
  if (stones.empty()) dead_.erase(it);
  return done;
}

std::size_t directory::tombstones() const {
  const std::scoped_lock lock(mutex_);
  std::size_t n = 0;
  for (const auto& [holder, stones] : dead_) n += stones.size();
  return n;
}

std::vector<tombstone> directory::all_pinned() const {
  const std::scoped_lock lock(mutex_);
  std::vector<tombstone> all;
  for (const auto& [holder, stones] : dead_) all.insert(all.end(), stones.begin(), stones.end());
  return all;
}

} // namespace Atoll
