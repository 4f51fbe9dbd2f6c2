// References, channels and buffers among the arguments of children: kept as values, given to each new incarnation.
// Ownership: the supervisor's guest; the values do not outlive it.
// Threads: owner only.
// Invariants: (1) each kept_import stands for one use of its import, until drop_imports(); then for nothing.
#pragma once

#include "channels/buffer.hpp"
#include "channels/buffer_space.hpp"
#include "channels/channel_desk.hpp"
#include "channels/channel_value.hpp"
#include "runtime/host.hpp"
#include "runtime/references.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll {

class kept_references final : public reference_codec {
public:
  explicit kept_references(host& outside) noexcept : host_(outside) {}

  /// The imports are dropped by the shell.
  void drop_imports() noexcept { *over_ = true; }

  bool put(wire_writer& out, const reference& r) override {
    const auto* kept = r.as<kept_import>();
    if (out.failed()) return true;
    if (kept == nullptr || *over_) return false;
    put_imported(out, host_.imports(), kept->at);
    return true;
  }
  reference get(const wire_ref& r) override {
    const auto got = host_.receive_reference(r);
    if (!got || got->own) return {}; // a supervisor exports nothing
    return reference(std::make_shared<kept_import>(host_, over_, got->import));
  }
  bool put_channel(wire_writer& out, const any_channel& c) override {
    return out.failed() || Atoll::put_channel(out, host_.channels().space(), c);
  }
  any_channel get_channel(channel_number number) override {
    return Atoll::get_channel(host_.channels().space(), number);
  }
  result<void> put_buffer(wire_writer& out, const buffer_holder& b) override { return put_held(out, b); }
  result<value> get_buffer(const wire_slice& s) override { return host_.buffers().receive(s).map(to_value<buffer>); }
  void refuse_connection(std::uint64_t connection) override { host_.close_connection(connection); }

private:
  struct kept_import final : reference_holder {
    kept_import(host& outside, std::shared_ptr<const bool> gone, import_table::index import) noexcept
        : home(outside), over(std::move(gone)), at(import) {}
    ~kept_import() override {
      if (!*over) home.imports().drop_use(at);
    }
    bool same_object(const reference_holder& other) const noexcept override {
      const auto* o = dynamic_cast<const kept_import*>(&other);
      return o != nullptr && o->at == at;
    }
    std::string describe() const override { return "reference"; }

    host& home;
    std::shared_ptr<const bool> over;
    import_table::index at;
  };

  host& host_;
  std::shared_ptr<bool> over_ = std::make_shared<bool>(false);
};

} // namespace Atoll
