#include "kernels/matmul/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/random_weights.h"
#include "raptly/error.h"

namespace raptly {
namespace {

constexpr double kU = 0x1p-24;  // half an ulp of 1 in f32

constexpr WeightType kTypes[] = {WeightType::kF32,  WeightType::kF16,  WeightType::kBf16,
                                 WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ5_0,
                                 WeightType::kQ5_1, WeightType::kQ8_0, WeightType::kQ4K,
                                 WeightType::kQ5K,  WeightType::kQ6K};

std::string type_name(const testing::TestParamInfo<WeightType>& info) {
  return weight_type_info(info.param).name;
}

bool has_min(WeightType type) {
  return type == WeightType::kQ4_1 || type == WeightType::kQ5_1 || type == WeightType::kQ4K ||
         type == WeightType::kQ5K;
}

// Every set of kernels that this machine runs: the levels, and avx512 without vpdpwssd.
std::vector<const MatmulKernels*> all_kernels() {
  std::vector<const MatmulKernels*> all;
  for (const Isa isa : supported_isas()) {
    if (isa > Isa::kAvx512) continue;
    all.push_back(&matmul_kernels(isa, false));
    if (&matmul_kernels(isa) != all.back()) all.push_back(&matmul_kernels(isa));
  }
  return all;
}

// A third of the channels is 40 times the others, as in the hidden states of language models.
std::vector<float> random_rows(std::int64_t rows, std::int64_t n_in, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> x(static_cast<std::size_t>(rows * n_in));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double unit = (static_cast<double>(random()) - 0x1p31) * 0x1p-31;
    x[i] = static_cast<float>(unit * (i % 97 == 5 ? 40 : 1));
  }
  return x;
}

// A matrix with its inputs and everything that a kernel needs.
struct Problem {
  Problem(WeightType type, std::int64_t n_out, std::int64_t n_in, std::int64_t n_rows,
          unsigned seed)
      : rows(n_rows),
        file(random_weights(type, n_out * n_in, seed)),
        w(type, n_out, n_in),
        x(random_rows(n_rows, n_in, seed + 1)),
        q(static_cast<std::size_t>(n_rows * n_in / 32)) {
    w.pack_rows(file.data(), 0, n_out);
    quantize_activations(x.data(), n_rows, n_in, n_in, q.data(), Isa::kScalar);
  }
  PanelMatrix panels() const {
    return {w.panel(0), static_cast<std::int64_t>(w.panel_bytes()), w.n_out(), w.n_in(), w.type()};
  }
  // Rows from `first` on with the int16 or the f32 kernel.
  void run(const MatmulKernels& kernels, bool int16, std::int64_t first,
           const MatmulRange& range) const {
    const auto scratch = std::make_unique<MatmulScratch>();
    if (int16) {
      kernels.int16(panels(), q.data() + first * w.n_in() / 32, range, *scratch);
    } else {
      kernels.f32(panels(), x.data() + first * w.n_in(), w.n_in(), range, *scratch);
    }
  }
  std::vector<float> run_all(const MatmulKernels& kernels, bool int16) const {
    std::vector<float> y(static_cast<std::size_t>(rows * w.n_out()));
    run(kernels, int16, 0, {rows, 0, w.n_panels(), y.data(), w.n_out()});
    return y;
  }

