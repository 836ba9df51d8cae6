// Trains a character model of two layers with attention() and attention_backward(): C++ only, no
// framework. Even the slopes of ALiBi learn. Ends with the loss on text it has not seen, beside
// that of a trigram model.
//   example_train_char TEXT [--steps N] [--threads N] [--losses FILE]
// --losses: writes the loss of each step, or if the file is there, compares (0.001 each).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "raptly/backward.h"
#include "raptly/error.h"

namespace {

constexpr int kLayers = 2, kDim = 64, kHeads = 4, kHeadDim = kDim / kHeads, kHidden = 256;
constexpr int kBatch = 8, kLength = 96, kTokens = kBatch * kLength;
using Floats = std::vector<float>;

// The same numbers in tools/make_train_golden.py.
class Random {
 public:
  std::uint64_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  float uniform(float width) {
    return (static_cast<float>(bits() >> 40) * 0x1p-24f - 0.5f) * 2 * width;
  }
  int below(int n) { return static_cast<int>((bits() >> 33) % static_cast<std::uint64_t>(n)); }

 private:
  std::uint64_t state_ = 0x2545F4914F6CDD1Du;
};

struct Parameter {
  Floats value, gradient, mean, square;

  void init(std::size_t n, float start) {
    init(n, [=] { return start; });
  }
  template <class Value>
    requires std::is_invocable_v<Value>
  void init(std::size_t n, Value&& next) {
    value.resize(n);
    for (float& x : value) x = next();
    gradient.assign(n, 0);
    mean.assign(n, 0);
    square.assign(n, 0);
  }
  void adamw(int step) {
    constexpr double kRate = 1e-3, kBeta1 = 0.9, kBeta2 = 0.99, kEpsilon = 1e-5, kDecay = 0.01;
    const double rate = kRate * std::min(1.0, (step + 1) / 20.0);
    const double scale1 = 1 - std::pow(kBeta1, step + 1), scale2 = 1 - std::pow(kBeta2, step + 1);
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double g = gradient[i];
      const double m = kBeta1 * mean[i] + (1 - kBeta1) * g;
      const double s = kBeta2 * square[i] + (1 - kBeta2) * g * g;
      mean[i] = static_cast<float>(m);
      square[i] = static_cast<float>(s);
      const double update = m / scale1 / (std::sqrt(s / scale2) + kEpsilon);
      value[i] = static_cast<float>(value[i] * (1 - rate * kDecay) - rate * update);
      gradient[i] = 0;
    }
  }
};

// c [rows][columns] += a b: a through two strides, so that it may be a transpose.
struct Matrix {
  const float* at;
  int row, step;
};
template <int kRows, int kColumns>
void add_tile(Matrix a, const float* b, int columns, int depth, float* c) {
  float sum[kRows][kColumns] = {};
  for (int k = 0; k < depth; ++k) {
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kColumns; ++j)
        sum[r][j] += a.at[r * a.row + k * a.step] * b[k * columns + j];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kColumns; ++j) c[r * columns + j] += sum[r][j];
  }
}
void add_product(Matrix a, const Floats& b, int rows, int columns, int depth, Floats& c) {
  int i = 0;
  for (; i + 4 <= rows; i += 4) {
    const Matrix from{a.at + i * a.row, a.row, a.step};
    int j = 0;
    for (; j + 8 <= columns; j += 8) {
      add_tile<4, 8>(from, b.data() + j, columns, depth, c.data() + i * columns + j);
    }
    for (; j < columns; ++j) {
      add_tile<4, 1>(from, b.data() + j, columns, depth, c.data() + i * columns + j);
    }
  }
  for (; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) {
      add_tile<1, 1>({a.at + i * a.row, 0, a.step}, b.data() + j, columns, depth,
                     c.data() + i * columns + j);
    }
  }
}

struct Linear {
  Parameter weight;  // [in][out]
  int in = 0, out = 0;

  void init(int n_in, int n_out, Random& random) {
    in = n_in;
    out = n_out;
    const float width = 1 / std::sqrt(static_cast<float>(in));
    weight.init(static_cast<std::size_t>(in * out), [&] { return random.uniform(width); });
  }
  void forward(const Floats& x, Floats& y) const {
    y.assign(static_cast<std::size_t>(kTokens * out), 0);
    add_product({x.data(), in, 1}, weight.value, kTokens, out, in, y);
  }
  void backward(const Floats& x, const Floats& dy, Floats& dx) {
    Floats turned(weight.value.size());
    for (int i = 0; i < in; ++i) {
      for (int o = 0; o < out; ++o) turned[o * in + i] = weight.value[i * out + o];
    }
    dx.assign(static_cast<std::size_t>(kTokens * in), 0);
    add_product({dy.data(), out, 1}, turned, kTokens, in, out, dx);
    add_product({x.data(), 1, in}, dy, in, out, kTokens, weight.gradient);
  }
};

