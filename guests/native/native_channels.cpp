#include "guests/native/native_channels.hpp"

#include <fmt/format.h>

#include "channels/wait_text.hpp"

namespace Atoll {

// -- the wait ----------------------------------------------------------------------------------------------------------

std::string channel_operation::text(native_tasks&) const {
  if (wait_ == nullptr || wait_->size() == 0) return "a channel";
  return wait_->size() == 1 ? fmt::format("channel {}", wait_->at(0).where->id())
                            : fmt::format("one of {} channels", wait_->size());
}

task_wait channel_operation::describe(native_tasks&) const { return wait_ != nullptr ? wait_of(*wait_) : task_wait{}; }

guest_wait& channel_operation::make(native_tasks& all) {
  wait_ = desk(all).make_wait();
  return *wait_;
}

bool channel_operation::begin_wait(native_tasks& all, guest_word token) {
  return desk(all).decide(*wait_, token, all.next_random());
}

void channel_operation::finish(native_tasks& all) { desk(all).finish(*wait_); }

bool channel_operation::settled(native_tasks& all, errc why) noexcept {
  const bool decided = !desk(all).withdraw(*wait_);
  if (decided && (why == errc::timeout || why == errc::runtime_finalizing)) return true;
  give_back(all);
  return false;
}

void channel_operation::give_back(native_tasks& all) noexcept {
  std::vector<aftermath::undelivered> lost;
  for (std::size_t i = 0; i < wait_->size(); ++i) {
    channel_case& c = wait_->at(i);
    if (c.item.bytes.empty()) continue;
    if (!c.sends) {
      lost.push_back({std::move(c.item), c.where});
    } else {
      put_back(all, c.item.bytes);
    }
  }
  desk(all).space().give_up(std::move(lost));
}

void channel_operation::put_back(native_tasks& all, item_bytes& item) {
  all.outside().put_back(item.reader());
  item.clear();
}

void channel_operation::drop_received(native_tasks& all, item_bytes& item) {
  all.outside().give_back(item.reader());
  item.clear();
}

result<void> channel_operation::write(native_tasks& all, item_bytes& item, const value& v) {
  item.clear();
  item.limit(record_bytes_max);
  result<void> written = encode_values(item, all.references(), {&v, 1});
  if (!written) put_back(all, item);
  return written;
}

result<value> channel_operation::read(native_tasks& all, item_bytes& item) {
  result<std::vector<value>> values = decode_values(item.reader(), all.references());
  item.clear();
  if (!values) return tl::unexpected<error>(std::move(values.error()));
  return std::move(values->front());
}

result<basic_channel*> channel_operation::channel_of(native_tasks& all, const any_channel& c) {
  const auto* kept = c.as<kept_channel>();
  if (kept == nullptr) return fail(errc::invalid_argument, "an empty handle names no channel");
  basic_channel& found = *kept->channel();
  if (&found.space() != &desk(all).space()) return tl::unexpected<error>(of_another_runtime(found));
  return &found;
}

// -- sending -----------------------------------------------------------------------------------------------------------

std::optional<result<void>> send_operation::begin(native_tasks& all, guest_word token, const any_channel& to,
                                                  const value& v, std::optional<orphan_policy> orphans) {
  const result<basic_channel*> c = channel_of(all, to);
  if (!c) return tl::unexpected<error>(c.error());
  const orphan_policy policy = orphans.value_or((*c)->options().orphans);
  if (auto at_once = try_first(all, **c, v, policy)) return at_once;
  channel_item& item = make(all).add(*c, true).item;
  item.bytes.swap(desk(all).outgoing().bytes);
  item.info.orphans = policy;
  if (begin_wait(all, token)) return sent(all);
  return std::nullopt;
}

result<void> send_operation::at_once(native_tasks& all, const any_channel& to, const value& v) {
  const result<basic_channel*> c = channel_of(all, to);
  if (!c) return tl::unexpected<error>(c.error());
  if (auto sent = try_first(all, **c, v, (*c)->options().orphans)) return *sent;
  put_back(all, desk(all).outgoing().bytes);
  return tl::unexpected<error>(channel_error(**c, channel_status::full));
}

std::optional<result<void>> send_operation::try_first(native_tasks& all, basic_channel& to, const value& v,
                                                      orphan_policy orphans) {
  item_bytes& item = desk(all).outgoing().bytes;
  if (auto written = write(all, item, v); !written) return written;
  const channel_status how = desk(all).send(to, orphans);
  if (how == channel_status::done) return result<void>();
  if (how == channel_status::full && to.options().full == full_policy::block) return std::nullopt;
  put_back(all, item);
  return tl::unexpected<error>(channel_error(to, how));
}

result<void> send_operation::take(native_tasks& all, const outcome&) {
  finish(all);
  return sent(all);
}

std::optional<result<void>> send_operation::withdraw(native_tasks& all, errc why) noexcept {
  if (settled(all, why)) return sent(all);
  return std::nullopt;
}

result<void> send_operation::sent(native_tasks& all) {
  const channel_status how = wait().status();
  give_back(all); // nothing, when it was sent
  if (how == channel_status::done) return {};
  return tl::unexpected<error>(channel_error(*wait().at(0).where, how));
}

// -- receiving ---------------------------------------------------------------------------------------------------------

std::optional<result<value>> receive_any::begin_any(native_tasks& all, guest_word token, const any_channel& from) {
  const result<basic_channel*> c = channel_of(all, from);
  if (!c) return tl::unexpected<error>(c.error());
  if (auto at_once = try_first(all, **c)) return at_once;
  make(all).add(*c, false);
  if (begin_wait(all, token)) return received(all);
  return std::nullopt;
}

result<value> receive_any::at_once(native_tasks& all, const any_channel& from) {
  const result<basic_channel*> c = channel_of(all, from);
  if (!c) return tl::unexpected<error>(c.error());
  if (auto got = try_first(all, **c)) return *std::move(got);
  return tl::unexpected<error>(channel_error(**c, channel_status::empty));
}

std::optional<result<value>> receive_any::try_first(native_tasks& all, basic_channel& from) {
  const channel_status how = desk(all).receive(from);
  channel_item& item = desk(all).received_item();
  if (how == channel_status::empty) return std::nullopt;
  if (how == channel_status::done) return read(all, item.bytes);
  if (how == channel_status::orphaned) drop_received(all, item.bytes);
  return tl::unexpected<error>(channel_error(from, how, item.info.sender));
}

result<value> receive_any::take_any(native_tasks& all) {
  finish(all);
  return received(all);
}

std::optional<result<value>> receive_any::withdraw_any(native_tasks& all, errc why) noexcept {
  if (settled(all, why)) return received(all);
  return std::nullopt;
}

result<value> receive_any::received(native_tasks& all) {
  channel_case& c = wait().at(0);
  if (wait().status() == channel_status::done) return read(all, c.item.bytes);
  if (wait().status() == channel_status::orphaned) drop_received(all, c.item.bytes);
  return tl::unexpected<error>(channel_error(*c.where, wait().status(), c.item.info.sender));
}

// -- the first of several ----------------------------------------------------------------------------------------------

std::optional<result<std::size_t>> select_operation::begin(native_tasks& all, guest_word token, selection& cases) {
  cases_ = &cases;
  guest_wait& w = make(all);
  for (std::size_t i = 0; i < cases.cases().size(); ++i) {
    const selection::one& one = cases.cases()[i];
    if (!one.where) continue; // a disabled case
    const result<basic_channel*> c = channel_of(all, one.where);
    if (!c) {
      give_back(all);
      return tl::unexpected<error>(c.error());
    }
    channel_case& added = w.add(*c, one.item.has_value());
    numbers_.push_back(i);
    if (!one.item) continue;
    if (auto written = write(all, added.item.bytes, *one.item); !written) {
      give_back(all);
      return tl::unexpected<error>(std::move(written.error()));
    }
  }
  if (numbers_.empty()) return fail(errc::invalid_argument, "a selection without a channel would wait for ever");
  if (begin_wait(all, token)) return chosen(all);
  return std::nullopt;
}

result<std::size_t> select_operation::take(native_tasks& all, const outcome&) {
  finish(all);
  return chosen(all);
}

std::optional<result<std::size_t>> select_operation::withdraw(native_tasks& all, errc why) noexcept {
  if (settled(all, why)) return chosen(all);
  return std::nullopt;
}

result<std::size_t> select_operation::chosen(native_tasks& all) {
  const std::size_t which = numbers_[wait().fired()];
  cases_->choose(which);
  channel_case& c = wait().fired_case();
  if (wait().status() == channel_status::done && !c.sends) {
    result<value> got = read(all, c.item.bytes);
    give_back(all); // what the other cases were to send
    if (!got) return tl::unexpected<error>(std::move(got.error()));
    cases_->set_received(std::move(*got));
    return which;
  }
  if (wait().status() == channel_status::orphaned) drop_received(all, c.item.bytes);
  give_back(all);
  if (wait().status() == channel_status::done) return which;
  return tl::unexpected<error>(channel_error(*c.where, wait().status(), c.item.info.sender));
}

} // namespace Atoll