  std::int64_t rows;
  std::vector<std::byte> file;
  PackedWeights w;
  std::vector<float> x;
  std::vector<ActivationBlock> q;
};

std::vector<double> exact_weights(const Problem& p) {
  std::vector<double> w(static_cast<std::size_t>(p.w.n_out() * p.w.n_in()));
  dequantize(p.w.type(), p.file.data(), static_cast<std::int64_t>(w.size()), w.data());
  return w;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class MatmulTypes : public testing::TestWithParam<WeightType> {
 protected:
  WeightType type() const { return GetParam(); }
  bool int16() const { return PackedWeights(type(), 1, 256).uses_int16_activations(); }
  // The activations that this type takes: f32 always, int16 where it is quantised.
  std::vector<bool> modes() const {
    return int16() ? std::vector<bool>{false, true} : std::vector{false};
  }
};
INSTANTIATE_TEST_SUITE_P(All, MatmulTypes, testing::ValuesIn(kTypes), type_name);
class MatmulQuantized : public MatmulTypes {};
INSTANTIATE_TEST_SUITE_P(All, MatmulQuantized, testing::ValuesIn(kTypes + 3, std::end(kTypes)),
                         type_name);

// |y - sum x w| for n_in terms of one FMA chain: each term passes at most n_in roundings, its
// weight was rounded once before.
TEST_P(MatmulTypes, F32WithinItsRoundings) {
  for (const MatmulKernels* kernels : all_kernels()) {
    const Problem p(type(), 37, 256 * 3, 7, 11);
    const std::vector<double> w = exact_weights(p);
    const std::vector<float> y = p.run_all(*kernels, false);
    const std::int64_t n_in = p.w.n_in(), n_out = p.w.n_out();
    for (std::int64_t r = 0; r < p.rows; ++r) {
      for (std::int64_t o = 0; o < n_out; ++o) {
        double sum = 0, size = 0;
        for (std::int64_t i = 0; i < n_in; ++i) {
          const double term = p.x[r * n_in + i] * w[o * n_in + i];
          sum += term;
          size += std::fabs(term);
        }
        const double bound = static_cast<double>(n_in + 1) * kU * 1.0001 * size;
        ASSERT_LE(std::fabs(y[r * n_out + o] - sum), bound)
            << kernels->name << " " << r << " " << o;
      }
    }
  }
}

// Two parts. Rounding x: |x - scale q| <= (0.5 + 2^-9 + 2^-8) scale, from rounding to an integer
// below 2^15, the product before it and the two divisions. The chain: at most 3 roundings of a term
// itself (float(dot), times scale, or the sum's scale) and one for each step that follows.
TEST_P(MatmulQuantized, Int16WithinItsRoundings) {
  for (const MatmulKernels* kernels : all_kernels()) {
    const Problem p(type(), 37, 256 * 3, 7, 12);
    const std::vector<double> w = exact_weights(p);
    const std::vector<float> y = p.run_all(*kernels, true);
    const std::int64_t n_in = p.w.n_in(), n_out = p.w.n_out(), steps = n_in / 16 + 3;
    for (std::int64_t r = 0; r < p.rows; ++r) {
      for (std::int64_t o = 0; o < n_out; ++o) {
        double sum = 0, rounding = 0, chain = 0;
        for (std::int64_t b = 0; b < n_in / 32; ++b) {
          const ActivationBlock& q = p.q[r * n_in / 32 + b];
          // A chain step's term is sum (w - m) x with the block's minimum m apart, |m| <= 2 max |w|
          // for codes that fill their range; a factor 5 covers both parts.
          double size = 0;
          for (std::int64_t e = 0; e < 32; ++e) {
            const double weight = w[o * n_in + b * 32 + e];
            sum += p.x[r * n_in + b * 32 + e] * weight;
            rounding += (0.5 + 0x1p-9 + 0x1p-8) * q.scale * std::fabs(weight);
            size = std::max(size, std::fabs(weight));
          }
          for (const std::int16_t e : q.q) chain += 5 * size * std::fabs(e * double{q.scale});
        }
        const double bound = rounding + static_cast<double>(steps) * kU * chain;
        ASSERT_LE(std::fabs(y[r * n_out + o] - sum), bound)
            << kernels->name << " " << r << " " << o;
      }
    }
  }
}

// With whole numbers everywhere (scale 1 needs max |x| = 32639) the only rounding left is f32's
// own.
TEST_P(MatmulQuantized, ExtremeCodesDoNotOverflow) {
  const std::int64_t n_in = 256, n_out = 16;
  Problem p(type(), n_out, n_in, 2, 13);
  for (std::int64_t i = 0; i < n_in; ++i) p.x[i] = kMaxActivation, p.x[n_in + i] = -kMaxActivation;
  quantize_activations(p.x.data(), 2, n_in, n_in, p.q.data(), Isa::kScalar);
  for (const int fill : {0x00, 0x7f, 0x80, 0xff}) {
    // Every code at an end of its range; scales stay as they were.
    std::vector<std::byte> file = random_weights(type(), n_out * n_in, 13);
    const std::vector<std::byte> scales = file;
    const WeightTypeInfo& info = weight_type_info(type());
    for (std::size_t i = 0; i < file.size(); ++i) {
      const int at = static_cast<int>(i) % info.block_bytes;
      const bool is_q6 = type() == WeightType::kQ6K;
      const bool is_scale = is_q6 ? at >= 208 : at < (has_min(type()) ? 4 : 2);
      file[i] = is_scale ? scales[i] : static_cast<std::byte>(fill);
    }
    p.file = file;
    p.w.pack_rows(file.data(), 0, n_out);
    const std::vector<double> w = exact_weights(p);
    for (const MatmulKernels* kernels : all_kernels()) {
      const std::vector<float> y = p.run_all(*kernels, true);
      for (std::int64_t o = 0; o < n_out; ++o) {
        double sum = 0, size = 0, most = 0;
        for (std::int64_t i = 0; i < n_in; ++i) {
          sum += w[o * n_in + i] * kMaxActivation;
          most = std::max(most, std::fabs(w[o * n_in + i]));
        }
        size = most * 5 * kMaxActivation * n_in;
        ASSERT_LE(std::fabs(y[o] - sum), 20 * kU * size) << kernels->name << " " << fill;
        ASSERT_EQ(y[o], -y[n_out + o]) << kernels->name << " " << fill;
      }
    }
  }
}

TEST_P(MatmulTypes, RowsAloneAreRowsOfAnyCount) {
  const Problem p(type(), 100, 512, 33, 14);  // 6.25 panels
  for (const MatmulKernels* kernels : all_kernels()) {
    for (const bool mode : modes()) {
      const std::vector<float> all = p.run_all(*kernels, mode);
      for (std::int64_t n = 1; n <= 33; ++n) {
        std::vector<float> y(all.size());
        std::copy(all.begin() + n * 100, all.end(), y.begin() + n * 100);
        p.run(*kernels, mode, 0, {n, 0, p.w.n_panels(), y.data(), 100});
        ASSERT_TRUE(same_bits(y, all)) << kernels->name << ", rows " << n;
      }
      std::vector<float> y(all.size());
      for (std::int64_t r = 0; r < 33; ++r) {
        p.run(*kernels, mode, r, {1, 0, p.w.n_panels(), y.data() + r * 100, 100});
      }
      ASSERT_TRUE(same_bits(y, all)) << kernels->name << ", one by one";
    }
  }
}

TEST_P(MatmulTypes, MoreRowsThanAChunk) {  // rows past 192, inputs past one unpacked chunk
  const Problem p(type(), 48, 768, 421, 15);
  for (const MatmulKernels* kernels : all_kernels()) {
    if (kernels == &matmul_kernels(Isa::kScalar)) continue;
    for (const bool mode : modes()) {
      const std::vector<float> all = p.run_all(*kernels, mode);
      std::vector<float> y(all.size());
      for (std::int64_t r = 0; r < p.rows; r += 4) {
        p.run(*kernels, mode, r,
              {std::min<std::int64_t>(4, p.rows - r), 0, 3, y.data() + r * 48, 48});
      }
      ASSERT_TRUE(same_bits(y, all)) << kernels->name;
    }
  }
}

TEST_P(MatmulTypes, AnySplitOfPanels) {
  const Problem p(type(), 100, 256, 9, 16);
  for (const MatmulKernels* kernels : all_kernels()) {
    for (const bool mode : modes()) {
      const std::vector<float> all = p.run_all(*kernels, mode);
      for (const std::int64_t rows : {1, 3, 9}) {
        for (std::int64_t cut = 0; cut <= p.w.n_panels(); ++cut) {
          std::vector<float> y(all.size());
          std::copy(all.begin() + rows * 100, all.end(), y.begin() + rows * 100);
          p.run(*kernels, mode, 0, {rows, cut, p.w.n_panels(), y.data(), 100});
          p.run(*kernels, mode, 0, {rows, 0, cut, y.data(), 100});
          ASSERT_TRUE(same_bits(y, all)) << kernels->name << ", rows " << rows << ", cut " << cut;
        }
      }
    }
  }
}

TEST_P(MatmulTypes, LevelsHaveTheSameBits) {
  const std::vector<const MatmulKernels*> kernels = all_kernels();
  // An odd number of blocks or super-blocks: the last unit of a panel is half full.
  const std::int64_t n_in = weight_type_info(type()).block_elements == 256 ? 768 : 160;
  for (const std::int64_t n_out : {1, 15, 16, 17, 32, 40, 96}) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 8, 13}) {
      const Problem p(type(), n_out, n_in, rows, static_cast<unsigned>(17 + n_out));
      for (const bool mode : modes()) {
        const std::vector<float> first = p.run_all(*kernels[0], mode);
        for (std::size_t k = 1; k < kernels.size(); ++k) {
          ASSERT_TRUE(same_bits(p.run_all(*kernels[k], mode), first))
              << kernels[k]->name << ", outputs " << n_out << ", rows " << rows;
        }
      }
    }
  }
}

