#include "models/feed_forward.h"

namespace cohort::models {
namespace {

using backend::MatrixPart;

constexpr int kMaxGroups = 64;  // of experts; backends rank them in a small array

// A dense feed-forward. Its result is this rank's part of a sum.
struct GatedPart {
  backend::Matrix gate_up, down;
  backend::Activation activation = backend::Activation::kSilu;

  Tensor forward(Backend& backend, Tensor x) const {
    return backend.linear(down, backend.gated_linear(gate_up, x, activation));
  }
};

Result<GatedPart> load_part(Loader& loader, const std::string& prefix,
                            const GatedOptions& options) {
  GatedPart part{.activation = options.activation};
  const int64_t width = options.width, intermediate = options.intermediate;
  COHORT_TRY(const MatrixView gate, loader.view(prefix + ".gate_proj", intermediate, width));
  COHORT_TRY(const MatrixView up, loader.view(prefix + ".up_proj", intermediate, width));
  COHORT_TRY(const MatrixView down, loader.view(prefix + ".down_proj", width, intermediate));
  COHORT_TRY(const Range columns,
             share_of(loader.shard(), intermediate, column_step(loader.shard(), down),
                      "feed-forward columns"));
  COHORT_TRY(const auto gate_bias,
             loader.bias(prefix + ".gate_proj", Shape{intermediate}, options.bias));
  COHORT_TRY(const auto up_bias,
             loader.bias(prefix + ".up_proj", Shape{intermediate}, options.bias));
  std::vector<float> bias;
  for (const auto& values : {gate_bias, up_bias}) {
    if (values.empty()) continue;
    bias.insert(bias.end(), values.begin() + columns.first, values.begin() + columns.end());
  }
  COHORT_TRY(part.gate_up, loader.load_gate_up(rows_of(gate, columns), rows_of(up, columns), bias));
  COHORT_TRY(part.down, loader.load_summed(prefix + ".down_proj", down, columns, options.bias));
  return part;
}

class Gated final : public Block {
 public:
  explicit Gated(const GatedPart& part) : part_(part) {}

  Tensor forward(Backend& backend, Tensor x) const override {
    Tensor out = part_.forward(backend, x);
    return out;
  }

 private:
  GatedPart part_;
};

class Mixture final : public Block {
 public:
  static Result<std::unique_ptr<Block>> load(Loader& loader, const std::string& prefix,
                                             const MixtureOptions& options);

  Tensor forward(Backend& backend, Tensor x) const override {
    const backend::Routing routing = backend.route(router_, x, router_spec_, choice_bias_);
    Tensor out = backend.experts(experts_, x, routing);
    if (shared_) backend.add(out, shared_->forward(backend, x));
    return out;
  }

 private:
  Result<void> load_router(Loader& loader, const std::string& prefix,
                           const MixtureOptions& options);

  backend::RouterSpec router_spec_;
  backend::Matrix router_;
  backend::Vector choice_bias_;
  backend::ExpertBank experts_;
  std::optional<GatedPart> shared_;
};

// Columns `kept` of each row of [rows, columns] values; nothing of nothing.
std::vector<float> columns_of(const std::vector<float>& values, int64_t columns, Range kept) {
  std::vector<float> part;
  for (auto row = values.begin(); row != values.end(); row += columns) {
    part.insert(part.end(), row + kept.first, row + kept.end());
  }
  return part;
}

Result<backend::ExpertParts> expert_parts(Loader& loader, const std::string& prefix,
                                          const MixtureOptions& options) {
  const int64_t width = options.width, inner = options.intermediate, experts = options.experts;
  COHORT_TRY(const MatrixView gate, loader.view(prefix + ".gate_proj", inner, width, experts));
  COHORT_TRY(const MatrixView up, loader.view(prefix + ".up_proj", inner, width, experts));
  COHORT_TRY(const MatrixView down, loader.view(prefix + ".down_proj", width, inner, experts));
  COHORT_TRY(const auto gate_bias,
             loader.bias(prefix + ".gate_proj", Shape{experts, inner}, options.bias));
  COHORT_TRY(const auto up_bias,
             loader.bias(prefix + ".up_proj", Shape{experts, inner}, options.bias));
  COHORT_TRY(auto down_bias,
             loader.bias(prefix + ".down_proj", Shape{experts, width}, options.bias));

  const Shard& shard = loader.shard();
  Range columns{0, inner}, kept{0, experts};
  const int64_t step = column_step(shard, down);
  if (inner / step >= shard.size()) {
    COHORT_TRY(columns, share_of(shard, inner, step, "columns of an expert"));
    if (!loader.first_rank()) down_bias.clear();  // all_sum() adds the ranks' results
  } else {
    COHORT_TRY(kept, share_of(shard, experts, 1, "experts"));
  }
  return backend::ExpertParts{.gate = rows_of(gate, columns),
                              .up = rows_of(up, columns),
                              .down = models::columns_of(down, columns),
                              .gate_bias = columns_of(gate_bias, inner, columns),
                              .up_bias = columns_of(up_bias, inner, columns),
                              .down_bias = std::move(down_bias),
                              .experts = row_range(kept),
                              .activation = options.activation};
}

Result<void> Mixture::load_router(Loader& loader, const std::string& prefix,
                                  const MixtureOptions& options) {
  const std::string name = prefix + "." + options.router_name;
  router_spec_ = options.router;
  COHORT_TRY(const MatrixView view, loader.view(name, options.experts, options.width));
  COHORT_TRY(const auto bias, loader.bias(name, Shape{options.experts}, options.bias));
  const MatrixPart part = whole(view);
  COHORT_TRY(router_, loader.load_matrix({&part, 1}, bias));
  if (!options.choice_bias_name.empty()) {
    COHORT_TRY(choice_bias_,
               loader.vector(prefix + "." + options.choice_bias_name, options.experts));
  }
  return {};
}

Result<void> check_router(const MixtureOptions& options) {
  const backend::RouterSpec& router = options.router;
  const bool groups_fit = router.groups > 0 && router.groups <= kMaxGroups &&
                          options.experts % router.groups == 0 && router.top_groups > 0 &&
                          router.top_groups <= router.groups;
  if (router.top_k > 0 && router.top_k <= options.experts && groups_fit) return {};
  return fail(Code::kInvalidArgument,
              "config.json: cannot choose {} of {} experts from {} of {} groups", router.top_k,
              options.experts, router.top_groups, router.groups);
}

Result<std::unique_ptr<Block>> Mixture::load(Loader& loader, const std::string& prefix,
                                             const MixtureOptions& options) {
  COHORT_TRY_VOID(check_router(options));
  auto block = std::make_unique<Mixture>();
  COHORT_TRY_VOID(block->load_router(loader, prefix, options));
  COHORT_TRY(const backend::ExpertParts parts,
             expert_parts(loader, prefix + "." + options.experts_name, options));
  COHORT_TRY(block->experts_, loader.load_experts(parts));
  if (options.shared_intermediate > 0) {
    COHORT_TRY(block->shared_,
               load_part(loader, prefix + ".shared_experts",
                         {.width = options.width, .intermediate = options.shared_intermediate}));
  }
  return block;
}

}  // namespace

Result<std::unique_ptr<Block>> load_gated(Loader& loader, const std::string& prefix,
                                          const GatedOptions& options) {
  COHORT_TRY(const GatedPart part, load_part(loader, prefix, options));
  return std::make_unique<Gated>(part);
}

Result<std::unique_ptr<Block>> load_mixture(Loader& loader, const std::string& prefix,
                                            const MixtureOptions& options) {
  return Mixture::load(loader, prefix, options);
}

}  // namespace cohort::models
