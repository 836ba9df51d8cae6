// The program's two streams, and Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <ostream>
#include <streambuf>
#include <string>
#include <string_view>
#include <vector>

namespace raptly {

// A file descriptor as a stream buffer that remembers why a write failed.
class DescriptorBuffer : public std::streambuf {
 public:
  explicit DescriptorBuffer(int descriptor);
  int error() const { return error_; }  // errno of the first failed write; 0: none

 protected:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* s, std::streamsize n) override;
  int sync() override;

 private:
  bool write_all(const char* s, std::size_t n);

  int descriptor_;
  int error_ = 0;
  std::vector<char> buffer_;
};

class Console {
 public:
  Console();
  std::ostream& out() { return out_; }  // data
  // Flushes out(). Throws kIo, unless a reader went away: then Closed.
  void flush();
  // "text" and a newline on stderr.
  void say(std::string_view text);
  // "raptly: message" as one line on stderr, whatever a file's strings hold.
  void complain(std::string message);

  bool talks() const { return talks_; }          // stderr is a terminal that can move its cursor
  bool listens() const { return listens_; }      // stdin is a terminal
  bool shows() const { return shows_; }          // stdout is one
  std::string dim(std::string_view text) const;  // grey where colours are wanted

  struct Closed {};  // thrown when the reader of stdout is gone

 private:
  DescriptorBuffer buffer_{1};
  std::ostream out_{&buffer_};
  bool talks_;
  bool listens_;
  bool shows_;
  bool colours_;
};

// "loading [#####.....]  45 %" on stderr, where that is a terminal; gone when done or destroyed.
class ProgressBar {
 public:
  ProgressBar(const Console& console, std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void update(double done);  // 0 .. 1
  void clear();

 private:
  bool active_;
  bool drawn_ = false;
  std::string label_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

// While alive, the first Ctrl-C sets a flag and the second one ends the program.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  static const std::atomic<bool>& flag();
  static bool interrupted() { return flag().load(std::memory_order_relaxed); }
};

struct Interrupted {};  // thrown where there is nothing to keep

}  // namespace raptly
