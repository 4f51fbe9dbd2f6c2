#include "runtime/object.hpp"

namespace Atoll {

void* object_space::take_memory(std::size_t bytes) {
  void* memory = closing_ ? nullptr : heap_.allocate(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void object_space::link(object& o) noexcept {
  o.previous = nullptr;
  o.next = all_;
  if (all_ != nullptr) all_->previous = &o;
  all_ = &o;
  ++live_;
}

void object_space::unlink(object& o) noexcept {
  (o.previous != nullptr ? o.previous->next : all_) = o.next;
  if (o.next != nullptr) o.next->previous = o.previous;
  --live_;
}

bool object_space::brought_back(object& o) noexcept {
  o.count = 1;
  watch_->dying(o);
  if (--o.count == 0) return false;
  link(o);
  return true;
}

void object_space::release(object& o) noexcept {
  if (closing_) return; // close() destroys it, or has
  unlink(o);
  o.next = queue_;
  queue_ = &o;
  if (draining_) return;
  draining_ = true;
  while (object* last = queue_) {
    queue_ = last->next;
    if (watch_ != nullptr && brought_back(*last)) continue;
    const object_class& c = *last->cls;
    c.destroy(*last);
    heap_.deallocate(last, c.bytes);
  }
  draining_ = false;
}

void object_space::close() noexcept {
  // Destroyed first, freed later: objects in a circle count each other down on the way.
  closing_ = true;
  for (object* o = all_; o != nullptr; o = o->next) o->cls->destroy(*o);
  while (object* o = all_) {
    all_ = o->next;
    heap_.deallocate(o, o->cls->bytes);
  }
  live_ = 0;
}

} // namespace Atoll
