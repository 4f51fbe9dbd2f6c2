// A tool in C++ that keeps its own data with the functions of a Lua program: here, how often each was looked up.
#include <cstdio>

#include <atoll/lua.hpp>

namespace {

struct note {
  const char* function;
  int looked_up = 0;
};

/// Runs in the interpreter whose code it was, in its turn, once for each note.
void free_note(void* extra) {
  auto* n = static_cast<note*>(extra);
  std::printf("%s is gone, looked up %d times\n", n->function, n->looked_up);
  delete n;
}

} // namespace

int main() {
  Atoll::system_config config;
  config.languages["lua"] = Atoll::lua();
  Atoll::system runtime(config);
  const auto shop = runtime
                        .spawn<Atoll::lua>({.name = "shop"}, Atoll::code(R"(
    local function bid(n) return n + 1 end
    return {
      price = function(n) return 3 * n end,
      bidder = function() return require("atoll").ref(bid) end,
    })"))
                        .value();

  // An index is this interpreter's: every interpreter gives out its own.
  using index = Atoll::code_extra_registry::index;
  const auto mine = static_cast<index>(with_code(shop,
                                                 [](Atoll::lua_code& all) {
                                                   return all.registry().request_code_extra_index(free_note).map(
                                                       [](index i) { return int{i}; });
                                                 })
                                           .get()
                                           .value());

  // A code object belongs to all closures of a function. Slots are kept by the code, not by who looks.
  const auto look_up = [mine](Atoll::lua_code& all, Atoll::code_object& code, const char* name) {
    void* found = nullptr;
    (void)code.get_extra(mine, found);
    if (found == nullptr) (void)code.set_extra(all.registry(), mine, found = new note{name});
    return ++static_cast<note*>(found)->looked_up;
  };
  for (int i = 0; i < 3; ++i)
    (void)with_code(shop, [look_up](Atoll::lua_code& all) {
      return all.of_interface("price").map([&](Atoll::code_object* code) { return look_up(all, *code, "price"); });
    }).get();

  // A function somebody holds by reference.
  auto bidder = shop.call<Atoll::ref<>>("bidder").get().value();
  const int times =
      with_code(bidder, [look_up](Atoll::lua_code& all, Atoll::code_object& code) { return look_up(all, code, "bid"); })
          .get()
          .value();
  std::printf("bid was looked up %d time\n", times);

  const auto other = with_code(shop, [](Atoll::lua_code& all) {
                       return all.of_interface("rent").map([](Atoll::code_object*) {});
                     }).get();
  std::printf("rent: %s\n", other.error().message.c_str());

  bidder = {};
  runtime.finalize();
}
