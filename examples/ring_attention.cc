// Ring attention: two processes hold half of a sequence each, queries, keys and values. Keys go
// round the ring once; every process merges what its queries saw, and no one ever holds them all.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "raptly/attention.h"
#include "raptly/merge.h"

namespace {

constexpr std::int64_t kShare = 512, kHeads = 4, kDim = 64, kProcesses = 2;
constexpr std::size_t kNumbers = kShare * kHeads * kDim;
using Rows = std::vector<float>;  // [kShare, kHeads, kDim]

raptly::TensorView view(const Rows& rows) { return {rows.data(), {1, kShare, kHeads, kDim}}; }
raptly::MutableTensorView view(Rows& rows) { return {rows.data(), {1, kShare, kHeads, kDim}}; }

// Numbers of a share that every process can make, so that the result can be checked.
Rows make(int what, int share) {
  Rows rows(kNumbers);
  for (std::size_t i = 0; i < kNumbers; ++i) {
    const std::size_t x = (i * 2654435761u + static_cast<unsigned>(what * 7 + share) * 40503u) >> 7;
    rows[i] = static_cast<float>(x % 1000) / 500 - 1;
  }
  return rows;
}

void pass(int socket, Rows& rows, bool send) {
  auto* at = reinterpret_cast<char*>(rows.data());
  for (std::size_t left = kNumbers * sizeof(float); left > 0;) {
    const ssize_t n = send ? write(socket, at, left) : read(socket, at, left);
    if (n <= 0) std::exit(1);
    at += n;
    left -= static_cast<std::size_t>(n);
  }
}

// The largest difference of this process's rows from attention over all keys.
float run(int share, int socket) {
  const Rows q = make(0, share);
  Rows k = make(1, share), v = make(2, share), out(kNumbers), part(kNumbers);
  std::vector<float> lse(kHeads * kShare), part_lse(lse.size());
  const raptly::MutableTensorView lse_view(lse.data(), {1, kHeads, kShare});
  const raptly::MutableTensorView part_lse_view(part_lse.data(), {1, kHeads, kShare});
  raptly::attention(view(q), view(k), view(v), view(out), {}, lse_view);

  Rows next_k(kNumbers), next_v(kNumbers);  // one step of the ring; more processes take more
  for (Rows* rows : {&k, &v}) {
    if (share == 0) pass(socket, *rows, true);
    pass(socket, rows == &k ? next_k : next_v, false);
    if (share == 1) pass(socket, *rows, true);
  }
  raptly::attention(view(q), view(next_k), view(next_v), view(part), {}, part_lse_view);
  raptly::merge_states({{view(out), lse_view}, {view(part), part_lse_view}}, view(out), lse_view);

  Rows all_k, all_v, whole(kNumbers);
  for (int s = 0; s < kProcesses; ++s) {
    for (const float x : make(1, s)) all_k.push_back(x);
    for (const float x : make(2, s)) all_v.push_back(x);
  }
  raptly::attention(view(q), {all_k.data(), {1, kProcesses * kShare, kHeads, kDim}},
                    {all_v.data(), {1, kProcesses * kShare, kHeads, kDim}}, view(whole));
  float worst = 0;
  for (std::size_t i = 0; i < kNumbers; ++i) {
    worst = std::max(worst, std::fabs(out[i] - whole[i]));
  }
  return worst;
}

}  // namespace

int main() {
  std::array<int, 2> sockets{};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()) != 0) return 1;
  const pid_t child = fork();
  const int share = child == 0 ? 1 : 0;
  const float worst = run(share, sockets[static_cast<std::size_t>(share)]);
  std::printf("process %d: largest difference from attention over all keys %.2g\n", share,
              static_cast<double>(worst));
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  return worst < 1e-5f && status == 0 ? 0 : 1;
}
