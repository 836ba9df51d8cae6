// Reads weights out of a checkpoint: finds them by name, checks their shapes, packs matrices with
// all threads, and refuses files with tensors that nobody asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "models/linear.h"
#include "raptly/execution.h"

namespace raptly {

// One matrix of the file on its way into a linear layer.
struct MatrixRequest {
  std::string name;  // without ".weight"
  std::int64_t n_out = 0;
  // Not 0: rows stand in interleaved RoPE order within heads of this size and are put in half
  // order.
  std::int64_t interleaved_head_dim = 0;
};

class WeightLoader {
 public:
  WeightLoader(const Checkpoint& checkpoint, bool exact) : file_(checkpoint), exact_(exact) {}

  // name + ".weight" as f32 [n]. Throws kCorruptFile: missing, or another shape.
  std::vector<float> vector(const std::string& name, std::int64_t n);
  // The matrices stacked, [sum of n_out, n_in]; with biases where the file has them
  // (bias_required: it must). Packed by pack_all(); `out` must stay where it is until then.
  void linear(const std::vector<MatrixRequest>& matrices, std::int64_t n_in, bool bias_required,
              Linear* out);
  // A matrix that stays in the file, [n_out, n_in].
  const CheckpointTensor& matrix(const std::string& name, std::int64_t n_out, std::int64_t n_in);
  bool has(const std::string& name) const;  // name + ".weight"
  void ignore(const std::string& name) { used_.insert(name); }

  // Throws kNotSupported naming tensors that were never asked for (some may be optional biases).
  void check_all_used() const;
  // Packs what linear() asked for, gives the file's pages back, calls progress with 0 .. 1. Returns
  // the memory of the packed weights, which must outlive the layers: one allocation, in the order
  // of the requests, so that a forward pass streams through huge pages.
  AlignedBytes pack_all(ExecutionContext& context, const std::function<void(double)>& progress);

 private:
  struct Source {
    const CheckpointTensor* tensor = nullptr;
    std::int64_t interleaved_head_dim = 0;
  };
  struct Plan {  // of one Linear
    Linear* out = nullptr;
    std::int64_t n_in = 0;
    std::vector<Source> sources;
    std::vector<float> bias;
  };
  struct Part {  // one packed matrix
    WeightType type = WeightType::kF32;
    std::int64_t n_out = 0;
  };
  static std::vector<Part> parts_of(const Plan& plan);
  const CheckpointTensor& checked(const std::string& name, const std::vector<std::int64_t>& shape);
  // Packs at `memory`; returns the end of what it used.
  std::byte* pack(const Plan& plan, std::byte* memory, ExecutionContext& context);

  const Checkpoint& file_;
  bool exact_;
  std::set<std::string> used_;
  std::vector<Plan> plans_;
};

// Row of the file that belongs at `row` when interleaved RoPE order becomes half order.
std::int64_t interleaved_source_row(std::int64_t row, std::int64_t head_dim);

}  // namespace raptly
