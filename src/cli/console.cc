#include "cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "raptly/error.h"

namespace raptly {
namespace {

std::atomic<bool> interrupt_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // set in a signal handler

void on_interrupt(int) { interrupt_flag.store(true, std::memory_order_relaxed); }

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool is_smart_terminal(int descriptor) {
  const char* term = std::getenv("TERM");
  return isatty(descriptor) != 0 && !(term != nullptr && std::strcmp(term, "dumb") == 0);
}

void write_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

DescriptorBuffer::DescriptorBuffer(int descriptor) : descriptor_(descriptor), buffer_(1 << 16) {
  setp(buffer_.data(), buffer_.data() + buffer_.size());
}

bool DescriptorBuffer::write_all(const char* s, std::size_t n) {
  while (n > 0 && error_ == 0) {
    const ssize_t written = ::write(descriptor_, s, n);
    if (written >= 0) {
      s += written;
      n -= static_cast<std::size_t>(written);
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  return error_ == 0;
}

int DescriptorBuffer::sync() {
  const bool ok = write_all(pbase(), static_cast<std::size_t>(pptr() - pbase()));
  setp(buffer_.data(), buffer_.data() + buffer_.size());
  return ok ? 0 : -1;
}

DescriptorBuffer::int_type DescriptorBuffer::overflow(int_type c) {
  if (sync() != 0) return traits_type::eof();
  if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
  return traits_type::not_eof(c);
}

std::streamsize DescriptorBuffer::xsputn(const char* s, std::streamsize n) {
  if (n <= epptr() - pptr()) {
    std::memcpy(pptr(), s, static_cast<std::size_t>(n));
    pbump(static_cast<int>(n));
    return n;
  }
  return sync() == 0 && write_all(s, static_cast<std::size_t>(n)) ? n : 0;
}

Console::Console()
    : talks_(is_smart_terminal(2)),
      listens_(isatty(0) != 0),
      shows_(isatty(1) != 0),
      colours_(talks_ && !is_set("NO_COLOR")) {}

void Console::flush() {
  out_.flush();
  if (out_) return;
  if (buffer_.error() == EPIPE) throw Closed{};
  throw Error(ErrorCode::kIo, "[cli] standard output could not be written: " +
                                  std::generic_category().message(buffer_.error()) + ".");
}

void Console::say(std::string_view text) { write_stderr(std::string(text) + "\n"); }

void Console::complain(std::string message) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  say("raptly: " + message);
}

std::string Console::dim(std::string_view text) const {
  return colours_ ? "\x1b[2m" + std::string(text) + "\x1b[0m" : std::string(text);
}

ProgressBar::ProgressBar(const Console& console, std::string label)
    : active_(console.talks()),
      label_(std::move(label)),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::update(double done) {
  using std::chrono::milliseconds;
  if (!active_) return;
  const auto now = std::chrono::steady_clock::now();
  // Nothing flashes up for what is done at once, and the terminal is not flooded.
  if (now - start_ < milliseconds(150) || (drawn_ && now - last_ < milliseconds(50))) return;
  constexpr int kWidth = 24;
  const double share = std::clamp(done, 0.0, 1.0);
  const auto filled = static_cast<std::size_t>(share * kWidth);
  char percent[8];
  std::snprintf(percent, sizeof percent, "%3d %%", static_cast<int>(share * 100));
  write_stderr("\r\x1b[K" + label_ + " [" + std::string(filled, '#') +
               std::string(kWidth - filled, '.') + "] " + percent);
  drawn_ = true;
  last_ = now;
}

void ProgressBar::clear() {
  if (drawn_) write_stderr("\r\x1b[K");
  drawn_ = false;
}

InterruptGuard::InterruptGuard() {
  interrupt_flag.store(false, std::memory_order_relaxed);
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one has the default effect
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

InterruptGuard::~InterruptGuard() { std::signal(SIGINT, SIG_DFL); }

const std::atomic<bool>& InterruptGuard::flag() { return interrupt_flag; }

}  // namespace raptly