TEST_P(MatmulTypes, WritesItsOwnColumnsOnly) {
  constexpr float kCanary = 12345.0f;
  const std::int64_t n_out = 90, stride = 113;
  const Problem p(type(), n_out, 256, 14, 18);
  for (const MatmulKernels* kernels : all_kernels()) {
    for (const bool mode : modes()) {
      const std::vector<float> all = p.run_all(*kernels, mode);
      for (const std::int64_t rows : {1, 4, 14}) {
        std::vector<float> y(static_cast<std::size_t>(14 * stride), kCanary);
        p.run(*kernels, mode, 0, {rows, 1, p.w.n_panels(), y.data(), stride});
        for (std::int64_t r = 0; r < 14; ++r) {
          for (std::int64_t c = 0; c < stride; ++c) {
            const bool mine = r < rows && c >= 16 && c < n_out;
            ASSERT_EQ(y[r * stride + c], mine ? all[r * n_out + c] : kCanary)
                << kernels->name << " " << r << " " << c;
          }
        }
      }
    }
  }
}

TEST_P(MatmulTypes, StridedRowsOfX) {
  const Problem p(type(), 32, 256, 6, 19);
  const std::int64_t stride = 256 + 7;
  std::vector<float> wide(static_cast<std::size_t>(6 * stride), std::nanf(""));
  for (std::int64_t r = 0; r < 6; ++r) std::copy_n(&p.x[r * 256], 256, &wide[r * stride]);
  for (const MatmulKernels* kernels : all_kernels()) {
    std::vector<ActivationBlock> q(p.q.size());
    kernels->quantize(wide.data(), 6, stride, 256, q.data());
    EXPECT_EQ(std::memcmp(q.data(), p.q.data(), q.size() * sizeof(q[0])), 0) << kernels->name;
    std::vector<float> y(6 * 32);
    MatmulScratch scratch;
    kernels->f32(p.panels(), wide.data(), stride, {6, 0, 2, y.data(), 32}, scratch);
    EXPECT_TRUE(same_bits(y, p.run_all(*kernels, false))) << kernels->name;
  }
}