// x / rms(x) * gain.
struct Norm {
  Parameter gain;
  Floats inverse;

  void forward(const Floats& x, Floats& y) {
    y.resize(x.size());
    inverse.resize(kTokens);
    for (int t = 0; t < kTokens; ++t) {
      float squares = 0;
      for (int d = 0; d < kDim; ++d) squares += x[t * kDim + d] * x[t * kDim + d];
      inverse[t] = 1 / std::sqrt(squares / kDim + 1e-5f);
      for (int d = 0; d < kDim; ++d) y[t * kDim + d] = x[t * kDim + d] * inverse[t] * gain.value[d];
    }
  }
  // Adds to dx.
  void backward(const Floats& x, const Floats& dy, Floats& dx) {
    for (int t = 0; t < kTokens; ++t) {
      float along = 0;
      for (int d = 0; d < kDim; ++d) {
        const float n = x[t * kDim + d] * inverse[t];
        gain.gradient[d] += dy[t * kDim + d] * n;
        along += dy[t * kDim + d] * gain.value[d] * n;
      }
      for (int d = 0; d < kDim; ++d) {
        const float n = x[t * kDim + d] * inverse[t];
        dx[t * kDim + d] += inverse[t] * (dy[t * kDim + d] * gain.value[d] - n * along / kDim);
      }
    }
  }
};

// Causal attention over qkv [batch, length, 3, heads, head_dim]; keeps out and lse, no weights.
class Attention {
 public:
  Parameter slopes;

  void forward(const Floats& qkv, Floats& out, raptly::ExecutionContext& context) {
    out.resize(kTokens * kDim);
    lse_.resize(kTokens * kHeads);
    raptly::attention(part(qkv, 0), part(qkv, 1), part(qkv, 2), rows(out.data(), kDim), options(),
                      lse(), context);
  }
  void backward(const Floats& qkv, const Floats& out, const Floats& dout, Floats& dqkv,
                raptly::ExecutionContext& context) {
    dqkv.resize(qkv.size());
    raptly::BackwardInputs in;
    in.dout = rows(const_cast<float*>(dout.data()), kDim);
    in.q = part(qkv, 0);
    in.k = part(qkv, 1);
    in.v = part(qkv, 2);
    in.out = rows(const_cast<float*>(out.data()), kDim);
    in.lse = lse();
    raptly::AttentionGradients gradients;
    gradients.dq = rows(dqkv.data(), 3 * kDim);
    gradients.dk = rows(dqkv.data() + kDim, 3 * kDim);
    gradients.dv = rows(dqkv.data() + 2 * kDim, 3 * kDim);
    gradients.dbias = {slopes.gradient.data(), {kHeads}};
    raptly::attention_backward(in, gradients, options(), context);
  }

 private:
  static raptly::MutableTensorView rows(float* at, std::int64_t token_stride) {
    const std::int64_t sizes[] = {kBatch, kLength, kHeads, kHeadDim};
    const std::int64_t strides[] = {kLength * token_stride, token_stride, kHeadDim, 1};
    return {at, raptly::DType::kF32, raptly::TensorShape(sizes, strides)};
  }
  static raptly::TensorView part(const Floats& qkv, int which) {
    return rows(const_cast<float*>(qkv.data()) + which * kDim, 3 * kDim);
  }
  raptly::MutableTensorView lse() { return {lse_.data(), {kBatch, kHeads, kLength}}; }
  raptly::AttentionOptions options() const {
    raptly::AttentionOptions options;
    options.mask = raptly::mask::causal();
    options.bias = raptly::bias::alibi(slopes.value);
    return options;
  }

  Floats lse_;
};

float sigmoid(float x) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(x)))); }

struct Layer {
  Norm norm1, norm2;
  Linear qkv, out, up, down;
  Attention attention;
  Floats x1, n1, a, o, y, x2, n2, u, h, z;  // of the forward pass

