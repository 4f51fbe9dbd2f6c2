// Interpreters in C++ that call each other: co_await waits for an answer, and the interpreter does other things meanwhile.
#include <cstdio>

#include <atoll/native.hpp>

using namespace std::chrono_literals;
using Atoll::interpreter_id;
using Atoll::native_context;
using Atoll::native_task;
using Atoll::result;

// A coroutine of its own, awaited by others. Frames lie in the interpreter's heap.
native_task<int> price_of(native_context& c, interpreter_id shop, std::string what) {
  const result<int> price = co_await c.call<int>(shop, "price", what);
  co_return price.value(); // an error of the shop's becomes an error of whoever asked us
}

int main() {
  Atoll::native_interface offered;
  offered
      .function("price",
                [](native_context& c, const std::string& what) -> native_task<result<int>> {
                  if (what == "unicorn") co_return Atoll::fail(Atoll::errc::guest_error, "we have no unicorn");
                  if (what == "boat") co_await c.sleep(1h); // it takes a while to find out
                  co_return static_cast<int>(what.size());
                })
      .function(
          "total",
          [](native_context& c, interpreter_id shop, const std::string& a, const std::string& b) -> native_task<int> {
            const auto other = c.spawn(price_of(c, shop, b)); // beside what follows
            const int first = co_await price_of(c, shop, a);
            co_return first + (co_await other.join()).value();
          })
      .function("quickly",
                [](native_context& c, interpreter_id shop, const std::string& what) -> native_task<result<int>> {
                  co_return co_await c.call<int>(shop, "price", what).within(20ms);
                });

  Atoll::system_config config;
  config.languages["native"] = Atoll::native(offered);
  Atoll::system runtime(config);
  const auto shop = runtime.spawn<Atoll::native>({.name = "shop"}).value();
  const auto buyer = runtime.spawn<Atoll::native>({.name = "buyer"}).value();

  std::printf("pear and apple: %d\n", buyer.call<int>("total", shop.id(), "pear", "apple").get().value());
  std::printf("%s\n", buyer.call<int>("total", shop.id(), "pear", "unicorn").get().error().message.c_str());
  std::printf("%s\n", buyer.call<int>("quickly", shop.id(), "boat").get().error().message.c_str());
  const auto boat = buyer.call<int>("total", shop.id(), "boat", "pear"); // still waits when the runtime ends
  std::printf("%s\n", name_of(runtime.finalize().verdict));
  std::printf("%s\n", name_of(boat.get().error().code));
}