TEST_P(MatmulTypes, UnpackedRowIsTheRoundedDequantizedRow) {
  const Problem p(type(), 37, 512, 1, 20);
  const std::vector<double> w = exact_weights(p);
  for (std::int64_t o = 0; o < 37; ++o) {
    std::vector<float> row(512);
    unpack_row(p.w, o, row.data());
    for (std::int64_t i = 0; i < 512; ++i) {
      ASSERT_EQ(row[i], static_cast<float>(w[o * 512 + i])) << "row " << o << ", input " << i;
    }
  }
}

// A unit vector picks a weight: the f32 kernels dequantise to the same values as unpack_row.
TEST_P(MatmulTypes, KernelsDequantizeAsUnpackRow) {
  Problem p(type(), 32, 256, 256, 21);
  std::fill(p.x.begin(), p.x.end(), 0.0f);
  for (std::int64_t i = 0; i < 256; ++i) p.x[i * 256 + i] = 1.0f;
  std::vector<float> row(256);
  for (const MatmulKernels* kernels : all_kernels()) {
    const std::vector<float> y = p.run_all(*kernels, false);
    for (std::int64_t o = 0; o < 32; ++o) {
      unpack_row(p.w, o, row.data());
      for (std::int64_t i = 0; i < 256; ++i) ASSERT_EQ(y[i * 32 + o], row[i]) << kernels->name;
    }
  }
}