  void forward(Floats& x, raptly::ExecutionContext& context) {
    x1 = x;
    norm1.forward(x, n1);
    qkv.forward(n1, a);
    attention.forward(a, o, context);
    out.forward(o, y);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
    x2 = x;
    norm2.forward(x, n2);
    up.forward(n2, h);
    u = h;
    for (float& v : h) v *= sigmoid(v);
    down.forward(h, z);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += z[i];
  }
  void backward(Floats& dx, raptly::ExecutionContext& context) {
    Floats dh, dn, da, dout;
    down.backward(h, dx, dh);
    for (std::size_t i = 0; i < u.size(); ++i) {
      const float s = sigmoid(u[i]);
      dh[i] *= s * (1 + u[i] * (1 - s));
    }
    up.backward(n2, dh, dn);
    norm2.backward(x2, dn, dx);
    out.backward(o, dx, dout);
    attention.backward(a, o, dout, da, context);
    qkv.backward(n1, da, dn);
    norm1.backward(x1, dn, dx);
  }
  std::vector<Parameter*> parameters() {
    return {&norm1.gain, &norm2.gain,  &qkv.weight,      &out.weight,
            &up.weight,  &down.weight, &attention.slopes};
  }
};

class Model {
 public:
  Model(int n_symbols, raptly::ExecutionContext& context)
      : n_symbols_(n_symbols), context_(context) {
    Random random;
    embedding_.init(static_cast<std::size_t>(n_symbols * kDim),
                    [&] { return random.uniform(0.5f); });
    for (Layer& layer : layers_) {
      layer.norm1.gain.init(kDim, 1);
      layer.norm2.gain.init(kDim, 1);
      layer.qkv.init(kDim, 3 * kDim, random);
      layer.out.init(kDim, kDim, random);
      layer.up.init(kDim, kHidden, random);
      layer.down.init(kHidden, kDim, random);
      layer.attention.slopes.init(kHeads, 0);
      layer.attention.slopes.value = raptly::bias::alibi_slopes(kHeads);
    }
    norm_.gain.init(kDim, 1);
    head_.init(kDim, n_symbols, random);
  }

  // Mean loss in nats; logits become their gradient.
  double forward(const std::vector<int>& input, const std::vector<int>& target) {
    x_.resize(kTokens * kDim);
    for (int t = 0; t < kTokens; ++t) {
      std::copy_n(embedding_.value.begin() + input[t] * kDim, kDim, x_.begin() + t * kDim);
    }
    for (Layer& layer : layers_) layer.forward(x_, context_);
    norm_.forward(x_, n_);
    head_.forward(n_, logits_);
    double loss = 0;
    for (int t = 0; t < kTokens; ++t) {
      float* row = logits_.data() + t * n_symbols_;
      const float most = *std::max_element(row, row + n_symbols_);
      double sum = 0;
      for (int i = 0; i < n_symbols_; ++i) sum += std::exp(static_cast<double>(row[i] - most));
      loss += std::log(sum) - (row[target[t]] - most);
      for (int i = 0; i < n_symbols_; ++i) {
        const double p = std::exp(static_cast<double>(row[i] - most)) / sum;
        row[i] = static_cast<float>((p - (i == target[t])) / kTokens);
      }
    }
    return loss / kTokens;
  }
  void learn(const std::vector<int>& input, int step) {
    Floats dn, dx(x_.size(), 0);
    head_.backward(n_, logits_, dn);
    norm_.backward(x_, dn, dx);
    for (int l = kLayers - 1; l >= 0; --l) layers_[l].backward(dx, context_);
    for (int t = 0; t < kTokens; ++t) {
      for (int d = 0; d < kDim; ++d) embedding_.gradient[input[t] * kDim + d] += dx[t * kDim + d];
    }
    std::vector<Parameter*> all = {&embedding_, &norm_.gain, &head_.weight};
    for (Layer& layer : layers_) {
      for (Parameter* p : layer.parameters()) all.push_back(p);
    }
    for (Parameter* p : all) p->adamw(step);
  }

 private:
  int n_symbols_;
  raptly::ExecutionContext& context_;
  Parameter embedding_;
  Layer layers_[kLayers];
  Norm norm_;
  Linear head_;
  Floats x_, n_, logits_;
};

