#include "models/weight_loader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/thread_pool.h"
#include "raptly/error.h"

namespace raptly {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

std::vector<float> to_floats(const CheckpointTensor& tensor, std::int64_t n) {
  std::vector<double> wide(static_cast<std::size_t>(n));
  dequantize(tensor.type, tensor.data.data(), n, wide.data());
  return {wide.begin(), wide.end()};
}

std::size_t row_bytes(WeightType type, std::int64_t n_in) {
  const WeightTypeInfo& info = weight_type_info(type);
  return static_cast<std::size_t>(n_in / info.block_elements * info.block_bytes);
}

std::int64_t padded(std::int64_t n_in) { return (n_in + 31) / 32 * 32; }

std::int64_t panels(std::int64_t n_out) { return (n_out + kPanelOutputs - 1) / kPanelOutputs; }

}  // namespace

// Consecutive sources share one packed matrix where they have the same type and the one before ends
// with a whole panel, so that no panel is packed from two of them.
std::vector<WeightLoader::Part> WeightLoader::parts_of(const Plan& plan) {
  std::vector<Part> parts;
  const CheckpointTensor* before = nullptr;
  for (const Source& source : plan.sources) {
    const CheckpointTensor& tensor = *source.tensor;
    const bool joins =
        before != nullptr && before->type == tensor.type && before->shape[0] % kPanelOutputs == 0;
    if (!joins) parts.push_back({tensor.type, 0});
    parts.back().n_out += tensor.shape[0];
    before = &tensor;
  }
  return parts;
}

std::int64_t interleaved_source_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t head = row / head_dim * head_dim, d = row % head_dim, half = head_dim / 2;
  return head + (d < half ? 2 * d : 2 * (d - half) + 1);
}

const CheckpointTensor& WeightLoader::checked(const std::string& name,
                                              const std::vector<std::int64_t>& shape) {
  const CheckpointTensor& tensor = file_.get(name);
  if (tensor.shape != shape) {
    throw Error(ErrorCode::kCorruptFile,
                "[models] tensor " + name + " is " + shape_text(tensor.shape) +
                    ". The configuration asks for " + shape_text(shape) + ".");
  }
  used_.insert(name);
  return tensor;
}

bool WeightLoader::has(const std::string& name) const {
  return file_.find(name + ".weight") != nullptr;
}

std::vector<float> WeightLoader::vector(const std::string& name, std::int64_t n) {
  const CheckpointTensor& tensor = checked(name + ".weight", {n});
  return to_floats(tensor, n);
}

const CheckpointTensor& WeightLoader::matrix(const std::string& name, std::int64_t n_out,
                                             std::int64_t n_in) {
  return checked(name + ".weight", {n_out, n_in});
}

void WeightLoader::linear(const std::vector<MatrixRequest>& matrices, std::int64_t n_in,
                          bool bias_required, Linear* out) {
  Plan plan{out, n_in, {}, {}};
  std::int64_t n_out = 0;
  for (const MatrixRequest& request : matrices) {
    plan.sources.push_back(
        {&matrix(request.name, request.n_out, n_in), request.interleaved_head_dim});
    const std::string bias_name = request.name + ".bias";
    if (bias_required || file_.find(bias_name) != nullptr) {
      const std::vector<float> bias = to_floats(checked(bias_name, {request.n_out}), request.n_out);
      plan.bias.resize(static_cast<std::size_t>(n_out), 0.0f);
      for (std::int64_t o = 0; o < request.n_out; ++o) {
        const std::int64_t from = request.interleaved_head_dim == 0
                                      ? o
                                      : interleaved_source_row(o, request.interleaved_head_dim);
        plan.bias.push_back(bias[static_cast<std::size_t>(from)]);
      }
    }
    n_out += request.n_out;
  }
  if (!plan.bias.empty()) plan.bias.resize(static_cast<std::size_t>(n_out), 0.0f);
  plans_.push_back(std::move(plan));
}

void WeightLoader::check_all_used() const {
  std::string names;
  int n = 0;
  for (const CheckpointTensor& tensor : file_.tensors()) {
    if (used_.count(tensor.name) != 0) continue;
    if (++n <= 3) names += (n == 1 ? "" : ", ") + tensor.name;
  }
  if (n == 0) return;
  throw Error(ErrorCode::kNotSupported, "[models] the file has " + std::to_string(n) +
                                            " tensors that this architecture does "
                                            "not know: " +
                                            names + (n > 3 ? ", ..." : "") +
                                            ". A model that needs them would be computed wrongly.");
}