TEST_P(MatmulTypes, PackingInPiecesIsPackingAtOnce) {
  const Problem p(type(), 100, 256, 2, 22);
  PackedWeights pieces(type(), 100, 256);
  const std::int64_t row_bytes = static_cast<std::int64_t>(p.file.size()) / 100;
  for (const auto& [first, n] : {std::pair{64, 36}, std::pair{0, 5}, std::pair{5, 59}}) {
    pieces.pack_rows(p.file.data() + first * row_bytes, first, n);
  }
  ASSERT_EQ(pieces.nbytes(), p.w.nbytes());
  EXPECT_EQ(std::memcmp(pieces.panel(0), p.w.panel(0), p.w.nbytes()), 0);
}

TEST_P(MatmulTypes, NanReachesItsOwnRowOnly) {
  for (const float bad : {std::nanf(""), -std::numeric_limits<float>::infinity()}) {
    Problem p(type(), 32, 256, 9, 23);
    for (const MatmulKernels* kernels : all_kernels()) {
      for (const bool mode : modes()) {
        const std::vector<float> clean = p.run_all(*kernels, mode);
        Problem dirty = Problem(type(), 32, 256, 9, 23);
        dirty.x[3 * 256 + 77] = bad;
        kernels->quantize(dirty.x.data(), 9, 256, 256, dirty.q.data());
        const std::vector<float> y = dirty.run_all(*kernels, mode);
        for (std::int64_t i = 0; i < 9 * 32; ++i) {
          if (i / 32 == 3) {
            ASSERT_TRUE(!std::isfinite(y[i])) << kernels->name;
          } else {
            ASSERT_EQ(y[i], clean[i]) << kernels->name;
          }
        }
      }
    }
  }
}

TEST_P(MatmulTypes, WeightsInTheCallersMemory) {
  const Problem p(type(), 37, 512, 3, 25);
  const std::size_t bytes = PackedWeights::packed_bytes(type(), 37, 512);
  EXPECT_EQ(bytes % 64, 0u);
  EXPECT_EQ(bytes, p.w.nbytes());
  AlignedBytes memory(2 * bytes);
  std::memset(memory.data(), 0xff, memory.size());  // NaN, were it read
  PackedWeights there(type(), 37, 512, memory.data());
  EXPECT_EQ(there.panel(0), memory.data());
  there.pack_rows(p.file.data(), 0, 37);
  EXPECT_EQ(std::memcmp(there.panel(0), p.w.panel(0), bytes), 0);
  for (std::size_t i = bytes; i < 2 * bytes; ++i) ASSERT_EQ(memory.data()[i], std::byte{0xff});
}

