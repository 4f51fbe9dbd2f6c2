// A C++ program with a runtime inside: an interpreter that keeps accounts, and references to them from outside.
#include <cstdio>

#include <atoll/native.hpp>

class account {
public:
  explicit account(std::string owner) : owner_(std::move(owner)) {}
  ~account() { std::printf("%s's account is closed, with %d in it\n", owner_.c_str(), balance_); }

  int deposit(int amount) { return balance_ += amount; }

private:
  std::string owner_;
  int balance_ = 0;
};

int main() {
  Atoll::native_interface bank;
  bank.add(Atoll::native_class<account>("account").method("deposit", &account::deposit))
      .function("add", [](int a, int b) { return a + b; });

  Atoll::system_config config;
  config.workers = 2;
  config.languages["native"] = Atoll::native(bank);
  Atoll::system runtime(config);

  const auto accounts = runtime.spawn<Atoll::native>({.name = "accounts"}).value();
  std::printf("2 + 3 = %d\n", accounts.call<int>("add", 2, 3).get().value());

  // The object lives in that interpreter's heap; this is a counted reference to it, good on any thread.
  Atoll::ref<account> alice = accounts.make<account>("alice").get().value();
  std::printf("deposited: %d\n", alice.call(&account::deposit, 10).get().value()); // runs in its owner's turn
  std::printf("by name: %d\n", alice.call<int>("deposit", 5).get().value());

  alice = {}; // one message to the owner: its last reference is gone

  const Atoll::finalization_report report = runtime.finalize();
  std::printf("%s: %d exported, %d released\n", name_of(report.verdict), static_cast<int>(report.exported),
              static_cast<int>(report.released));
}
