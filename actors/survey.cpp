#include "actors/survey.hpp"

#include <algorithm>

#include "actors/shell/interpreter.hpp"

namespace Atoll {

namespace {

class asking_job final : public job {
public:
  explicit asking_job(std::shared_ptr<survey> whole) : survey_(std::move(whole)) {}
  void run(host& owner) override {
    auto& i = static_cast<interpreter&>(owner);
    try {
      survey_->part(i.id(), i.exported(), i.imports());
    } catch (...) {
      survey_->missing(); // no memory: the others are not kept waiting
      throw;
    }
  }
  void abandon(const error&) noexcept override { survey_->missing(); }

private:
  std::shared_ptr<survey> survey_;
};

void put_interpreters(wire_writer& w, const std::vector<interpreter_id>& all) {
  w.put_tag(wire_tag::table);
  w.put_u32(static_cast<std::uint32_t>(all.size()));
  w.put_u32(0);
  for (const interpreter_id i : all) {
    if (i == host_interpreter) {
      w.put_string("host program");
    } else {
      w.put_interpreter(i);
    }
  }
}

} // namespace

std::unique_ptr<job> survey::question(std::shared_ptr<survey> whole) {
  return std::make_unique<asking_job>(std::move(whole));
}

void survey::part(interpreter_id who, std::vector<exported_object> exports, const import_table& imports) {
  {
    const std::scoped_lock lock(mutex_);
    for (exported_object& o : exports) objects_.push_back(std::move(o));
    imports.for_each([&](const object_id& id, std::uint32_t, std::uint32_t) { holders_[id].push_back(who); });
  }
  close(1);
}

void survey::close(std::size_t parts) {
  listener told;
  std::vector<exported_object> all;
  {
    const std::scoped_lock lock(mutex_);
    left_ -= std::min(parts, left_);
    if (left_ > 0 || !told_) return;
    told = std::exchange(told_, nullptr);
    all = std::move(objects_);
    for (exported_object& o : all)
      if (auto it = holders_.find(o.id); it != holders_.end()) o.holders = std::move(it->second);
    holders_.clear();
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (exported_object& o : all) std::sort(o.holders.begin(), o.holders.end());
  told(std::move(all));
}

void put_survey(wire_writer& w, const std::vector<exported_object>& all) {
  w.put_tag(wire_tag::table);
  w.put_u32(static_cast<std::uint32_t>(all.size()));
  w.put_u32(0);
  for (const exported_object& o : all) {
    w.put_tag(wire_tag::table);
    w.put_u32(0);
    w.put_u32(4);
    w.put_string("type");
    w.put_string(o.type);
    w.put_string("owner");
    w.put_interpreter(o.id.owner);
    w.put_string("credit");
    w.put_int(static_cast<std::int64_t>(o.credit));
    w.put_string("holders");
    put_interpreters(w, o.holders);
  }
}

} // namespace Atoll