TEST_P(MatmulTypes, PackedSizeIsTheFileSize) {
  const WeightTypeInfo& info = weight_type_info(type());
  const PackedWeights w(type(), 64, 1024);
  const double file = 64.0 * 1024 / info.block_elements * info.block_bytes;
  double more =
      0;  // bytes more for 256 weights: 6-bit scales take a byte, Q6_K's line of d is padded
  if (type() == WeightType::kQ4K || type() == WeightType::kQ5K) more = 4;
  if (type() == WeightType::kQ6K) more = 2;
  EXPECT_EQ(static_cast<double>(w.nbytes()), file + more * 64 * 1024 / 256);
}

std::uint64_t hash_of(const std::vector<float>& values) {  // FNV-1a over the bytes
  std::uint64_t hash = 1469598103934665603u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (std::size_t i = 0; i < values.size() * sizeof(float); ++i) {
    hash = (hash ^ bytes[i]) * 1099511628211u;
  }
  return hash;
}

// Bits on every machine, compiler and level: [type][f32, int16].
TEST_P(MatmulTypes, GoldenHashes) {
  static constexpr std::uint64_t kGolden[kWeightTypeCount][2] = {
      {0x2789b07374514448u, 0},                    // F32
      {0x2b2c8ce5c13b571eu, 0},                    // F16
      {0x5a6f761b44f520fdu, 0},                    // BF16
      {0xe37b605dfbe3ff88u, 0x778e9f2e5db65433u},  // Q4_0
      {0x65a7ae26abbd0f78u, 0x04de8c0892b1dfc9u},  // Q4_1
      {0xec90e72154168ab9u, 0x890d3afc1964f12du},  // Q5_0
      {0x3ef505826eef3c43u, 0xe5c94cd5f0d44033u},  // Q5_1
      {0x4ceffc8319169b38u, 0xa99807335435c76cu},  // Q8_0
      {0x99f464f1f847c7e6u, 0x2704ba065f024f3au},  // Q4_K
      {0xf43aa3e8d96d179du, 0x455cd142b84b944du},  // Q5_K
      {0xc5012526ad5ea6ebu, 0x0e0ead8eaf9b9e5du},  // Q6_K
  };
  const Problem p(type(), 48, 512, 5, 24);
  for (const MatmulKernels* kernels : all_kernels()) {
    for (const bool mode : modes()) {
      EXPECT_EQ(hash_of(p.run_all(*kernels, mode)), kGolden[static_cast<int>(type())][mode])
          << kernels->name << (mode ? ", int16" : ", f32");
    }
  }
}

TEST(MatmulQuantize, BlocksAreWithinHalfAStep) {
  const std::vector<float> x = random_rows(8, 96, 30);
  for (const MatmulKernels* kernels : all_kernels()) {
    std::vector<ActivationBlock> q(8 * 3);
    kernels->quantize(x.data(), 8, 96, 96, q.data());
    for (std::size_t b = 0; b < q.size(); ++b) {
      std::int32_t sum = 0, most = 0;
      for (int e = 0; e < 32; ++e) {
        const double exact = x[b * 32 + static_cast<std::size_t>(e)];
        sum += q[b].q[e];
        most = std::max(most, std::abs(int{q[b].q[e]}));
        ASSERT_LE(std::fabs(exact - double{q[b].scale} * q[b].q[e]),
                  (0.5 + 0x1p-9 + 0x1p-8) * q[b].scale);
      }
      EXPECT_EQ(most, 32639);
      EXPECT_EQ(q[b].scaled_sum, q[b].scale * static_cast<float>(sum));
    }
  }
}

