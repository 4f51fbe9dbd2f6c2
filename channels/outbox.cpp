#include "channels/outbox.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "channels/disposal.hpp"

namespace Atoll {

namespace {
constexpr std::size_t full_bytes = 16 * 1024;
} // namespace

outbox::~outbox() {
  while (!empty()) {
    try {
      flush();
    } catch (const std::bad_alloc&) {
      // One envelope was disposed of; the others go out.
    }
  }
}

wire_writer& outbox::open(interpreter_id to, record_kind kind) {
  // A receiver that was not there is looked up again: it may be born by now.
  open_ = last_ != nullptr && last_->to == to && last_->box != nullptr ? last_ : &lane_to(to);
  last_ = open_;
  open_start_ = open_record(open_->writer, kind);
  return open_->writer;
}

send_status outbox::commit() {
  lane& l = *open_;
  if (l.writer.failed()) return send_status::no_memory;
  if (l.box == nullptr) return send_status::gone;
  close_record(l.writer, open_start_);
  l.writer.count_record();
  ++messages_;
  open_ = nullptr;
  if (!l.touched) {
    l.touched = true;
    (touched_ != nullptr ? last_touched_->next_touched : touched_) = &l;
    last_touched_ = &l;
  }
  if (l.writer.size() >= full_bytes) send(l);
  return l.box->crowded() ? send_status::crowded : send_status::sent;
}

void outbox::rollback(record_visitor& visitor) {
  wire_writer& w = open_->writer;
  const std::uint8_t* start = w.data() + open_start_;
  if (w.size() >= open_start_ + record_header_bytes) {
    record r{static_cast<record_kind>(*start), {start + record_header_bytes, w.data() + w.size()}};
    walk_record(r, visitor);
  }
  w.truncate(open_start_);
  open_ = nullptr;
}

void outbox::flush() {
  // send() may dispose of messages to the dead, but never touches this outbox.
  while (touched_ != nullptr) {
    lane& l = *touched_;
    if (!l.writer.empty()) send(l); // when that throws, its envelope is gone, and the lane's turn comes again
    l.touched = false;
    touched_ = std::exchange(l.next_touched, nullptr);
  }
  last_ = nullptr; // so that the next turn looks whether its receiver still lives
  if (others_ && others_->size() > lanes_kept_) forget_dead();
}

void outbox::forget_dead() {
  std::erase_if(*others_,
                [](const auto& kv) { return kv.second->box == nullptr || kv.second->box->turn().is_closed(); });
  lanes_kept_ = std::max(lanes_min, others_->size() * 2); // a look at all of them is paid by as many new ones
}

void outbox::forget() noexcept {
  if (!empty()) return;
  last_ = nullptr;
  first_ = nullptr;
  if (others_) lane_map().swap(*others_);
}

void outbox::send(lane& l) { deliver(*l.box, l.writer.take(), directory_); }

inbox_ptr outbox::receiver(interpreter_id to) { return lane_to(to).box; }

std::unique_ptr<outbox::lane>& outbox::place_of(interpreter_id to) {
  if (first_ == nullptr || first_->to == to) return first_;
  return others_.need()[to];
}

outbox::lane& outbox::lane_to(interpreter_id to) {
  std::unique_ptr<lane>& l = place_of(to);
  if (l == nullptr)
    l = std::make_unique<lane>(from_, to, directory_.find(to));
  else if (l->box == nullptr)
    l->box = directory_.find(to);
  else if (l->box->turn().is_closed() && l->writer.empty())
    l->box = nullptr;
  return *l;
}

} // namespace Atoll