// The loss of counts of three characters, with those of two and one mixed in, on text[begin, end).
double trigram_loss(const std::vector<int>& text, int begin, int n_symbols) {
  std::map<int, double> counts;  // of contexts, and of contexts with their next character
  const auto key = [&](int length, int a, int b, int c) {
    return ((length * 256 + a) * 256 + b) * 256 + c;
  };
  const auto context = [&](std::size_t i, int length) {
    return std::pair(length > 1 ? text[i - 2] : 0, length > 0 ? text[i - 1] : 0);
  };
  for (std::size_t i = 2; i < static_cast<std::size_t>(begin); ++i) {
    for (int length = 0; length < 3; ++length) {
      const auto [a, b] = context(i, length);
      ++counts[key(length, a, b, text[i])];
      ++counts[key(length, a, b, 255)];
    }
  }
  double loss = 0;
  for (std::size_t i = static_cast<std::size_t>(begin); i < text.size(); ++i) {
    double p = 1.0 / n_symbols;
    for (int length = 0; length < 3; ++length) {
      const auto [a, b] = context(i, length);
      p = (counts[key(length, a, b, text[i])] + 2 * p) / (counts[key(length, a, b, 255)] + 2);
    }
    loss -= std::log(p);
  }
  return loss / static_cast<double>(text.size() - static_cast<std::size_t>(begin));
}

struct Options {
  std::string text, losses;
  int steps = 300, threads = 0;
};

int run(const Options& options) {
  std::ifstream file(options.text, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::string symbols = bytes;
  std::sort(symbols.begin(), symbols.end());
  symbols.erase(std::unique(symbols.begin(), symbols.end()), symbols.end());
  std::vector<int> text;
  for (const char c : bytes) text.push_back(static_cast<int>(symbols.find(c)));
  const int n_symbols = static_cast<int>(symbols.size());
  const int n_train = static_cast<int>(text.size() * 9 / 10);
  if (n_train < 10 * kTokens) {
    std::fprintf(stderr, "%s has %zu characters. There must be some %d.\n", options.text.c_str(),
                 text.size(), 12 * kTokens);
    return 2;
  }

  raptly::ExecutionContext context(options.threads);
  Model model(n_symbols, context);
  Random random;
  std::vector<int> input(kTokens), target(kTokens);
  const auto take = [&](int row, int start) {
    std::copy_n(text.begin() + start, kLength, input.begin() + row * kLength);
    std::copy_n(text.begin() + start + 1, kLength, target.begin() + row * kLength);
  };
  std::vector<double> losses;
  for (int step = 0; step < options.steps; ++step) {
    for (int row = 0; row < kBatch; ++row) take(row, random.below(n_train - kLength));
    losses.push_back(model.forward(input, target));
    model.learn(input, step);
    if (step % 25 == 0) std::printf("step %4d  loss %.6f\n", step, losses.back());
  }

  double unseen = 0;
  int n = 0;
  for (int start = n_train; start + kTokens < static_cast<int>(text.size());
       start += kTokens, ++n) {
    for (int row = 0; row < kBatch; ++row) take(row, start + row * kLength);
    unseen += model.forward(input, target);
  }
  unseen /= n;
  const double trigram = trigram_loss(text, n_train, n_symbols);
  std::printf("text not seen: %.6f nats a character, trigram model %.6f\n", unseen, trigram);

  if (options.losses.empty()) return 0;
  std::ifstream known(options.losses);
  if (!known) {
    std::ofstream out(options.losses);
    for (const double loss : losses) out << loss << '\n';
    return 0;
  }
  double worst = 0, loss = 0;
  std::size_t compared = 0;
  for (; compared < losses.size() && known >> loss; ++compared) {
    worst = std::max(worst, std::fabs(loss - losses[compared]));
  }
  std::printf("%zu losses compared, largest difference %.2e\n", compared, worst);
  const bool learned = options.steps < 300 || unseen < trigram - 0.3;
  return compared > 0 && worst <= 1e-3 && learned ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--steps" && i + 1 < argc) {
      options.steps = std::atoi(argv[++i]);
    } else if (word == "--threads" && i + 1 < argc) {
      options.threads = std::atoi(argv[++i]);
    } else if (word == "--losses" && i + 1 < argc) {
      options.losses = argv[++i];
    } else {
      options.text = word;
    }
  }
  if (options.text.empty()) {
    std::fprintf(stderr,
                 "usage: example_train_char TEXT [--steps N] [--threads N] [--losses FILE]\n");
    return 2;
  }
  return run(options);
} catch (const raptly::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