TEST(MatmulQuantize, SpecialBlocksAreTheSameOnEveryLevel) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float specials[] = {
      0.0f,      -0.0f,     std::nanf(""),   -std::nanf(""), kInf,   -kInf, 1e-45f,
      1e-38f,    1e-31f,    3.9e-31f,        4e-31f,         1e-20f, 3e38f, -3e38f,
      0x1p-102f, 0x1p-101f, 0x1.fffffep127f, 1.0f,           0.5f};
  std::vector<float> x;
  for (const float special : specials) {
    for (const float rest : {0.0f, 1e-33f, 1e-3f}) {
      for (const int at : {0, 7, 8, 15, 31}) {
        std::vector<float> block(32, rest);
        block[static_cast<std::size_t>(at)] = special;
        x.insert(x.end(), block.begin(), block.end());
      }
    }
  }
  for (int i = 0; i < 64; ++i) x.push_back(static_cast<float>(i) + 0.5f);  // ties
  const std::int64_t blocks = static_cast<std::int64_t>(x.size()) / 32;
  std::vector<ActivationBlock> first(static_cast<std::size_t>(blocks));
  matmul_kernels(Isa::kScalar).quantize(x.data(), blocks, 32, 32, first.data());
  for (const MatmulKernels* kernels : all_kernels()) {
    std::vector<ActivationBlock> q(first.size());
    kernels->quantize(x.data(), blocks, 32, 32, q.data());
    for (std::int64_t b = 0; b < blocks; ++b) {
      const float* block = &x[static_cast<std::size_t>(b * 32)];
      const bool finite = std::all_of(block, block + 32, [](float v) { return std::isfinite(v); });
      ASSERT_EQ(std::isnan(q[b].scale), !finite) << kernels->name << " " << b;
      ASSERT_EQ(std::memcmp(q[b].q, first[b].q, sizeof(q[b].q)), 0) << kernels->name << " " << b;
      if (finite) {
        ASSERT_EQ(q[b].scale, first[b].scale) << kernels->name << " " << b;
        ASSERT_EQ(q[b].scaled_sum, first[b].scaled_sum) << kernels->name << " " << b;
      }
    }
  }
}

std::string error_of(WeightType type, std::int64_t n_out, std::int64_t n_in) {
  try {
    PackedWeights w(type, n_out, n_in);
  } catch (const Error& e) {
    return std::string(error_code_name(e.code())) + ": " + e.what();
  }
  return "no error";
}

TEST(MatmulErrors, ShapesThatCannotBePacked) {
  EXPECT_EQ(
      error_of(WeightType::kQ4_1, 8, 40),
      "invalid_argument: [matmul] Q4_1 weights of shape [8, 40]. The number of inputs must be a "
      "positive multiple of 32, the number of outputs at least 1.");
  EXPECT_EQ(
      error_of(WeightType::kQ6K, 8, 576),
      "invalid_argument: [matmul] Q6_K weights of shape [8, 576]. The number of inputs must be a "
      "positive multiple of 256, the number of outputs at least 1.");
  EXPECT_EQ(
      error_of(WeightType::kF32, 0, 32),
      "invalid_argument: [matmul] F32 weights of shape [0, 32]. The number of inputs must be a "
      "positive multiple of 32, the number of outputs at least 1.");
  EXPECT_EQ(error_of(WeightType::kF16, 4, -32).substr(0, 16), "invalid_argument");
  EXPECT_EQ(
      error_of(WeightType::kF16, std::int64_t{1} << 58, std::int64_t{1} << 10),
      "out_of_memory: [matmul] weights of shape [288230376151711744, 1024] need more memory than "
      "can be addressed.");
}

TEST(MatmulLevels, Avx512TakesVnniWhereTheCpuHasIt) {
  EXPECT_STREQ(matmul_kernels(Isa::kScalar).name, "scalar");
  for (const Isa isa : supported_isas()) {
    if (isa < Isa::kAvx512) continue;
    EXPECT_STREQ(matmul_kernels(isa).name, cpu_has_vnni() ? "avx512_vnni" : "avx512");
    EXPECT_STREQ(matmul_kernels(isa, false).name, "avx512");
  }
}

}  // namespace
}  // namespace raptly
