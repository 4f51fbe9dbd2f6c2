// What native coroutines do with channels: send, receive, and the first of several. native_context makes them.
// Why: each tries at once and waits only then, so that a stream costs no suspension for each item.
// Threads: owner only.
// Invariants: (1) an operation that was decided counts, also when its deadline passes at the same moment, or when the
//                 finalization fails what still waits: its result is then the item, or that it was sent. (2) after an interrupt or an end what was received meanwhile is undelivered,
//                 what was to be sent returns to the tables.
#pragma once

#include "channels/channel_desk.hpp"
#include "channels/selection.hpp"
#include "guests/native/native_wait.hpp"

namespace Atoll {

/// A wait on channels, and its ends.
class channel_operation {
public:
  std::string text(native_tasks& all) const;
  task_wait describe(native_tasks& all) const;

protected:
  channel_operation() = default;
  channel_operation(const channel_operation&) = delete;
  channel_operation& operator=(const channel_operation&) = delete;

  static channel_desk& desk(native_tasks& all) { return all.outside().channels(); }
  /// A new wait; cases follow.
  guest_wait& make(native_tasks& all);
  guest_wait& wait() const noexcept { return *wait_; }
  /// True: decided at once.
  bool begin_wait(native_tasks& all, guest_word token);
  /// It was decided, and the outcome has come.
  void finish(native_tasks& all);
  /// True: it was decided already, and counts. False: what it held is given back.
  bool settled(native_tasks& all, errc why) noexcept;
  void give_back(native_tasks& all) noexcept;

  /// What was written and not sent; what was received and is not wanted. The item is empty then.
  static void put_back(native_tasks& all, item_bytes& item);
  static void drop_received(native_tasks& all, item_bytes& item);
  /// Writes an item; after an error nothing is written.
  static result<void> write(native_tasks& all, item_bytes& item, const value& v);
  static result<value> read(native_tasks& all, item_bytes& item);
  /// invalid_argument for an empty handle, not_shareable for another runtime's.
  static result<basic_channel*> channel_of(native_tasks& all, const any_channel& c);

private:
  boost::intrusive_ptr<guest_wait> wait_;
};

class send_operation : public channel_operation {
public:
  using value_type = void;
  /// Without waiting: timeout when there is no room.
  static result<void> at_once(native_tasks& all, const any_channel& to, const value& v);
  /// `orphans`: nothing, the channel's.
  std::optional<result<void>> begin(native_tasks& all, guest_word token, const any_channel& to, const value& v,
                                    std::optional<orphan_policy> orphans);
  std::optional<result<void>> withdraw(native_tasks& all, errc why) noexcept;
  result<void> take(native_tasks& all, const outcome&);

private:
  /// Nothing: no room yet; the item is the desk's outgoing().
  static std::optional<result<void>> try_first(native_tasks& all, basic_channel& to, const value& v,
                                               orphan_policy orphans);
  result<void> sent(native_tasks& all);
};

class receive_any : public channel_operation {
public:
  static result<value> at_once(native_tasks& all, const any_channel& from);

protected:
  std::optional<result<value>> begin_any(native_tasks& all, guest_word token, const any_channel& from);
  std::optional<result<value>> withdraw_any(native_tasks& all, errc why) noexcept;
  result<value> take_any(native_tasks& all);

private:
  /// Nothing: nothing is there yet.
  static std::optional<result<value>> try_first(native_tasks& all, basic_channel& from);
  result<value> received(native_tasks& all);
};

template <class T>
class receive_operation : public receive_any {
public:
  using value_type = T;
  std::optional<result<T>> begin(native_tasks& all, guest_word token, const any_channel& from) {
    return as_wanted(begin_any(all, token, from));
  }
  std::optional<result<T>> withdraw(native_tasks& all, errc why) noexcept { return as_wanted(withdraw_any(all, why)); }
  result<T> take(native_tasks& all, const outcome&) { return *as_wanted(take_any(all)); }

private:
  static std::optional<result<T>> as_wanted(std::optional<result<value>> v) {
    if (!v) return std::nullopt;
    return guarded([&] { return received_as<T>(*std::move(v)); });
  }
};

class select_operation : public channel_operation {
public:
  using value_type = std::size_t;
  std::optional<result<std::size_t>> begin(native_tasks& all, guest_word token, selection& cases);
  std::optional<result<std::size_t>> withdraw(native_tasks& all, errc why) noexcept;
  result<std::size_t> take(native_tasks& all, const outcome&);

private:
  result<std::size_t> chosen(native_tasks& all);

  selection* cases_ = nullptr;
  std::vector<std::size_t> numbers_; // of the wait's cases
};

} // namespace Atoll