AlignedBytes WeightLoader::pack_all(ExecutionContext& context,
                                    const std::function<void(double)>& progress) {
  std::size_t done = 0, total = 0, packed = 0;
  for (const Plan& plan : plans_) {
    for (const Source& source : plan.sources) total += source.tensor->data.size();
    for (const Part& part : parts_of(plan)) {
      packed += PackedWeights::packed_bytes(part.type, part.n_out, padded(plan.n_in));
    }
  }
  AlignedBytes memory(packed);
  std::byte* next = memory.data();
  for (const Plan& plan : plans_) {
    if (progress) progress(static_cast<double>(done) / static_cast<double>(total));
    next = pack(plan, next, context);
    for (const Source& source : plan.sources) {
      file_.release(*source.tensor);
      done += source.tensor->data.size();
    }
  }
  if (progress) progress(1);
  plans_.clear();
  return memory;
}

namespace {

// Where 16 rows of a source go, and how they are read.
struct PackJob {
  const CheckpointTensor* tensor;
  std::int64_t interleaved_head_dim;
  PackedWeights* packed;
  std::int64_t first_row;  // of `packed`
};

void pack_panel(const PackJob& job, std::int64_t panel, std::int64_t n_in, std::byte* staging) {
  const std::int64_t first = panel * kPanelOutputs;
  const std::int64_t n = std::min(kPanelOutputs, job.tensor->shape[0] - first);
  const std::size_t from_bytes = row_bytes(job.tensor->type, n_in);
  const std::size_t to_bytes = row_bytes(job.tensor->type, job.packed->n_in());
  const std::byte* rows = job.tensor->data.data();
  if (job.interleaved_head_dim == 0 && from_bytes == to_bytes) {
    job.packed->pack_rows(rows + static_cast<std::size_t>(first) * from_bytes,
                          job.first_row + first, n);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t row = job.interleaved_head_dim == 0
                                 ? first + i
                                 : interleaved_source_row(first + i, job.interleaved_head_dim);
    std::byte* to = staging + static_cast<std::size_t>(i) * to_bytes;
    std::memcpy(to, rows + static_cast<std::size_t>(row) * from_bytes, from_bytes);
    std::memset(to + from_bytes, 0, to_bytes - from_bytes);
  }
  job.packed->pack_rows(staging, job.first_row + first, n);
}

}  // namespace

std::byte* WeightLoader::pack(const Plan& plan, std::byte* memory, ExecutionContext& context) {
  const std::int64_t n_in = padded(plan.n_in);
  std::vector<Linear::Part> parts;
  std::int64_t first_output = 0;
  for (const Part& part : parts_of(plan)) {
    parts.push_back({PackedWeights(part.type, part.n_out, n_in, memory), first_output, part.n_out});
    memory += PackedWeights::packed_bytes(part.type, part.n_out, n_in);
    first_output += part.n_out;
  }
  // Jobs point into `parts`, which no longer grows.
  std::vector<PackJob> jobs;
  std::int64_t row = 0, n_panels = 0;
  std::size_t part = 0, staging_bytes = 0;
  for (const Source& source : plan.sources) {
    if (row == parts[part].n_out) {
      ++part;
      row = 0;
    }
    jobs.push_back({source.tensor, source.interleaved_head_dim, &parts[part].weights, row});
    row += source.tensor->shape[0];
    n_panels += panels(source.tensor->shape[0]);
    staging_bytes = std::max(staging_bytes, row_bytes(source.tensor->type, n_in) * kPanelOutputs);
  }
  const AlignedBytes staging(staging_bytes * static_cast<std::size_t>(context.threads()));
  context.pool().parallel_for(n_panels, [&](std::int64_t item, int worker) {
    const PackJob* job = jobs.data();
    for (; item >= panels(job->tensor->shape[0]); ++job) item -= panels(job->tensor->shape[0]);
    pack_panel(*job, item, plan.n_in,
               staging.data() + static_cast<std::size_t>(worker) * staging_bytes);
  });
  *plan.out = Linear(std::move(parts), plan.bias, exact_);
  return memory;
}

}  // namespace raptly
